"""REES46 files, good and broken."""

from __future__ import annotations

import gzip
import io
import json
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from config import Settings
from data_generator import dataset_replay
from data_generator.dataset_replay import ReplayError, covered_dates, main, read_rows, replay
from data_generator.kafka_sink import ListSink
from data_generator.truth import produced_by_date
from tests.real_data import DATA_DIR, MISSING
from tests.unit.data_generator.builders import HEADER, make_row

OCTOBER = DATA_DIR / "rees46_oct2019" / "2019-Oct_head_17434.csv"


def write(tmp_path: Path, *rows: str | bytes, header: str = HEADER, name: str = "oct.csv") -> Path:
    file = tmp_path / name
    lines = [row if isinstance(row, bytes) else row.encode() for row in (header, *rows)]
    content = b"\n".join(lines) + b"\n"
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return file


def published(file: Path, only_date: date | None = None) -> list[tuple[bytes | None, bytes, int]]:
    sink = ListSink()
    replay(file, sink, only_date)
    return sink.records


def test_a_row_becomes_an_event_of_our_schema(tmp_path: Path) -> None:
    [(key, value, timestamp_ms)] = published(write(tmp_path, make_row()))
    event = json.loads(value)
    assert UUID(event.pop("event_id")).version == 5
    assert event == {
        "event_time": "2019-10-01T00:00:00.000Z",
        "event_type": "view",
        "user_id": "541312140",
        "session_id": "72d76fde-8bb3-4e00-8c23-a032dfed738c",
        "product_id": "44600062",
        "category_id": "2103807459595387724",
        "category_code": "electronics.smartphone",
        "brand": "samsung",
        "price": 35.79,
        "schema_version": 1,
    }
    assert key == b"541312140"
    assert timestamp_ms == 1569888000000


def test_empty_columns_are_left_out(tmp_path: Path) -> None:
    [(_, value, _)] = published(write(tmp_path, make_row(category_code="", brand="", price="", user_session="")))
    assert not {"category_code", "brand", "price", "session_id"} & json.loads(value).keys()


def test_event_ids_follow_the_content(tmp_path: Path) -> None:
    rows = [make_row(), make_row(brand="apple"), make_row()]
    first, other, again = (json.loads(v)["event_id"] for _, v, _ in published(write(tmp_path, *rows)))
    assert first == again != other
    # By `sha1sum` (RFC 9562, section 5.5). A changed namespace would turn every replay of old data into new events.
    assert first == "0663493f-8460-5181-b20f-da3dc93c4a46"


def test_gz_and_plain_files_give_the_same_records(tmp_path: Path) -> None:
    rows = [make_row(user_id=str(n)) for n in range(50)]
    assert published(write(tmp_path, *rows)) == published(write(tmp_path, *rows, name="oct.csv.gz"))


def test_columns_are_found_by_name_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    row = make_row().split(",")
    turned = write(tmp_path, ",".join(reversed(row)) + "\r", header=",".join(reversed(HEADER.split(","))))
    [(key, value, _)] = published(turned)
    assert key == b"541312140"
    assert json.loads(value)["price"] == 35.79


def test_quoted_fields_are_read(tmp_path: Path) -> None:
    [(_, value, _)] = published(write(tmp_path, make_row(brand='"Black, ""D"" & Co"')))
    assert json.loads(value)["brand"] == 'Black, "D" & Co'


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (make_row(event_time="2019-13-01 00:00:00 UTC"), "event_time '2019-13-01 00:00:00 UTC'"),
        (make_row(event_type="swipe"), "unknown event_type 'swipe'"),
        (make_row(price="-3"), "price '-3' is negative"),
        (make_row(price="cheap"), "price 'cheap' is not a number"),
        (make_row(price="nan"), "price 'nan' is negative or not finite"),
        (make_row(user_id=""), "no user_id"),
        (make_row() + ",more", "10 fields instead of 9"),
        ("half a row", "1 fields instead of 9"),
        (make_row(brand='"open'), "broken quotes"),
        (b"caf\xe9," + make_row().encode(), "not UTF-8"),
    ],
)
def test_a_malformed_row_is_published_as_it_stands_and_listed_with_its_line(
    tmp_path: Path, row: str | bytes, complaint: str
) -> None:
    before = make_row(event_time="2019-10-02 10:00:00 UTC")
    file = write(tmp_path, before, row, make_row(event_time="2019-10-03 10:00:00 UTC"))
    sink, listing = ListSink(), io.StringIO()
    counts = replay(file, sink, console=Console(file=listing, width=300))
    key, value, timestamp_ms = sink.records[1]
    assert (key, value) == (None, row if isinstance(row, bytes) else row.encode())
    assert timestamp_ms == sink.records[0][2], "the time of the row before"
    assert (counts.rows, counts.malformed) == (3, 1)
    assert counts.by_event_date == {"2019-10-02": 2, "2019-10-03": 1}
    assert listing.getvalue().startswith("oct.csv:3: ")
    assert complaint in listing.getvalue()


def test_malformed_rows_at_the_top_take_the_time_of_the_first_good_one(tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path, "broken", "broken too", make_row(), make_row())))
    assert [row.line for row in rows] == [2, 3, 4, 5]
    assert {row.time_ms for row in rows} == {1569888000000}


def test_dates_are_covered_and_chosen_in_utc(tmp_path: Path) -> None:
    times = ["2019-10-02 23:59:59 UTC", "2019-10-01 00:00:00 UTC", "2019-10-03 00:00:00 UTC"]
    file = write(tmp_path, *(make_row(event_time=time) for time in times))
    assert covered_dates(file) == (date(2019, 10, 1), date(2019, 10, 2), date(2019, 10, 3))
    [(_, value, _)] = published(file, date(2019, 10, 2))
    assert json.loads(value)["event_time"] == "2019-10-02T23:59:59.000Z"
    assert published(file, date(2020, 1, 1)) == []


def test_a_file_with_a_header_only_covers_nothing(tmp_path: Path) -> None:
    assert covered_dates(write(tmp_path)) == ()


def test_another_format_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"lacks event_time, event_type, .*user_session"):
        covered_dates(write(tmp_path, "1,2", header="a,b"))


@given(st.lists(st.binary(max_size=80).filter(lambda raw: b"\n" not in raw and raw.rstrip(b"\r")), max_size=20))
def test_no_row_is_lost_whatever_it_holds(tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]) -> None:
    file = write(tmp_path_factory.mktemp("rows"), *rows, make_row())
    values = [value for _, value, _ in published(file)]
    assert values[:-1] == [row.rstrip(b"\r") for row in rows]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> ListSink:
    """Stands where the Kafka topic is."""
    kept = ListSink()
    monkeypatch.setattr(dataset_replay, "KafkaSink", lambda *_: ListSink(kept.records))
    return kept


@pytest.mark.usefixtures("bucket")
def test_a_file_is_not_published_twice(
    tmp_path: Path, settings: Settings, sink: ListSink, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write(tmp_path, make_row(), make_row(), "broken"))
    assert main([file]) == 0
    assert "3 records delivered, 1 of them malformed" in capsys.readouterr().out
    assert main([file]) == 0
    assert len(sink.records) == 3
    assert "already published" in capsys.readouterr().out
    assert produced_by_date(settings) == {"2019-10-01": 3}


@pytest.mark.usefixtures("bucket")
def test_another_file_of_the_same_name_is_refused_without_force(
    tmp_path: Path, settings: Settings, sink: ListSink, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path, make_row()))]) == 0
    changed = str(write(tmp_path, make_row(brand="apple")))
    assert main([changed]) == 1
    assert "sha256" in capsys.readouterr().err
    assert main([changed, "--force"]) == 0
    assert len(sink.records) == 2
    assert produced_by_date(settings) == {"2019-10-01": 2}


@pytest.mark.usefixtures("bucket")
def test_dates_of_a_file_are_published_one_by_one_but_not_again_as_a_whole(
    tmp_path: Path, settings: Settings, sink: ListSink, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write(tmp_path, make_row(), make_row(event_time="2019-10-02 00:00:00 UTC")))
    assert main([file, "--date", "2019-10-01"]) == 0
    assert main([file, "--date", "2019-10-01"]) == 0
    assert main([file, "--date", "2019-10-02"]) == 0
    assert len(sink.records) == 2
    assert produced_by_date(settings) == {"2019-10-01": 1, "2019-10-02": 1}
    assert main([file]) == 1
    assert "published already: 2019-10-01, 2019-10-02" in capsys.readouterr().err


def test_a_missing_file_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-file.csv", "--no-truth"]) == 1
    assert "no-such-file.csv" in capsys.readouterr().err


@pytest.mark.skipif(not OCTOBER.exists(), reason=MISSING)
def test_the_first_rows_of_october_2019() -> None:
    records = published(OCTOBER)
    events: list[dict[str, Any]] = [json.loads(value) for _, value, _ in records]
    assert len(events) == 17_434
    assert len({event["event_id"] for event in events}) == 17_429
    assert len({event["user_id"] for event in events}) == 4504
    assert sum(event["event_type"] == "purchase" for event in events) == 214
    assert covered_dates(OCTOBER) == (date(2019, 10, 1),)
