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
from spark_jobs.draft import Draft
from spark_jobs.lakehouse import ConcurrentCommitError, Lakehouse
from spark_jobs.land_raw_events import OFFSETS_KEY
from spark_jobs.maintain_tables import compact, drop_dead_branches, expire_snapshots, main
from spark_jobs.rollback_table import roll_back
from spark_jobs.tables import RAW_EVENTS, SEGMENT_TRANSITIONS
from tests.unit.spark_jobs.small_frames import open_lake
from tests.unit.spark_jobs.test_lakehouse import FIRST, SECOND, stored, transitions

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
    base = lake.start_history(RAW_EVENTS) if base is None else base
    lake.append_if_unchanged(RAW_EVENTS, frame, base, {OFFSETS_KEY: str(offset + 1)})


def files(lake: Lakehouse) -> int:
    return sum(1 for _ in lake.load(RAW_EVENTS).newScan().planFiles().iterator())


def test_a_landing_that_meets_a_compaction_starts_over_and_the_position_outlives_the_snapshots(lake: Lakehouse) -> None:
    for offset in range(5):
        land(lake, offset)
    base = lake.start_history(RAW_EVENTS)
    compacted = compact(lake, RAW_EVENTS)
    assert (compacted.rewritten_data_files_count, files(lake)) == (5, 1)
    with pytest.raises(ConcurrentCommitError):
        land(lake, 5, base)
    expire_snapshots(lake, RAW_EVENTS, datetime.now(UTC))
    assert len(list(lake.history(RAW_EVENTS))) == 1
    assert lake.newest_summary(RAW_EVENTS, OFFSETS_KEY) == "5"
    with pytest.raises(ConcurrentCommitError, match="which has expired"):
        land(lake, 5, base)
    land(lake, 5)
    assert sorted(row.offset for row in lake.read(RAW_EVENTS).collect()) == list(range(6))
    assert lake.newest_summary(RAW_EVENTS, OFFSETS_KEY) == "6"


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
    name, old = lake.identifier(SEGMENT_TRANSITIONS), lake.start_history(SEGMENT_TRANSITIONS)
    for branch in ("draft_dead", "append_dead", "of_a_person"):
        lake.load(SEGMENT_TRANSITIONS).manageSnapshots().createBranch(branch, old).commit()
    transitions(lake, (2, FIRST)).writeTo(f"{name}.branch_draft_dead").append()
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (3, FIRST)), [FIRST])
    newest = lake.start_history(SEGMENT_TRANSITIONS)
    lake.load(SEGMENT_TRANSITIONS).manageSnapshots().createBranch("append_live", newest).commit()
    now = datetime.now(UTC)
    assert drop_dead_branches(lake, SEGMENT_TRANSITIONS, now) == 0
    assert drop_dead_branches(lake, SEGMENT_TRANSITIONS, now + 2 * DAY) == 2
    assert set(dict(lake.load(SEGMENT_TRANSITIONS).refs())) == {"main", "append_live", "of_a_person"}


def test_a_draft_that_was_just_begun_on_an_old_snapshot_is_left(lake: Lakehouse) -> None:
    """As old as the commit that it did not have as its base, not as its base itself."""
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    base = lake.start_history(SEGMENT_TRANSITIONS)
    lake.load(SEGMENT_TRANSITIONS).manageSnapshots().createBranch("draft_young", base).commit()
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (2, FIRST)), [FIRST])
    moved_on = datetime.fromtimestamp(next(iter(lake.history(SEGMENT_TRANSITIONS))).timestampMillis() / 1000, UTC)
    a_moment = timedelta(milliseconds=2)
    drop_dead_branches(lake, SEGMENT_TRANSITIONS, moved_on + DAY - a_moment)
    assert "draft_young" in dict(lake.load(SEGMENT_TRANSITIONS).refs())
    drop_dead_branches(lake, SEGMENT_TRANSITIONS, moved_on + DAY + a_moment)
    assert "draft_young" not in dict(lake.load(SEGMENT_TRANSITIONS).refs())


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
