"""What readers see of a draft: nothing, until it is published; and what the audit says of it before."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import date
from typing import Any

import pytest
from pyiceberg.expressions.visitors import _ManifestEvalVisitor, visit
from pyiceberg.manifest import ManifestFile
from pyspark.sql import DataFrame, SparkSession

import config
from config.loader import Audit
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake import draft as draft_module
from spark_jobs.lake import files
from spark_jobs.lake.audit import find_faults
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import Note
from spark_jobs.lake.tables import SEGMENT_PROFILES, SEGMENT_TRANSITIONS, USER_SEGMENTS
from spark_jobs.lake.views import View

DAYS = [date(2025, 4, day) for day in range(1, 6)]
LIMITS = Audit(max_fall_share=0.1, ignored_fall_rows=1)


NOTE = Note[str]("note")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    return Lakehouse(spark, config.load("local"), output_path=str(tmp_path_factory.mktemp("lake")))


def transitions(lake: Lakehouse, *rows: tuple[int, date]) -> DataFrame:
    """Rows of segment_transitions from segment 1 with so many users."""
    return lake.spark.createDataFrame([(1, 2, users, day) for users, day in rows], SEGMENT_TRANSITIONS.ddl)


def stored(view: View) -> list[int]:
    return sorted(row.users for row in view.read(SEGMENT_TRANSITIONS).collect())


def branches(lake: Lakehouse) -> list[str]:
    return list(lake.load(SEGMENT_TRANSITIONS).refs())


@pytest.fixture(autouse=True)
def _three_dates(lake: Lakehouse) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, DAYS[0]), (2, DAYS[1]), (3, DAYS[2])), DAYS)


def test_a_draft_is_seen_by_itself_and_by_readers_once_it_is_published(lake: Lakehouse) -> None:
    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (40, DAYS[3])), [DAYS[2], DAYS[3]])
        assert stored(draft) == [1, 20, 40]
        assert stored(lake.main) == [1, 2, 3]
        assert draft.dates(SEGMENT_TRANSITIONS) == DAYS[1:4]
        assert draft.count_rows(SEGMENT_TRANSITIONS) == {
            DAYS[0]: 1, DAYS[1]: 1, DAYS[3]: 1,
        }  # fmt: skip
        assert draft.count_published_rows(SEGMENT_TRANSITIONS) == {DAYS[1]: 1, DAYS[2]: 1, DAYS[3]: 0}
        draft.publish(SEGMENT_TRANSITIONS, DAYS[1], DAYS[3], NOTE.write("published"))
    assert stored(lake.main) == [1, 20, 40]
    assert lake.find_note(SEGMENT_TRANSITIONS, NOTE) == "published"
    assert branches(lake) == ["main"]


def draft_and_die(lake: Lakehouse) -> None:
    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        raise RuntimeError("the run dies")


def test_what_is_not_published_was_never_there(lake: Lakehouse) -> None:
    with pytest.raises(RuntimeError, match="the run dies"):
        draft_and_die(lake)
    assert stored(lake.main) == [1, 2, 3]
    assert branches(lake) == ["main"]


def change_behind(lake: Lakehouse, users: int, day: date) -> None:
    """Another run replaces a date while a draft is open."""
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (users, day)), [day])


def test_a_date_that_another_run_changed_meanwhile_stays_as_that_run_left_it(lake: Lakehouse) -> None:
    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        change_behind(lake, 30, DAYS[2])
        draft.publish(SEGMENT_TRANSITIONS, DAYS[0], DAYS[1])
    assert stored(lake.main) == [1, 20, 30]


@pytest.mark.parametrize("changed", [DAYS[0], DAYS[1]], ids=["a date that was read", "the date that was written"])
def test_a_draft_that_rests_on_what_another_run_changed_is_refused(lake: Lakehouse, changed: date) -> None:
    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        change_behind(lake, 99, changed)
        with pytest.raises(ConcurrentCommitError, match="between 2025-04-01 and 2025-04-02"):
            draft.publish(SEGMENT_TRANSITIONS, DAYS[0], DAYS[1])
    assert 99 in stored(lake.main)
    assert 20 not in stored(lake.main)
    assert branches(lake) == ["main"]


@pytest.mark.parametrize(
    ("changed", "left"),
    [(DAYS[0], [2, 3, 99]), (DAYS[1], [1, 3, 99]), (DAYS[2], [1, 20, 99])],
    ids=["a date that was read", "the date that was written", "a date beyond"],
)
def test_a_commit_between_the_check_and_the_publication_is_noticed(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, changed: date, left: list[int]
) -> None:
    replace_files = files.replace_files

    def replace_too_late(*arguments: Any, **named: Any) -> int:
        change_behind(lake, 99, changed)
        return replace_files(*arguments, **named)

    monkeypatch.setattr(draft_module, "replace_files", replace_too_late)
    is_refused = changed != DAYS[2]
    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        with pytest.raises(ConcurrentCommitError) if is_refused else nullcontext():
            draft.publish(SEGMENT_TRANSITIONS, DAYS[0], DAYS[1])
    assert stored(lake.main) == left


def test_threads_that_look_at_manifests_do_not_take_each_others(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, day in enumerate(DAYS):
        change_behind(lake, 10 + number, day)  # a manifest of its own

    def evaluate_slowly(visitor: _ManifestEvalVisitor, manifest: ManifestFile) -> bool:
        visitor.partition_fields = manifest.partitions or []
        time.sleep(0.05)  # others come between
        return bool(visit(visitor.partition_filter, visitor))

    with Draft(lake, (SEGMENT_TRANSITIONS,)) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, DAYS[1])), [DAYS[1]])
        with monkeypatch.context() as patched:
            patched.setattr(_ManifestEvalVisitor, "eval", evaluate_slowly)
            draft.publish(SEGMENT_TRANSITIONS, DAYS[1], DAYS[1])
    assert stored(lake.main) == [10, 12, 13, 14, 20]


def segments(lake: Lakehouse, users: int, day: date, distance: float = 1.0) -> DataFrame:
    rows = [(str(n), 1, "buyers", distance, None, day, "m", day) for n in range(users)]
    return lake.spark.createDataFrame(rows, USER_SEGMENTS.ddl)


def test_a_date_that_loses_too_many_rows_is_a_fault_with_its_numbers(lake: Lakehouse) -> None:
    lake.replace_dates(USER_SEGMENTS, segments(lake, 20, DAYS[0]).union(segments(lake, 20, DAYS[1])), DAYS[:2])
    with Draft(lake, (USER_SEGMENTS,)) as draft:
        draft.replace_dates(USER_SEGMENTS, segments(lake, 18, DAYS[0]), [DAYS[0]])
        assert find_faults(draft, LIMITS) == []
        draft.replace_dates(USER_SEGMENTS, segments(lake, 15, DAYS[1]), [DAYS[1]])
        assert find_faults(draft, LIMITS) == [
            "user_segments 2025-04-02: 15 rows instead of 20, a fall of 25.0%; 10.0% is allowed (audit.max_fall_share)"
        ]
        assert find_faults(draft, Audit(max_fall_share=0.1, ignored_fall_rows=5)) == []


def test_nulls_and_values_out_of_range_are_faults_where_the_table_forbids_them(lake: Lakehouse) -> None:
    good = segments(lake, 3, DAYS[2])
    bad = lake.spark.createDataFrame([(None, 1, "x", -0.5, None, DAYS[3], "m", DAYS[3])], USER_SEGMENTS.ddl)
    nan = lake.spark.createDataFrame([("u", 1, "x", float("nan"), 2, DAYS[4], "m", DAYS[4])], USER_SEGMENTS.ddl)
    profile: tuple[Any, ...] = (1, "buyers", "They buy.", 3, 1.5, {"f": 1.0}, {"f": 0.5}, [], "m", DAYS[2])
    with Draft(lake, (USER_SEGMENTS, SEGMENT_PROFILES)) as draft:
        draft.replace_dates(USER_SEGMENTS, good.union(bad).union(nan), DAYS[2:])
        shares = lake.spark.createDataFrame([profile], SEGMENT_PROFILES.ddl)
        draft.replace_dates(SEGMENT_PROFILES, shares, [DAYS[2]])
        assert sorted(find_faults(draft, LIMITS)) == [
            "segment_profiles 2025-04-03: users_share rises to 1.5, above 1",
            "user_segments 2025-04-04: distance_to_centroid falls to -0.5, below 0",
            "user_segments 2025-04-04: user_id is null in 1 rows",
            "user_segments 2025-04-05: distance_to_centroid is NaN in 1 rows",
        ]
