"""Tables of a lakehouse in a folder: how they are created, and how dates are replaced."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

import config
from spark_jobs.lake.catalog import CatalogError
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import Note
from spark_jobs.lake.tables import (
    EVENTS,
    RAW_EVENTS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    TABLES,
    USER_SEGMENTS,
    Column,
    Table,
)

FIRST, SECOND, THIRD = date(2025, 4, 1), date(2025, 4, 2), date(2025, 4, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, folder: Path) -> Lakehouse:
    return Lakehouse(spark, config.load("local"), output_path=str(folder))


def transitions(lake: Lakehouse, *rows: tuple[int, date]) -> DataFrame:
    """Rows of segment_transitions from segment 1 with so many users."""
    return lake.spark.createDataFrame([(1, 2, users, day) for users, day in rows], SEGMENT_TRANSITIONS.ddl)


def stored(lake: Lakehouse) -> list[tuple[int, date]]:
    return sorted((row.users, row.snapshot_date) for row in lake.main.read(SEGMENT_TRANSITIONS).collect())


def operations(lake: Lakehouse) -> list[str]:
    """What each commit of segment_transitions did, in their order."""
    snapshots = f"{lake.identifier(SEGMENT_TRANSITIONS)}.snapshots"
    return [row[0] for row in lake.spark.sql(f"SELECT operation FROM {snapshots} ORDER BY committed_at").collect()]


def data_files(folder: Path) -> dict[str, set[str]]:
    """Names of the data files of segment_transitions by the folder in which they lie."""
    found: dict[str, set[str]] = {}
    for file in (folder / "clickstream" / "segment_transitions" / "data").rglob("*.*"):
        if file.is_file() and not file.name.startswith("."):
            found.setdefault(file.parent.name, set()).add(file.name)
    return found


def describe(lake: Lakehouse, table: Table) -> dict[str, str]:
    """What DESCRIBE shows: the comment of each column, and what stands below them by its title."""
    rows = lake.spark.sql(f"DESCRIBE TABLE EXTENDED {lake.identifier(table)}").collect()
    below = {row.col_name: row.data_type for row in rows[len(table.columns) :]}
    return below | {row.col_name: row.comment for row in rows[: len(table.columns)]}


def test_describe_shows_the_comment_of_every_column_and_table(lake: Lakehouse) -> None:
    for table in TABLES:
        described = describe(lake, table)
        assert {column.name: described[column.name] for column in table.columns} == {
            column.name: column.comment for column in table.columns
        }
        assert described["Comment"] == table.comment
        assert all([table.comment, *(column.comment for column in table.columns)]), table.name
    assert describe(lake, RAW_EVENTS)["payload"] == "the value, byte for byte; null for a forgotten user"
    assert describe(lake, EVENTS)["session_id"] == "the client's own session, not ours"


def test_each_table_is_partitioned_by_its_date(lake: Lakehouse) -> None:
    found = {}
    for table in TABLES:
        created = lake.spark.sql(f"SHOW CREATE TABLE {lake.identifier(table)}").collect()[0][0]
        _, _, partition = created.partition("PARTITIONED BY (")
        found[table.name] = partition.partition(")")[0] or None
    assert found == {
        "raw_events": "event_date",
        "events": "event_date",
        "sessions": "session_date",
        "user_daily_activity": "event_date",
        "user_features": "snapshot_date",
        "user_segments": "snapshot_date",
        "segment_profiles": "snapshot_date",
        "segment_transitions": "snapshot_date",
        "model_runs": None,
        "pipeline_runs": "event_date",
        "failed_runs": "event_date",
        "forgotten_users": None,
    }


def test_tables_are_created_once_and_keep_their_rows(lake: Lakehouse, folder: Path) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    before = sorted(folder.rglob("*.metadata.json"))
    another = Lakehouse(lake.spark, lake.settings, output_path=str(folder))
    assert (1, FIRST) in stored(another)
    assert sorted(folder.rglob("*.metadata.json")) == before


def test_a_job_creates_the_tables_that_it_touches_and_no_other(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lakehouse(spark, config.load("local"), output_path=str(tmp_path))
    assert lake.main.list_dates(EVENTS) == []
    assert [folder.name for folder in (tmp_path / "clickstream").iterdir()] == ["events"]


def test_what_is_read_elsewhere_is_not_created_there(spark: SparkSession, tmp_path: Path) -> None:
    output, folder = str(tmp_path / "out"), str(tmp_path / "in")
    lake = Lakehouse(spark, config.load("local"), output_path=output, input_path=folder, inputs=(RAW_EVENTS,))
    with pytest.raises(CatalogError, match=r"/in has no table raw_events; run the job that writes it"):
        lake.main.read(RAW_EVENTS)
    with pytest.raises(CatalogError, match="s3://bucket/lake is no folder of this machine"):
        Lakehouse(spark, config.load("local"), output_path="s3://bucket/lake")


def test_a_table_of_an_earlier_version_gets_its_missing_columns_in_order_and_keeps_its_rows(
    lake: Lakehouse,
) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST])
    first, *rest, last = SEGMENT_TRANSITIONS.columns
    added = [Column("model_id", "STRING", "it's new"), Column("note", "MAP<STRING, INT>", "new too")]
    grown = dataclasses.replace(SEGMENT_TRANSITIONS, columns=(added[0], first, *rest, added[1], last))
    before = lake.ensure_snapshot(SEGMENT_TRANSITIONS)
    assert lake.spark.read.table(lake.identifier(grown)).columns == grown.column_names
    assert [describe(lake, grown)[column.name] for column in added] == ["it's new", "new too"]
    (row,) = lake.main.read(grown).collect()
    assert (row.model_id, row.note, row.users, row.snapshot_date) == (None, None, 1, FIRST)
    assert lake.at({grown: before}).read(grown).collect() == [row]  # the snapshot has none of the new columns
    lake.spark.sql(f"ALTER TABLE {lake.identifier(grown)} DROP COLUMNS model_id, note")


def test_replacing_dates_touches_exactly_those_dates_in_one_commit(lake: Lakehouse, folder: Path) -> None:
    every = [FIRST, SECOND, THIRD]
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST), (2, SECOND), (3, THIRD)), every)
    before, commits = data_files(folder), operations(lake)
    assert set(before) == {f"snapshot_date=2025-04-0{day}" for day in (1, 2, 3)}
    assert {Path(name).suffix for names in before.values() for name in names} == {".parquet"}

    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (20, SECOND), (21, SECOND)), [SECOND, THIRD])
    assert stored(lake) == [(1, FIRST), (20, SECOND), (21, SECOND)]
    assert lake.main.list_dates(SEGMENT_TRANSITIONS) == [FIRST, SECOND]
    assert data_files(folder)["snapshot_date=2025-04-01"] == before["snapshot_date=2025-04-01"]
    assert operations(lake) == [*commits, "overwrite"]


def test_an_empty_frame_empties_its_date_only(lake: Lakehouse) -> None:
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST), (2, SECOND)), [FIRST, SECOND, THIRD])
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake), [FIRST])
    assert stored(lake) == [(2, SECOND)]


def test_dates_are_read_with_both_ends_and_nothing_beyond(lake: Lakehouse) -> None:
    frame = transitions(lake, (1, FIRST), (2, SECOND), (3, THIRD), (4, date(2025, 4, 4)))
    lake.replace_dates(SEGMENT_TRANSITIONS, frame, [FIRST, SECOND, THIRD, date(2025, 4, 4)])
    rows = lake.main.read_dates(SEGMENT_TRANSITIONS, SECOND, THIRD).collect()
    assert sorted(row.users for row in rows) == [2, 3]


def test_the_newest_note_is_that_of_main_whatever_other_branches_say(lake: Lakehouse) -> None:
    noted, other = Note[str]("note"), Note[str]("other")
    assert lake.find_note(SEGMENT_TRANSITIONS, noted) is None
    for note in ("old", "new"):
        lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST], noted.write(note))
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (1, FIRST)), [FIRST], other.write("later"))
    name = lake.identifier(SEGMENT_TRANSITIONS)
    lake.spark.sql(f"ALTER TABLE {name} CREATE BRANCH aside")
    aside = transitions(lake, (9, SECOND)).writeTo(f"{name}.branch_aside")
    aside.option("snapshot-property.note", '"from aside"').append()
    assert lake.find_note(SEGMENT_TRANSITIONS, noted) == "new"
    assert lake.find_note(SEGMENT_TRANSITIONS, other) == "later"


def test_bounds_of_a_column_come_from_the_files_or_where_they_have_none_from_the_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lakehouse(spark, config.load("local"), output_path=str(tmp_path))
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (3, FIRST), (7, FIRST), (5, SECOND)), [FIRST, SECOND])
    by_hand = {FIRST: (3, 7), SECOND: (5, 5)}
    assert lake.main.find_bounds(SEGMENT_TRANSITIONS, "users", FIRST, THIRD) == by_hand
    spark.sql(
        f"ALTER TABLE {lake.identifier(SEGMENT_TRANSITIONS)} SET TBLPROPERTIES "
        "('write.metadata.metrics.default' = 'none')"
    )
    lake.replace_dates(SEGMENT_TRANSITIONS, transitions(lake, (4, THIRD), (9, THIRD)), [THIRD])
    assert lake.main.find_bounds(SEGMENT_TRANSITIONS, "users", FIRST, SECOND) == by_hand
    assert lake.main.find_bounds(SEGMENT_TRANSITIONS, "users", FIRST, THIRD) == by_hand | {THIRD: (4, 9)}


def test_rows_that_a_job_holds_replace_dates_without_spark_and_spark_reads_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lakehouse(spark, config.load("local"), output_path=str(tmp_path))
    lake.replace_rows(SEGMENT_TRANSITIONS, [(None, 2, 3, FIRST), (1, 2, 4, SECOND)], [FIRST, SECOND])
    lake.replace_rows(SEGMENT_TRANSITIONS, [(1, None, 7, SECOND)], [SECOND, THIRD])
    assert {tuple(row) for row in lake.main.read(SEGMENT_TRANSITIONS).collect()} == {
        (None, 2, 3, FIRST),
        (1, None, 7, SECOND),
    }
    lake.replace_rows(SEGMENT_TRANSITIONS, [], [FIRST])
    assert lake.main.count_rows(SEGMENT_TRANSITIONS) == {SECOND: 1}
    means, apart = {"a": 1.5, "b": -2.0}, [("b", -2.0), ("a", 1.5)]
    lake.replace_rows(SEGMENT_PROFILES, [(1, "buyers", "They buy.", 3, 1.0, means, {}, apart, None, FIRST)], [FIRST])
    (row,) = lake.main.read(SEGMENT_PROFILES).collect()
    assert (row.centroid, row.deviations, [tuple(one) for one in row.distinctive_features]) == (means, {}, apart)
    assert (row.users, row.users_share, row.model_id, row.snapshot_date) == (3, 1.0, None, FIRST)


def test_nulls_are_counted_by_statistics_unless_a_value_is_no_number(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lakehouse(spark, config.load("local"), output_path=str(tmp_path))

    def put(day: date, *distances: float | None) -> None:
        rows = [(str(n), 1, "s", distance, None, day, "m", day) for n, distance in enumerate(distances)]
        lake.replace_dates(USER_SEGMENTS, spark.createDataFrame(rows, USER_SEGMENTS.ddl), [day])

    put(FIRST, 0.5, None, 2.0)
    put(SECOND, float("nan"), 1.0)
    put(THIRD, float("inf"), 1.0)
    columns = ("segment_id", "distance_to_centroid")
    assert lake.main.count_nulls(USER_SEGMENTS, FIRST, columns) == (3, {"segment_id": 0, "distance_to_centroid": 1})
    assert lake.main.count_nulls(USER_SEGMENTS, SECOND, columns) is None
    assert lake.main.count_nulls(USER_SEGMENTS, THIRD, columns) is None
    assert lake.main.count_nulls(USER_SEGMENTS, THIRD, columns[:1]) == (2, {"segment_id": 0})
    put(THIRD, None, None)
    assert lake.main.count_nulls(USER_SEGMENTS, THIRD, columns) == (2, {"segment_id": 0, "distance_to_centroid": 2})
