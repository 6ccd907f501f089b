"""Removes a user from every table, every retained snapshot, the generator's truth and the results of Athena.

Input: a user_id.
Output: a tombstone in forgotten_users, which landing, transform and segmentation obey from then on; the user's rows of
raw_events emptied, so that every offset of Kafka stays accounted for; the dates of their events rebuilt without them by
the transform itself; the segments counted again; then every file that still holds them deleted, with the snapshots that
need it. A table of what was removed where.

The tombstone comes first, and each step finds in the tables what is left to do: after a kill at any point the same
command finishes the work.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import sys
from functools import reduce

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as RichTable

import config
from config import Settings
from data_generator.truth import TruthStore
from spark_jobs.errors import AuditError, ConcurrentCommitError, JobError
from spark_jobs.forgotten_users import EMPTIED, ERROR_TYPE, Tombstones, read_tombstones
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.files import list_files
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse, to_sql
from spark_jobs.lake.retry import MAX_ATTEMPTS, retry_on_conflict
from spark_jobs.lake.storage import delete_file, list_objects
from spark_jobs.lake.tables import (
    EVENTS,
    FORGOTTEN_USERS,
    PIPELINE_RUNS,
    RAW_EVENTS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    SESSIONS,
    USER_DAILY_ACTIVITY,
    USER_FEATURES,
    USER_SEGMENTS,
    Table,
)
from spark_jobs.lake.views import MAIN
from spark_jobs.maintain_tables import call, carry_forward, drop_dead_branches, expire_snapshots
from spark_jobs.run_remarks import add_remark
from spark_jobs.segment_models import read_models
from spark_jobs.segment_profiles import profile_segments
from spark_jobs.transform_clickstream import DAY, transform
from spark_jobs.user_segmentation_ml import count_transitions, read_features

# The tables that know users, in the order in which the data flows.
TABLES_WITH_USERS = (RAW_EVENTS, EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES, USER_SEGMENTS)
DATES_PER_COMMIT = 7
RESULT_SUFFIXES = (".csv", ".txt")
# The columns of pipeline_runs that count rows of one table, and all that change when a user goes.
RUN_COUNTS = {"clean": EVENTS, "sessions": SESSIONS, "users": USER_DAILY_ACTIVITY, "segmented_users": USER_SEGMENTS}
RECOUNTED = ("landed", "quarantined", "duplicates", *RUN_COUNTS)
UNREACHED = """\
Not reached, because it is not the lake's: the topic in Kafka until its retention ends (landing empties what it reads of
it), the source's own files, among them the generator's truth of dates that it makes later, copies that people made,
versions that the bucket keeps of deleted objects, and Airflow's record of a run whose parameter was the id. Not
searched: tables and files that queries of Athena wrote."""


class ForgetError(JobError):
    """The user is not gone from everywhere yet; the message says where from, and what to do."""

    def to_line(self) -> str:
        return f"not finished: {self}"


@dataclasses.dataclass(frozen=True)
class User:
    """Whom to forget; `tombstones` has theirs alone."""

    user_id: str
    tombstones: Tombstones

    def rows_of(self, table: Table) -> Column:
        """True for the rows of `table` that are the user's."""
        if table == RAW_EVENTS:
            return F.expr(self.tombstones.names_record())
        return F.col("user_id") == F.lit(self.user_id)


def record_tombstone(lakehouse: Lakehouse, user_id: str) -> User:
    """Make sure that every job knows from now on that the user is forgotten."""
    recorded = read_tombstones(lakehouse)
    user_hash = recorded.hash_user(user_id)
    if user_hash not in recorded.hashes:
        row = lakehouse.spark.createDataFrame([(user_hash,)], "user_hash STRING")
        row.withColumn("forgotten_at", F.current_timestamp()).writeTo(lakehouse.identifier(FORGOTTEN_USERS)).append()
    return User(user_id, Tombstones(recorded.salt, (user_hash,)))


def find_dates(lakehouse: Lakehouse, table: Table, user: User) -> dict[dt.date, int]:
    """The user's rows on each date on which there are any."""
    rows = lakehouse.main.read(table).where(user.rows_of(table)).groupBy(table.partition_column).count().collect()
    return {row[0]: row[1] for row in rows}


def remove_from_tables(lakehouse: Lakehouse, user: User, found: dict[Table, dict[dt.date, int]]) -> None:
    """Take the user out of the newest snapshot of every table; `found` are the rows of each table on each date.

    Raises ConcurrentCommitError where another run came between, and AuditError; what was done stays done.
    """
    empty_raw_events(lakehouse, user, sorted(found[RAW_EVENTS]))
    built = {day for table in (EVENTS, SESSIONS, USER_DAILY_ACTIVITY) for day in found[table]}
    for dates in batched(sorted(built), DATES_PER_COMMIT):
        transform(lakehouse, [], dates)
    delete_rows(lakehouse, USER_FEATURES, user)  # what a rollback has brought back: the rebuilt dates have none
    recount_segments(lakehouse, user, sorted(found[USER_SEGMENTS]))
    recount_runs(lakehouse)


def empty_raw_events(lakehouse: Lakehouse, user: User, dates: list[dt.date]) -> None:
    """Empty the user's rows, of which there are some on `dates`."""
    add_remark(lakehouse, dates, f"{dt.datetime.now(dt.UTC):%Y-%m-%d}: a user was forgotten, the records are empty now")
    # A landing that does not know the tombstone began before this commit, and either is seen below or starts over.
    carry_forward(lakehouse, RAW_EVENTS)
    values = ", ".join(f"{column} = {value}" for column, value in EMPTIED.items())
    lakehouse.run_sql(RAW_EVENTS, f"UPDATE {{table}} SET {values} WHERE {user.tombstones.names_record()}")


def batched(dates: list[dt.date], size: int) -> list[list[dt.date]]:
    """`dates` in pieces of at most `size`."""
    return [dates[at : at + size] for at in range(0, len(dates), size)]


def delete_rows(lakehouse: Lakehouse, table: Table, user: User) -> None:
    """Delete the user's rows of a table, in one commit; none where there are none."""
    if lakehouse.main.read(table).where(user.rows_of(table)).isEmpty():
        return
    lakehouse.run_sql(table, f"DELETE FROM {{table}} WHERE user_id = {to_sql(user.user_id)}")


def recount_segments(lakehouse: Lakehouse, user: User, dates: list[dt.date]) -> None:
    """Profiles and transitions of `dates` without the user, and then user_segments, by which a rerun finds them."""
    moved = {*dates, *(day + DAY for day in dates)} & set(lakehouse.main.list_dates(USER_SEGMENTS))
    for some in batched(dates, DATES_PER_COMMIT):
        profiles = [profile for day in some for profile in profile_date(lakehouse, user, day)]
        lakehouse.replace_dates(SEGMENT_PROFILES, lakehouse.spark.createDataFrame(profiles, SEGMENT_PROFILES.ddl), some)
    for some in batched(sorted(moved), DATES_PER_COMMIT):
        transitions = [
            count_transitions(read_segments(lakehouse, user, day), read_segments(lakehouse, user, day - DAY), day)
            for day in some
        ]
        lakehouse.replace_dates(SEGMENT_TRANSITIONS, reduce(DataFrame.unionByName, transitions), some)
    delete_rows(lakehouse, USER_SEGMENTS, user)


def read_segments(lakehouse: Lakehouse, user: User, date: dt.date) -> DataFrame:
    """user_segments of one date without the user."""
    return lakehouse.main.read_dates(USER_SEGMENTS, date, date).where(~user.rows_of(USER_SEGMENTS))


def profile_date(lakehouse: Lakehouse, user: User, date: dt.date) -> list[Row]:
    """segment_profiles of one date without the user, over the features that it had."""
    before = lakehouse.main.read_dates(SEGMENT_PROFILES, date, date).select(F.map_keys("centroid")).first()
    names = tuple(before[0]) if before else ()
    features = read_features(lakehouse.main, read_tombstones(lakehouse), date, names).drop("snapshot_date")
    users = read_segments(lakehouse, user, date).join(features, "user_id", "left")
    models = read_models(lakehouse)
    rule_names = {segment.segment_id: segment.segment_name for model in models for segment in model.segments}
    return profile_segments(users, names, lakehouse.settings.segment_words, rule_names)


def recount_runs(lakehouse: Lakehouse) -> None:
    """Bring the counts of pipeline_runs up to date; of what landed, on the dates with forgotten users only."""
    raw = lakehouse.main.read(RAW_EVENTS).groupBy("event_date")
    counts = raw.agg(
        F.count("*").alias("landed"),
        F.count("error_type").alias("quarantined"),
        F.count_if(F.col("error_type") == ERROR_TYPE).alias("forgotten"),
    )
    raw_counts = {row.event_date: row for row in counts.where("forgotten > 0").collect()}
    rows = {column: lakehouse.main.count_rows(table) for column, table in RUN_COUNTS.items()}
    recounted = []
    for run in (
        lakehouse.main.read(PIPELINE_RUNS).where("landed IS NOT NULL").select("event_date", *RECOUNTED).collect()
    ):
        recorded = run.asDict()
        now = recorded | {name: counts.get(run.event_date, 0) for name, counts in rows.items()}
        if of_date := raw_counts.get(run.event_date):
            duplicates = of_date.landed - of_date.quarantined - now["clean"]
            now |= {"landed": of_date.landed, "quarantined": of_date.quarantined, "duplicates": duplicates}
        else:
            now["clean"] = recorded["clean"]
        if now != recorded:
            recounted.append(now)
    if not recounted:
        return
    schema = ", ".join(["event_date DATE", *(f"{column} BIGINT" for column in RECOUNTED)])
    lakehouse.spark.createDataFrame(recounted, schema).createOrReplaceTempView("recounted")
    values = ", ".join(f"run.{column} = recounted.{column}" for column in RECOUNTED)
    lakehouse.run_sql(
        PIPELINE_RUNS,
        "MERGE INTO {table} run USING recounted ON run.event_date = recounted.event_date "
        f"WHEN MATCHED THEN UPDATE SET {values}",
    )


def purge_files(lakehouse: Lakehouse, table: Table, user: User) -> int:
    """Delete every file that holds the user, with the snapshots that need it; returns their number.

    The newest snapshot needs none of them any more: they belong to older ones, to discarded drafts, or to none where a
    job was killed. Raises ForgetError where a run that is under way still needs one.
    """
    loaded = lakehouse.load(table)
    stored = {
        name_of(location): location
        for location in list_objects(loaded.io, loaded.location())
        if location.endswith(".parquet")
    }
    newest = list_names(loaded, loaded.current_snapshot())
    holding = find_holding(lakehouse, table, user, [stored[name] for name in sorted(stored.keys() - newest)])
    if not holding:
        return 0
    now = dt.datetime.now(dt.UTC)
    drop_dead_branches(lakehouse, table, now)
    loaded = lakehouse.load(table)
    for branch in loaded.refs():
        if branch != MAIN and holding & list_names(loaded, loaded.snapshot_by_name(branch)):
            raise ForgetError(
                f"{branch} of {table.name} still holds the user: the draft of a run that is under way and will not be "
                "able to publish it, or a branch or tag of somebody's own; run the same command again when it is gone "
                "(a day later where the run was killed)"
            )
    # Manifests keep the least and greatest value of the files that a commit removed; new ones do not.
    call(lakehouse, "rewrite_manifests", table, use_caching="false")
    expire_snapshots(lakehouse, table, now)
    for name in holding:
        delete_file(loaded.io, stored[name])
    return len(holding)


def list_names(loaded: IcebergTable, snapshot: Snapshot | None) -> set[str]:
    """The names of a snapshot's files: each contains a UUID, and locations may be written in several ways."""
    return {name_of(location) for location in list_files(loaded, snapshot.snapshot_id if snapshot else None)}


def find_holding(lakehouse: Lakehouse, table: Table, user: User, locations: list[str]) -> set[str]:
    """The names of those Parquet files that hold the user; one that a killed job has cut short cannot be read."""
    if not locations:
        return set()
    rows = lakehouse.spark.read.option("ignoreCorruptFiles", "true").schema(table.ddl).parquet(*locations)
    found = rows.where(user.rows_of(table)).select(F.col("_metadata.file_path")).distinct().collect()
    return {name_of(row.file_path) for row in found}


def name_of(location: str) -> str:
    return location.rpartition("/")[2]


def delete_results(lakehouse: Lakehouse, user: User) -> int:
    """Delete the results of Athena's queries in which the id stands; a query makes them again. Returns their number."""
    io = lakehouse.load(FORGOTTEN_USERS).io
    files = list_objects(io, lakehouse.settings.paths.athena_results)
    results = [file for file in files if file.endswith(RESULT_SUFFIXES)]
    if not results:
        return 0
    lines = lakehouse.spark.read.text(results).where(F.col("value").contains(user.user_id.replace('"', '""')))
    holding = {name_of(row.file_path) for row in lines.select(F.col("_metadata.file_path")).distinct().collect()}
    for file in files:
        if name_of(file.removesuffix(".metadata")) in holding:
            delete_file(io, file)
    return len(holding)


def remove_everywhere(lakehouse: Lakehouse, user: User) -> dict[str, int]:
    """Rows of the user by table, at their most: where other runs came between, the work is repeated.

    Raises ForgetError where they keep coming.
    """
    removed: dict[str, int] = {}
    try:
        for attempt in retry_on_conflict(MAX_ATTEMPTS):
            with attempt:
                remove_once(lakehouse, user, removed)
    except ConcurrentCommitError as error:
        raise ForgetError(
            "other runs keep writing what they have read before; run the same command again when they have ended"
        ) from error
    return removed


def remove_once(lakehouse: Lakehouse, user: User, removed: dict[str, int]) -> None:
    """Take the user out of every table, and look again; `removed` gets the rows by table, at their most.

    Raises ConcurrentCommitError where rows of theirs are there again.
    """
    found = {table: find_dates(lakehouse, table, user) for table in TABLES_WITH_USERS}
    for table, dates in found.items():
        removed[table.name] = max(removed.get(table.name, 0), sum(dates.values()))
    remove_from_tables(lakehouse, user, found)
    if left := [table.name for table in TABLES_WITH_USERS if find_dates(lakehouse, table, user)]:
        raise ConcurrentCommitError(f"the user is back in {', '.join(left)}")


def without_fall_check(settings: Settings) -> Settings:
    """A date may lose all its rows: it loses them on purpose. The rest of the audit stays."""
    audit = dataclasses.replace(settings.pipeline.audit, max_fall_share=1.0)
    return dataclasses.replace(settings, pipeline=dataclasses.replace(settings.pipeline, audit=audit))


def print_report(counts: list[tuple[str, str, int]]) -> None:
    """Where, what, how many."""
    report = RichTable("where", "what", "removed")
    for where, what, count in counts:
        report.add_row(where, what, f"{count:,}")
    console = Console(width=110)
    console.print(report)
    console.print(UNREACHED)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="forget_user.py", description="Remove a user from every table and every retained snapshot, for good."
    )
    parser.add_argument("--user", required=True, help="user_id, exactly as in the events")
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    args = parser.parse_args(argv)
    if not args.user:
        parser.error("--user is empty; give the user_id")
    return args


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    settings = without_fall_check(config.load())
    with open_lakehouse("forget_user", settings, output_path=args.output_path) as lakehouse:
        try:
            counts = forget(lakehouse, args.user, has_stores=not args.output_path)
        except (ConcurrentCommitError, AuditError) as error:
            raise ForgetError(str(error)) from error
    print_report(counts)
    return 0


def forget(lakehouse: Lakehouse, user_id: str, *, has_stores: bool) -> list[tuple[str, str, int]]:
    """Where, what and how many, of all that was removed; `has_stores`: also beside the tables.

    Raises ForgetError, ConcurrentCommitError, AuditError.
    """
    user = record_tombstone(lakehouse, user_id)
    rows = remove_everywhere(lakehouse, user)
    counts = [(name, "rows", count) for name, count in rows.items()]
    counts += [(t.name, "files of older snapshots", purge_files(lakehouse, t, user)) for t in TABLES_WITH_USERS]
    if has_stores:
        store = TruthStore(lakehouse.settings, lakehouse.settings.pipeline.topic.name)
        counts.append(("truth of the generator", "rows", store.forget_user(user_id)))
        counts.append(("results of Athena", "files", delete_results(lakehouse, user)))
    return counts


if __name__ == "__main__":
    sys.exit(main())
