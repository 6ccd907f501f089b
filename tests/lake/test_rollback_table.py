"""Rollbacks of a folder lake of two dates, the first of which was rebuilt with a late event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import KAFKA_END_OFFSETS
from spark_jobs.lake.tables import EVENTS, FORGOTTEN_USERS, MODEL_RUNS, PIPELINE_RUNS, RAW_EVENTS, SESSIONS, Table
from spark_jobs.maintain_tables import call, timestamp
from spark_jobs.rollback_table import Exchange, RollbackError, exchange_files, list_date_files, main, roll_back
from spark_jobs.transform_clickstream import find_late_dates, transform
from tests.lake.small_frames import fill_raw_events, open_lake

FIRST, SECOND, THIRD = date(2025, 4, 1), date(2025, 4, 2), date(2025, 4, 3)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    """The first has `on time`, later also `late`; the second has `next`. Both have a row of pipeline_runs."""
    with open_lake(tmp_path_factory.mktemp("lake")) as lakehouse:
        fill(lakehouse)
        yield lakehouse


def fill(lake: Lakehouse) -> None:
    def event(number: int, user: str, time: str) -> dict[str, object]:
        event_id = f"00000000-0000-0000-0000-00000000000{number}"
        return {"event_id": event_id, "event_time": f"{time}.000Z", "event_type": "view", "user_id": user}

    on_time = [event(1, "on time", "2025-04-01T10:00:00"), event(2, "next", "2025-04-02T10:00:00")]
    fill_raw_events(lake, [(0, n, json.dumps(payload).encode()) for n, payload in enumerate(on_time)])
    transform(lake, [FIRST, SECOND], [])
    fill_raw_events(lake, [(0, 2, json.dumps(event(3, "late", "2025-04-01T11:00:00")).encode())])
    transform(lake, [SECOND], [FIRST])
    names = PIPELINE_RUNS.column_names
    runs = [tuple(day if name == "event_date" else None for name in names) for day in (FIRST, SECOND)]
    lake.replace_dates(PIPELINE_RUNS, lake.spark.createDataFrame(runs, PIPELINE_RUNS.ddl), [FIRST, SECOND])


def users(lake: Lakehouse, table: Table = EVENTS) -> list[str]:
    return sorted(row.user_id for row in lake.main.read(table).select("user_id").collect())


def operation(lake: Lakehouse, table: Table) -> str | None:
    """What the newest commit of a table was."""
    newest = next(lake.list_history(table))
    return newest.summary.operation.value if newest.summary else None


def remarks(lake: Lakehouse) -> dict[date, list[str]]:
    return {row.event_date: row.remarks or [] for row in lake.main.read(PIPELINE_RUNS).collect()}


def test_a_date_goes_back_to_its_rows_before_and_the_next_daily_run_leaves_it_there(lake: Lakehouse) -> None:
    assert users(lake) == ["late", "next", "on time"]
    newest = lake.ensure_snapshot(EVENTS)
    report = roll_back(lake, EVENTS, FIRST, None)
    assert (report["rows_before"], report["rows_after"]) == (2, 1)
    assert users(lake) == ["next", "on time"]
    assert users(lake, SESSIONS) == ["late", "next", "on time"]
    assert {day: len(said) for day, said in remarks(lake).items()} == {FIRST: 1, SECOND: 0}
    assert "events went back to snapshot" in remarks(lake)[FIRST][0]

    assert find_late_dates(lake, [SECOND, THIRD]) == []
    transform(lake, [THIRD], [])
    assert users(lake) == ["next", "on time"]

    again = roll_back(lake, EVENTS, FIRST, None)
    assert users(lake) == ["late", "next", "on time"]
    assert len(remarks(lake)[FIRST]) == 2
    assert again["back_to"] == newest


def test_a_table_goes_back_to_a_snapshot_and_its_dates_are_not_late_for_it(lake: Lakehouse) -> None:
    before = [snapshot.snapshot_id for snapshot in lake.list_history(EVENTS)]
    oldest = next(at for at in reversed(before) if len(list_date_files(lake, EVENTS, None, at)) == 2)
    roll_back(lake, EVENTS, None, oldest)
    assert users(lake) == ["next", "on time"]
    assert [snapshot.snapshot_id for snapshot in lake.list_history(EVENTS)][1:] == before
    assert find_late_dates(lake, [SECOND, THIRD]) == []
    roll_back(lake, EVENTS, None, before[0])
    assert users(lake) == ["late", "next", "on time"]


def test_a_compaction_is_no_change_to_go_back_behind_and_an_emptied_date_gets_its_rows_again(lake: Lakehouse) -> None:
    everybody = ["late", "next", "on time"]
    assert users(lake) == everybody
    call(lake, "rewrite_data_files", EVENTS, options="map('rewrite-all', 'true')")
    assert operation(lake, EVENTS) == "replace"
    roll_back(lake, EVENTS, FIRST, None)
    assert users(lake) == ["next", "on time"]
    roll_back(lake, EVENTS, FIRST, None)
    assert users(lake) == everybody
    lake.replace_dates(EVENTS, lake.main.read(EVENTS).where("false"), [FIRST])
    assert users(lake) == ["next"]
    roll_back(lake, EVENTS, FIRST, None)
    assert users(lake) == everybody


def test_raw_events_go_back_with_their_position_in_kafka(lake: Lakehouse) -> None:
    base = without_position = lake.ensure_snapshot(RAW_EVENTS)
    row = lake.main.read(RAW_EVENTS).limit(1)
    for end in (5, 7):
        base = lake.ensure_snapshot(RAW_EVENTS)
        lake.append_if_unchanged(RAW_EVENTS, row, base, KAFKA_END_OFFSETS.write({"clickstream": {"0": end}}))
    assert lake.main.read(RAW_EVENTS).count() == 5
    with pytest.raises(RollbackError, match="no retained snapshot tells where landing stood at snapshot"):
        roll_back(lake, RAW_EVENTS, None, without_position)
    roll_back(lake, RAW_EVENTS, None, base)
    assert lake.main.read(RAW_EVENTS).count() == 4
    assert lake.find_note(RAW_EVENTS, KAFKA_END_OFFSETS) == {"clickstream": {"0": 5}}


def test_what_cannot_go_back_is_refused_with_the_remedy(lake: Lakehouse) -> None:
    *_, empty = (snapshot.snapshot_id for snapshot in lake.list_history(EVENTS))
    refused = [
        (EVENTS, FIRST, empty, f"events {FIRST}: nothing to go back to: it had no rows in snapshot {empty}"),
        (RAW_EVENTS, FIRST, None, "raw_events cannot go back by date.*give --snapshot alone"),
        (EVENTS, date(2020, 1, 1), None, "events has no rows on 2020-01-01: it has rows from 2025-04-01 to 2025-04-02"),
        (SESSIONS, SECOND, 77, r"sessions has no snapshot 77; its newest are \d+ \(20"),
        (MODEL_RUNS, None, 77, "model_runs is empty"),
        (FORGOTTEN_USERS, None, 77, "users who were forgotten would come back"),
    ]
    for table, day, snapshot, message in refused:
        with pytest.raises(RollbackError, match=message):
            roll_back(lake, table, day, snapshot)
    now = lake.ensure_snapshot(EVENTS)
    with pytest.raises(RollbackError, match="nothing to do"):
        roll_back(lake, EVENTS, None, now)


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(lake: Lakehouse) -> None:
    base = lake.ensure_snapshot(SESSIONS)
    now = list_date_files(lake, SESSIONS, None, base)
    lake.replace_dates(SESSIONS, lake.main.read(SESSIONS), [FIRST, SECOND])
    with pytest.raises(ConcurrentCommitError, match="sessions was changed by another run"):
        exchange_files(lake, SESSIONS, Exchange(base, base, now, {}), {})
    assert users(lake, SESSIONS) == ["late", "next", "on time"]


def test_what_is_no_longer_retained_is_named_and_so_is_a_file_that_is_gone(lake: Lakehouse) -> None:
    older = [snapshot.snapshot_id for snapshot in lake.list_history(SESSIONS)][1]
    newest = lake.ensure_snapshot(SESSIONS)
    older_files, newest_files = (list_date_files(lake, SESSIONS, None, at) for at in (older, newest))
    for location in older_files.keys() - newest_files.keys():
        lake.load(SESSIONS).io.delete(location)
    with pytest.raises(RollbackError, match=r"sessions: the file .*parquet is gone; choose a later snapshot"):
        roll_back(lake, SESSIONS, FIRST, None)
    call(lake, "expire_snapshots", SESSIONS, older_than=timestamp(datetime.now(UTC)), retain_last="1")
    with pytest.raises(RollbackError, match=r"nothing to go back to: what it held before .* is not retained"):
        roll_back(lake, SESSIONS, FIRST, None)


def test_the_command_wants_a_table_and_what_to_go_back_to(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [
        (["--table", "nothing", "--date", "2025-04-01"], "invalid choice: 'nothing'"),
        (["--table", "events"], "say what to go back to: --date, --snapshot, or both"),
        (["--table", "model_runs", "--date", "2025-04-01"], "model_runs has no dates; give --snapshot alone"),
    ]
    for arguments, message in wrong:
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err
