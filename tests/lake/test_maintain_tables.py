"""Maintenance beside landings and runs that are under way, on a lake in a folder."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from config import Settings
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import KAFKA_END_OFFSETS
from spark_jobs.lake.tables import RAW_EVENTS, SEGMENT_TRANSITIONS
from spark_jobs.maintain_tables import compact, drop_dead_branches, expire_snapshots, main
from spark_jobs.rollback_table import roll_back
from tests.lake.small_frames import open_lake
from tests.lake.test_lakehouse import FIRST, SECOND, stored, transitions

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake(folder: Path) -> Iterator[Lakehouse]:
    with open_lake(folder) as lakehouse:
        yield lakehouse


def land(lake: Lakehouse, offset: int, base: int | None = None) -> None:
    """A landing of the record at `offset`, on top of `base` or of the newest snapshot."""
    rows = lake.spark.createDataFrame([(offset, date(2025, 4, 1))], "offset BIGINT, event_date DATE")
    missing = {c.name: f"CAST(NULL AS {c.type}) {c.name}" for c in RAW_EVENTS.columns}
    frame = rows.selectExpr(*[name if name in rows.columns else sql for name, sql in missing.items()])
    base = lake.ensure_snapshot(RAW_EVENTS) if base is None else base
    lake.append_if_unchanged(RAW_EVENTS, frame, base, KAFKA_END_OFFSETS.write({"clickstream": {"0": offset + 1}}))


def position(lake: Lakehouse) -> int:
    """Where the next landing begins in partition 0."""
    ends = lake.find_note(RAW_EVENTS, KAFKA_END_OFFSETS)
    assert ends is not None
    return ends["clickstream"]["0"]


def files(lake: Lakehouse) -> int:
    return len(list(lake.load(RAW_EVENTS).scan().plan_files()))


def test_a_landing_that_meets_a_compaction_starts_over_and_the_position_outlives_the_snapshots(lake: Lakehouse) -> None:
    for offset in range(5):
        land(lake, offset)
    base = lake.ensure_snapshot(RAW_EVENTS)
    compacted = compact(lake, RAW_EVENTS)
    assert (compacted.rewritten_data_files_count, files(lake)) == (5, 1)
    with pytest.raises(ConcurrentCommitError):
        land(lake, 5, base)
    expire_snapshots(lake, RAW_EVENTS, datetime.now(UTC))
    assert len(list(lake.list_history(RAW_EVENTS))) == 1
    assert position(lake) == 5
    with pytest.raises(ConcurrentCommitError, match="which has expired"):
        land(lake, 5, base)
    land(lake, 5)
    assert sorted(row.offset for row in lake.main.read(RAW_EVENTS).collect()) == list(range(6))
    assert position(lake) == 6


def test_a_run_whose_dates_are_compacted_meanwhile_starts_over(lake: Lakehouse) -> None:
    for users in range(5):
        transitions(lake, (users, FIRST)).writeTo(lake.identifier(SEGMENT_TRANSITIONS)).append()

    def run() -> None:
        with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
            draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (9, SECOND)), [SECOND])
            if not attempts:
                assert compact(lake, SEGMENT_TRANSITIONS).rewritten_data_files_count == 5
            attempts.append(draft)
            draft.publish(SEGMENT_TRANSITIONS, FIRST, SECOND)

    attempts: list[Draft] = []
    with pytest.raises(ConcurrentCommitError):
        run()
    run()
    assert stored(lake) == [(0, FIRST), (1, FIRST), (2, FIRST), (3, FIRST), (4, FIRST), (9, SECOND)]
    roll_back(lake, SEGMENT_TRANSITIONS, FIRST, None)  # the compaction is no change of the date
    assert stored(lake) == [(0, FIRST), (1, FIRST), (2, FIRST), (3, FIRST), (9, SECOND)]


def test_branches_of_killed_jobs_are_dropped_after_a_day_and_others_are_left(lake: Lakehouse) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    name, old = lake.identifier(SEGMENT_TRANSITIONS), lake.ensure_snapshot(SEGMENT_TRANSITIONS)
    for branch in ("draft_dead", "append_dead", "of_a_person"):
        lake.create_branch(SEGMENT_TRANSITIONS, branch, old)
    transitions(lake, (2, FIRST)).writeTo(f"{name}.branch_draft_dead").append()
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (3, FIRST)), [FIRST])
    newest = lake.ensure_snapshot(SEGMENT_TRANSITIONS)
    lake.create_branch(SEGMENT_TRANSITIONS, "append_live", newest)
    now = datetime.now(UTC)
    assert drop_dead_branches(lake, SEGMENT_TRANSITIONS, now) == 0
    assert drop_dead_branches(lake, SEGMENT_TRANSITIONS, now + 2 * DAY) == 2
    assert set(lake.load(SEGMENT_TRANSITIONS).refs()) == {"main", "append_live", "of_a_person"}


def test_a_draft_that_was_just_begun_on_an_old_snapshot_is_left(lake: Lakehouse) -> None:
    """As old as the commit that it did not have as its base, not as its base itself."""
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    base = lake.ensure_snapshot(SEGMENT_TRANSITIONS)
    lake.create_branch(SEGMENT_TRANSITIONS, "draft_young", base)
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (2, FIRST)), [FIRST])
    moved_on = datetime.fromtimestamp(next(lake.list_history(SEGMENT_TRANSITIONS)).timestamp_ms / 1000, UTC)
    a_moment = timedelta(milliseconds=2)
    drop_dead_branches(lake, SEGMENT_TRANSITIONS, moved_on + DAY - a_moment)
    assert "draft_young" in lake.load(SEGMENT_TRANSITIONS).refs()
    drop_dead_branches(lake, SEGMENT_TRANSITIONS, moved_on + DAY + a_moment)
    assert "draft_young" not in lake.load(SEGMENT_TRANSITIONS).refs()


def test_a_date_is_rewritten_from_as_many_small_files_on_as_the_settings_say(lake: Lakehouse) -> None:
    def with_min_input_files(files: int) -> Settings:
        maintenance = dataclasses.replace(before.pipeline.maintenance, min_input_files=files)
        return dataclasses.replace(before, pipeline=dataclasses.replace(before.pipeline, maintenance=maintenance))

    before = lake.settings
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST, SECOND])
    transitions(lake, (2, FIRST)).writeTo(lake.identifier(SEGMENT_TRANSITIONS)).append()
    rewritten = []
    for least in (3, 2):
        lake.settings = with_min_input_files(least)
        rewritten.append(compact(lake, SEGMENT_TRANSITIONS).rewritten_data_files_count)
    lake.settings = before
    assert rewritten == [0, 2]


def test_the_command_deletes_files_that_nobody_knows_but_no_young_ones(
    lake: Lakehouse, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    data = folder / "clickstream" / "segment_transitions" / "data"
    known = next(data.rglob("*.parquet"))
    old, young = data / "old.parquet", data / "young.parquet"
    for orphan in (old, young):
        shutil.copy(known, orphan)
    os.utime(old, (time.time() - 4 * 86400,) * 2)
    assert main(["--output-path", str(folder)]) == 0
    assert '"orphans_deleted": 1' in capsys.readouterr().out
    assert (old.exists(), young.exists()) == (False, True)
    with open_lake(folder) as after:
        assert stored(after)
