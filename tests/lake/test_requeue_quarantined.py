"""Requeueing: which rows are open, what a correction makes of them, and what is sent; to Kafka in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from data_generator.kafka_sink import Delivery, Records
from spark_jobs import requeue_quarantined
from spark_jobs.land_raw_events import REQUEUED_FROM, classify_records
from spark_jobs.requeue_quarantined import correct_payloads, parse_arguments, read_quarantine, requeue
from tests.lake.conftest import MakeEvent, MakeRecords
from tests.lake.small_frames import fill_raw_events, open_lake

POSITIVE_PRICE = "replace(payload_text, '\"price\": -', '\"price\": ')"


def landed(records: DataFrame, at: str) -> DataFrame:
    """As rows of a table: cached, so that filters end here."""
    return classify_records(records).withColumn("ingested_at", F.lit(at).cast("timestamp")).cache()


def successor_of(records: DataFrame, place: str) -> DataFrame:
    header = F.struct(F.lit(REQUEUED_FROM).alias("key"), F.lit(place).cast("binary").alias("value"))
    return records.withColumn("headers", F.array(header))


def test_a_row_is_open_until_its_successor_has_landed_after_it(
    make_records: MakeRecords, make_event: MakeEvent
) -> None:
    bad = landed(make_records([b"one", b"two", b"three"]), "2025-04-01 10:00:00")
    earlier = landed(successor_of(make_records([make_event()]), "clickstream/0/0"), "2025-04-01 09:00:00")
    later = landed(successor_of(make_records([make_event()]), "clickstream/0/1"), "2025-04-01 11:00:00")
    rows = read_quarantine(bad.unionByName(earlier).unionByName(later)).orderBy("offset").collect()
    assert [(row.payload_text, str(row.requeued_at)) for row in rows] == [
        ("one", "None"), ("two", "2025-04-01 11:00:00"), ("three", "None"),
    ]  # fmt: skip


def test_a_correction_is_judged_by_the_checks_and_keeps_key_time_and_origin(
    make_records: MakeRecords, make_event: MakeEvent
) -> None:
    mended, hopeless = make_event(price=-5), make_event(price=-5, event_type="hover")
    quarantined = read_quarantine(landed(make_records([mended, hopeless]), "2025-04-01 10:00:00"))
    good, bad = correct_payloads(quarantined, POSITIVE_PRICE).orderBy("offset").collect()
    assert json.loads(bytes(good.payload)) == mended | {"price": 5}
    assert (good.error_type, good.key, good.requeued_from) == (None, "007", "clickstream/0/0")
    assert str(good.timestamp) == "2025-04-01 09:00:00"
    assert (bad.error_type, bad.requeued_from) == ("unknown_event_type", "clickstream/0/1")
    unchanged = correct_payloads(quarantined, None).orderBy("offset").collect()
    assert [row.error_type for row in unchanged] == ["bad_price", "unknown_event_type"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Records]:
    """What is published, in the place of a broker."""
    published: list[Records] = []

    class RecordingSink:
        def __init__(self, *_: object) -> None:
            pass

        def publish(self, records: Records) -> None:
            published.append(records)

        def close(self) -> Delivery:
            return Delivery(sum(map(len, published)), 0)

    monkeypatch.setattr(requeue_quarantined, "KafkaSink", RecordingSink)
    return published


def run(folder: Path, *arguments: str) -> int:
    return requeue_quarantined.main(["--output-path", str(folder), *arguments])


def test_what_passes_and_is_still_open_is_published_with_its_origin(
    tmp_path: Path, make_event: MakeEvent, sent: list[Records], capsys: pytest.CaptureFixture[str]
) -> None:
    mended, hopeless = make_event(price=-5), make_event(price=-5, event_type="hover")
    payloads = [mended, hopeless, make_event()]
    with open_lake(tmp_path) as lakehouse:
        fill_raw_events(lakehouse, [(0, offset, json.dumps(event).encode()) for offset, event in enumerate(payloads)])
    command = ["--where", "error_type IS NOT NULL", "--payload", POSITIVE_PRICE]

    assert run(tmp_path, *command, "--dry-run") == 0
    assert "dry run: nothing was published" in capsys.readouterr().out
    assert run(tmp_path, *command, "--topic", "another") == 0
    assert "nothing to publish" in capsys.readouterr().out
    assert sent == []

    assert run(tmp_path, *command) == 0
    told = capsys.readouterr().out
    assert "1 still fail: unknown_event_type" in told
    assert "1 published to clickstream" in told
    (records,) = sent
    assert [json.loads(value) for value in records.values] == [mended | {"price": 5}]
    assert records.headers == [[(REQUEUED_FROM, b"clickstream/0/0")]]
    assert records.keys == [b"k"]


def test_what_has_landed_again_is_published_no_more(
    tmp_path: Path, make_event: MakeEvent, sent: list[Records], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parse_arguments(["--where", "error_type = 'bad_price'", "--payload", POSITIVE_PRICE])
    with open_lake(tmp_path) as lakehouse:
        fill_raw_events(lakehouse, [(0, 0, json.dumps(make_event(price=-5)).encode())])
        requeue(lakehouse, arguments)
        (records,) = sent
        fill_raw_events(lakehouse, [(0, 1, records.values[0])], headers=records.headers[0])
        requeue(lakehouse, arguments)
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to publish"
    assert len(sent) == 1


def test_a_condition_is_required() -> None:
    with pytest.raises(SystemExit):
        parse_arguments([])
