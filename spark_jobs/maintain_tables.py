"""Keeps the tables quick to read and no larger than they must be: small files, old snapshots, orphans, dead branches.

Input: every table. Output: the same rows, in fewer and larger files; snapshots of the last `maintenance.retention_days`
only; no file that no snapshot needs. Iceberg's own procedures do the work.

Safe beside running jobs: a landing that finds raw_events compacted, and a run that finds its dates compacted, start
over; what a job wins against the compaction stays as the job wrote it. What jobs read in the snapshots of a table (the
position of landing in Kafka, the rows that a date was built from, the segments to make again) is carried forward before
any of them expires.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from pyspark.sql import Row

import config
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.notes import POSITION, RAW_ROWS
from spark_jobs.lake.retry import retry_on_conflict
from spark_jobs.lake.tables import EVENTS, RAW_EVENTS, TABLES, USER_FEATURES, USER_SEGMENTS, Table
from spark_jobs.outdated_segments import find_digests, keep_outdated_segments

DAY = dt.timedelta(days=1)
BYTES_PER_MB = 1024 * 1024
# Branches of our own jobs: drafts of a run, appends of a landing. A job that lives for a day is dead.
JOB_BRANCHES = ("draft_", "append_")


def call(lakehouse: Lakehouse, procedure: str, table: Table, **arguments: str) -> list[Row]:
    """Run one of Iceberg's procedures, with its arguments as SQL."""
    catalog, _, name = lakehouse.identifier(table).partition(".")
    values = ", ".join(f"{key} => {value}" for key, value in {"table": f"'{name}'", **arguments}.items())
    return lakehouse.spark.sql(f"CALL {catalog}.system.{procedure}({values})").collect()


def timestamp(time: dt.datetime) -> str:
    """SQL; the session's time zone is UTC."""
    return f"TIMESTAMP '{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S.%f}'"


def drop_dead_branches(lakehouse: Lakehouse, table: Table, now: dt.datetime) -> int:
    """Drop the branches that killed jobs have left behind a day ago; returns their number."""
    loaded, main = lakehouse.load(table), list(lakehouse.list_history(table))
    # A branch without a commit of its own is as old as the commit on main that it will not have as its base.
    left_at = {older.snapshot_id: newer.timestamp_ms for newer, older in pairwise(main)}
    dead = []
    for branch, ref in loaded.refs().items():
        head = loaded.snapshot_by_id(ref.snapshot_id)
        if branch.startswith(JOB_BRANCHES) and head and head.snapshot_id != main[0].snapshot_id:
            seen_ms = left_at.get(head.snapshot_id, head.timestamp_ms)
            if seen_ms < (now - DAY).timestamp() * 1000:
                dead.append(branch)
    for branch in dead:
        lakehouse.remove_branch(table, branch)
    return len(dead)


def compact(lakehouse: Lakehouse, table: Table) -> Row:
    """Rewrite the small files of every partition that has several; what another run changes meanwhile is left to it."""
    settings = lakehouse.settings.pipeline.maintenance
    options: dict[str, Any] = {
        "target-file-size-bytes": settings.target_file_size_mb * BYTES_PER_MB,
        "min-input-files": settings.min_input_files,
        "partial-progress.enabled": "true",  # a group of files that has changed meanwhile fails alone
    }
    pairs = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    return call(lakehouse, "rewrite_data_files", table, options=f"map({pairs})")[0]


def find_position(lakehouse: Lakehouse) -> dict[str, str]:
    """What the next landing reads in the summaries of raw_events; empty before the first one."""
    position = {note: lakehouse.find_note(RAW_EVENTS, note) for note in POSITION}
    noted = [note.write(value) for note, value in position.items() if value is not None]
    return {key: text for summary in noted for key, text in summary.items()}


def find_raw_rows(lakehouse: Lakehouse) -> dict[str, str]:
    """What the next transform reads in the summaries of events: the rows of raw_events of which each date was built."""
    built_from: dict[dt.date, int] = {}
    for rows in lakehouse.find_notes(EVENTS, RAW_ROWS):  # newest first: what is known already stays
        built_from = rows | built_from
    return RAW_ROWS.write(built_from) if built_from else {}


# What the newest snapshot of a table, which never expires, has to tell of those that do.
KEPT: dict[Table, Callable[[Lakehouse], dict[str, str]]] = {
    RAW_EVENTS: find_position,
    EVENTS: find_raw_rows,
    USER_SEGMENTS: find_digests,
}


def carry_forward(lakehouse: Lakehouse, table: Table) -> None:
    """An empty commit that repeats what the snapshots before it tell of: Kafka's offsets, say, outlive them.

    It is made as a landing is made, by comparing and swapping. Raises ConcurrentCommitError where others were faster.
    """
    base, kept = lakehouse.ensure_snapshot(table), KEPT[table](lakehouse)
    nothing = lakehouse.spark.createDataFrame([], table.ddl)
    lakehouse.append_if_unchanged(table, nothing, base, kept)


def keep_forward(lakehouse: Lakehouse, table: Table) -> dt.datetime:
    """`carry_forward`, unless the newest snapshot tells it already; returns the time of the snapshot that does.

    Raises ConcurrentCommitError where other writers keep winning.
    """
    for attempt in retry_on_conflict():
        with attempt:
            if keeper := find_keeper(lakehouse, table):
                return keeper
            carry_forward(lakehouse, table)
            if keeper := find_keeper(lakehouse, table):
                return keeper
            raise ConcurrentCommitError(f"{table.name}: other runs kept committing")
    raise AssertionError("the last attempt raises")


def find_keeper(lakehouse: Lakehouse, table: Table) -> dt.datetime | None:
    """The time of the newest snapshot, where it tells all that the next job has to know."""
    newest = next(lakehouse.list_history(table))
    noted = newest.summary.additional_properties if newest.summary else {}
    if any(noted.get(key) != value for key, value in KEPT[table](lakehouse).items()):
        return None
    return dt.datetime.fromtimestamp(newest.timestamp_ms / 1000, dt.UTC)


def expire_snapshots(lakehouse: Lakehouse, table: Table, older_than: dt.datetime) -> Row:
    """Expire the snapshots of before `older_than` but the newest, with the files that only they need.

    Raises ConcurrentCommitError where other writers kept winning.
    """
    if table in KEPT:
        lakehouse.ensure_snapshot(table)
        older_than = min(older_than, keep_forward(lakehouse, table))
    if table == USER_FEATURES:
        keep_outdated_segments(lakehouse)
    return call(lakehouse, "expire_snapshots", table, older_than=timestamp(older_than), retain_last="1")[0]


def maintain(lakehouse: Lakehouse, table: Table, now: dt.datetime) -> dict[str, object]:
    """All of it for one table; returns the report. Raises ConcurrentCommitError."""
    settings = lakehouse.settings.pipeline.maintenance
    branches = drop_dead_branches(lakehouse, table, now)
    compacted = compact(lakehouse, table)
    expired = expire_snapshots(lakehouse, table, now - settings.retention_days * DAY)
    orphans = call(lakehouse, "remove_orphan_files", table, older_than=timestamp(now - settings.orphan_age_days * DAY))
    return {
        "table": table.name,
        "branches_dropped": branches,
        "files_compacted": compacted.rewritten_data_files_count,
        "files_made": compacted.added_data_files_count,
        "data_files_expired": expired.deleted_data_files_count,
        "orphans_deleted": len(orphans),
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="maintain_tables.py", description="Compact small files, expire old snapshots, delete orphan files."
    )
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    return parser.parse_args(argv)


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with open_lakehouse("maintain_tables", config.load(), output_path=args.output_path) as lakehouse:
        for table in filter(lakehouse.exists, TABLES):
            print(json.dumps(maintain(lakehouse, table, dt.datetime.now(dt.UTC))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
