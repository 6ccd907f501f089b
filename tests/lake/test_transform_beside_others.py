"""What others do while a transform is under way: landing, maintenance, another transform, in its very middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from spark_jobs import transform_clickstream
from spark_jobs.errors import AuditError
from spark_jobs.forgotten_users import Tombstones
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import FORCED, RAW_ROWS
from spark_jobs.lake.tables import EVENTS, RAW_EVENTS, SESSIONS, TABLES, USER_FEATURES
from spark_jobs.maintain_tables import expire_snapshots, maintain
from spark_jobs.rollback_table import roll_back
from spark_jobs.transform_clickstream import transform
from tests.lake.conftest import MakeEvent
from tests.lake.meanwhile import meanwhile
from tests.lake.small_frames import open_lake, read_everything
from tests.lake.test_transform_clickstream import land

APRIL = [date(2025, 4, day) for day in (1, 2)]


@pytest.fixture
def lake(tmp_path: Path, make_event: MakeEvent) -> Iterator[Lakehouse]:
    """Three events of two users on each of two dates, a session over each midnight; nothing is built."""
    with open_lake(tmp_path) as lakehouse:
        times = [f"{day}T{time}:00.000Z" for day in APRIL for time in ("00:10", "12:00", "23:50")]
        land(lakehouse, [make_event(user_id="owl" if "12:" not in time else time, event_time=time) for time in times])
        yield lakehouse


@pytest.fixture
def late_event(make_event: MakeEvent) -> dict[str, object]:
    return make_event(user_id="owl", event_time="2025-04-01T23:55:00.000Z")


def undisturbed(lake: Lakehouse) -> dict[str, list[str]]:
    """The tables as one run over all dates builds them, with nobody beside it."""
    transform(lake, APRIL, [])
    return read_everything(lake)


@pytest.mark.parametrize("before", ["rebuild_events", "find_differences"])
def test_a_run_builds_what_lands_while_it_is_under_way(
    lake: Lakehouse, late_event: dict[str, object], before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with meanwhile(before, lambda others: land(others, [late_event], first_offset=100)):
        transform(lake, APRIL[:1], [])
    assert "records of 2025-04-01 have landed meanwhile; attempt 1 of 5" in capsys.readouterr().err
    assert lake.main.count_rows(EVENTS) == {APRIL[0]: 4}


def test_what_was_forced_before_the_repetition_stays_forced(
    lake: Lakehouse, late_event: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [["a fault"], []]
    monkeypatch.setattr(transform_clickstream, "find_differences", lambda *_: faults.pop(0))
    with meanwhile("publish", lambda others: land(others, [late_event], first_offset=100)):
        assert transform(lake, APRIL[:1], [], is_forced=True).forced == ["a fault"]
    assert lake.find_note(EVENTS, FORCED) == ["a fault"]
    assert lake.main.count_rows(EVENTS) == {APRIL[0]: 4}


def test_where_records_keep_landing_the_next_run_builds_the_last_ones(
    lake: Lakehouse, late_event: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_clickstream, "MAX_ATTEMPTS", 1)
    with meanwhile("find_differences", lambda others: land(others, [late_event], first_offset=100)):
        transform(lake, APRIL[:1], [])
    assert lake.main.count_rows(EVENTS) == {APRIL[0]: 3}
    assert transform(lake, APRIL[1:], []).rebuilt_dates == APRIL
    assert read_everything(lake) == undisturbed(lake)


def test_a_run_starts_over_where_the_records_that_it_reads_expire(
    lake: Lakehouse, late_event: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    def expire(lakehouse: Lakehouse) -> None:
        land(lakehouse, [late_event], first_offset=100)
        expire_snapshots(lakehouse, RAW_EVENTS, datetime.now(UTC))

    with meanwhile("find_differences", expire):
        transform(lake, APRIL[:1], [])
    assert "raw_events: what this run read was expired meanwhile; attempt 1 of 5" in capsys.readouterr().err
    assert lake.main.count_rows(EVENTS)[APRIL[0]] == 4


def test_maintenance_of_every_table_during_a_run_changes_no_row(lake: Lakehouse, make_event: MakeEvent) -> None:
    for second in range(5):
        land(lake, [make_event(event_time=f"2025-04-02T13:00:0{second}.000Z")], first_offset=100 + second)
    expected = undisturbed(lake)
    reports: dict[str, dict[str, object]] = {}

    def keep_tidy(lakehouse: Lakehouse) -> None:
        for table in TABLES:
            reports[table.name] = maintain(lakehouse, table, datetime.now(UTC))
            expire_snapshots(lakehouse, table, datetime.now(UTC))

    with meanwhile("publish", keep_tidy):
        transform(lake, APRIL, [])
    assert reports.keys() == {table.name for table in TABLES}
    assert reports["raw_events"]["files_compacted"] == 6
    assert read_everything(lake) == expected


def test_another_run_in_the_middle_of_a_run_changes_no_row(lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    with meanwhile("rebuild_sessions", lambda others: transform(others, APRIL[1:2], [])):
        transform(lake, APRIL[:1], [])
    assert "attempt 1 of 5" in capsys.readouterr().err
    assert read_everything(lake) == undisturbed(lake)


def test_a_date_that_was_rolled_back_stays_so_when_the_snapshots_have_expired(lake: Lakehouse) -> None:
    transform(lake, APRIL[:1], [])
    lake.replace_dates(RAW_EVENTS, lake.main.read(RAW_EVENTS).where("offset <> 1").localCheckpoint(), APRIL)
    transform(lake, APRIL[:1], [])
    roll_back(lake, EVENTS, APRIL[0], None)
    expire_snapshots(lake, EVENTS, datetime.now(UTC))
    assert len([*lake.find_notes(EVENTS, RAW_ROWS)]) == 1
    assert transform(lake, APRIL[1:], []).rebuilt_dates == APRIL[1:]
    assert lake.main.count_rows(EVENTS)[APRIL[0]] == 3


def test_a_late_event_reaches_the_snapshots_of_thirty_days_and_no_later_one(
    lake: Lakehouse, late_event: dict[str, object]
) -> None:
    last, beyond = APRIL[0] + timedelta(days=29), APRIL[0] + timedelta(days=30)
    for day in (APRIL[0], last, beyond):
        transform(lake, [day], [])
    land(lake, [late_event], first_offset=100)
    assert transform(lake, [], APRIL[:1]).rebuilt_snapshots == [APRIL[0], last]
    (owl,) = lake.main.read_dates(USER_FEATURES, last, last).where("user_id = 'owl'").collect()
    assert owl.events_sum_30d == 3


def lose_an_event(draft: Draft, day: date) -> None:
    kept = draft.read_dates(EVENTS, day, day).where("user_id = 'owl'").localCheckpoint()
    draft.replace_dates(EVENTS, kept, [day])


def lose_a_session(draft: Draft, day: date) -> None:
    kept = draft.read_dates(SESSIONS, day, day).where("user_id = 'owl'").localCheckpoint()
    draft.replace_dates(SESSIONS, kept, [day])


@pytest.mark.parametrize(
    ("lose", "fault"),
    [
        (lose_an_event, "events 2025-04-01: 2 rows, but raw_events has 3 different valid events"),
        (lose_a_session, r"user_daily_activity 2025-04-01: .* where events and sessions have \(3, 2\) rows"),
    ],
)
def test_tables_that_do_not_add_up_are_not_published(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Draft, date], None], fault: str
) -> None:
    find_differences = transform_clickstream.find_differences

    def find_after_loss(draft: Draft, tombstones: Tombstones) -> list[str]:
        lose(draft, APRIL[0])
        return find_differences(draft, tombstones)

    monkeypatch.setattr(transform_clickstream, "find_differences", find_after_loss)
    with pytest.raises(AuditError, match=fault):
        transform(lake, APRIL[:1], [])
    assert lake.main.count_rows(EVENTS) == {}
