"""A table, or one date of it, back to what it held before.

Input: the retained snapshots of one table.
Output: one more snapshot of that table, in metadata only: its files are those of an earlier snapshot. Snapshots stay in
one line, so that a rollback can itself be rolled back, and a run that is under way notices it and starts over.
`pipeline_runs.remarks` of every date that has changed says so.

A run rebuilds a date from raw_events again when it is asked to, or when new records of the date land; a rollback alone
is no reason for it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from itertools import islice
from typing import Any

import config
from spark_jobs.failures import explain_failures
from spark_jobs.lakehouse import Lakehouse, first_date, losing_to_others
from spark_jobs.land_raw_events import OFFSETS_KEY, POSITION_KEYS
from spark_jobs.outdated_segments import describe_rollback
from spark_jobs.run_remarks import add_remark
from spark_jobs.tables import FORGOTTEN_USERS, RAW_EVENTS, TABLES, USER_SEGMENTS, Table

Files = dict[str, Any]
COMPACTION = "replace"  # Iceberg's name of a snapshot with other files and the same rows

HELP = """\
--date takes the date back to what it held before the last snapshot that changed it, be it a run that rebuilt the date
or a rollback: the same command a second time undoes the first. Further back goes --snapshot, alone for the whole table
or with --date for this date only.

what depends on the table and is NOT taken back with it:
  raw_events           only by --snapshot: the later records land again from Kafka with the next landing
  events               sessions, user_daily_activity, user_features: roll the date back in these too
  sessions             nothing
  user_daily_activity  user_features of the date and the 29 after it: roll these back too
  user_features        user_segments, segment_profiles, segment_transitions: user_segmentation_ml.py --start-date DATE
  user_segments        segment_profiles, segment_transitions: roll these back too; the dates after it, which rest on it,
                       are scored again by the next run. Several dates: the first one first
transform_clickstream.py --start-date DATE builds the date anew from raw_events and so ends the rollback of what it
writes; a daily run does so for a date of which new records have landed, for no other.
"""


class RollbackError(Exception):
    """There is nothing to go back to; the message says why and what to do."""


def choose_snapshot(lakehouse: Lakehouse, table: Table, date: dt.date | None) -> int:
    """The snapshot before the last one that changed the rows of `date`. Raises RollbackError."""
    loaded = lakehouse.load(table)
    for snapshot in lakehouse.history(table):
        if snapshot.operation() != COMPACTION and date in changed_dates(loaded, snapshot):
            parent = snapshot.parentId()
            if parent is None or loaded.snapshot(parent) is None:
                raise RollbackError(
                    f"{table.name} {date}: nothing to go back to: what it held before snapshot {snapshot.snapshotId()} "
                    "is not retained (maintenance.retention_days); rebuild it with transform_clickstream.py"
                )
            return int(parent)
    dates = lakehouse.partition_dates(table)
    if date in dates:
        raise RollbackError(
            f"{table.name} {date}: nothing to go back to: no retained snapshot has changed it "
            "(maintenance.retention_days); rebuild it with transform_clickstream.py"
        )
    known = f"it has rows from {dates[0]} to {dates[-1]}" if dates else "it is empty"
    raise RollbackError(f"{table.name} has no rows on {date}: {known}; choose one of its dates")


def changed_dates(loaded: Any, snapshot: Any) -> set[dt.date]:
    """The dates of which a snapshot added or removed files."""
    io = loaded.io()
    both = (snapshot.addedDataFiles(io), snapshot.removedDataFiles(io))
    return {first_date(file.partition()) for files in both for file in files.iterator()}


def list_files(lakehouse: Lakehouse, table: Table, date: dt.date | None, snapshot: int) -> Files:
    """Iceberg's DataFile, with its column statistics, of each file of `date`, or of the table, by location."""
    scan = lakehouse.load(table).newScan().useSnapshot(snapshot).includeColumnStats()
    if date:
        scan = scan.filter(lakehouse.iceberg.expressions.Expressions.equal(table.partition_column, str(date)))
    files = (task.file() for task in scan.planFiles().iterator())
    return {str(file.location()): file for file in files}


def count_rows(files: Files) -> int:
    return sum(file.recordCount() for file in files.values())


def find_position(lakehouse: Lakehouse, snapshot: int, rows: int) -> dict[str, str]:
    """Where landing goes on when raw_events holds the `rows` that it held in `snapshot`. Raises RollbackError."""
    found = {key: next(lakehouse.summaries(RAW_EVENTS, key, snapshot), None) for key in POSITION_KEYS}
    if rows and not found[OFFSETS_KEY]:
        raise RollbackError(
            f"raw_events: no retained snapshot tells where landing stood at snapshot {snapshot}; choose a later one"
        )
    return {key: value or "{}" for key, value in found.items()}


def find_snapshot(lakehouse: Lakehouse, table: Table, snapshot: int) -> int:
    """`snapshot`, when the table has it. Raises RollbackError."""
    if lakehouse.load(table).snapshot(snapshot) is None:
        newest = islice(lakehouse.history(table), 10)
        times = {s.snapshotId(): dt.datetime.fromtimestamp(s.timestampMillis() // 1000, dt.UTC) for s in newest}
        retained = ", ".join(f"{known} ({time:%Y-%m-%d %H:%M:%S})" for known, time in times.items())
        raise RollbackError(f"{table.name} has no snapshot {snapshot}; its newest are {retained or 'none'}")
    return snapshot


def exchange_files(
    lakehouse: Lakehouse, table: Table, base: int, now: Files, then: Files, summary: dict[str, str]
) -> None:
    """Commit `then` in the place of `now`, files of snapshot `base`.

    Raises RollbackError where one of them is gone, ConcurrentCommitError where somebody else has committed since.
    """
    loaded = lakehouse.load(table)
    added, removed = then.keys() - now.keys(), now.keys() - then.keys()
    for location in added:
        if not loaded.io().newInputFile(location).exists():
            raise RollbackError(
                f"{table.name}: the file {location} is gone; choose a later snapshot, or rebuild the date with "
                "transform_clickstream.py"
            )
    overwrite = loaded.newOverwrite()
    for location in removed:
        overwrite.deleteFile(now[location])
    for location in added:
        overwrite.addFile(then[location])
    for key, value in summary.items():
        overwrite.set(key, value)
    overwrite.validateFromSnapshot(base)
    overwrite.conflictDetectionFilter(lakehouse.iceberg.expressions.Expressions.alwaysTrue())
    with losing_to_others(f"{lakehouse.identifier(table)} was changed by another run meanwhile"):
        overwrite.validateNoConflictingData().validateNoConflictingDeletes().commit()


def roll_back(lakehouse: Lakehouse, table: Table, date: dt.date | None, snapshot: int | None) -> dict[str, object]:
    """Give `date` of the table, or all of it, the files that it had in `snapshot`; returns the report.

    Without `snapshot` it is the one before the last change of `date`. Raises RollbackError, ConcurrentCommitError.
    """
    if table == RAW_EVENTS and date:
        raise RollbackError(
            "raw_events cannot go back by date: its rows and the position in Kafka are one; give --snapshot alone, and "
            "landing lands the later records again"
        )
    if table == FORGOTTEN_USERS:
        raise RollbackError(
            "forgotten_users cannot go back: users who were forgotten would come back with the next run"
        )
    newest = lakehouse.load(table).currentSnapshot()
    if newest is None:
        raise RollbackError(f"{table.name} is empty and always was: nothing to go back to")
    base = newest.snapshotId()
    target = find_snapshot(lakehouse, table, snapshot) if snapshot else choose_snapshot(lakehouse, table, date)
    now, then = (list_files(lakehouse, table, date, at) for at in (base, target))
    if now.keys() == then.keys():
        raise RollbackError(f"{table.name}: nothing to do: it already holds the files of snapshot {target}")
    if date and not then:
        raise RollbackError(f"{table.name} {date}: nothing to go back to: it had no rows in snapshot {target}")
    moved = [(now | then)[location] for location in now.keys() ^ then.keys()]
    dates = {first_date(file.partition()) for file in moved} if table.partition else set()
    summary = lakehouse.job_summary(rolled_back_to=target)
    if table == RAW_EVENTS:
        summary |= find_position(lakehouse, target, count_rows(then))
    if table == USER_SEGMENTS:
        summary |= describe_rollback(lakehouse, dates, target, is_whole_table=date is None)
    exchange_files(lakehouse, table, base, now, then, summary)
    committed = next(s.snapshotId() for s in lakehouse.history(table) if s.summary().get("rolled-back-to"))
    remark = f"rollback: {table.name} went back to snapshot {target} with snapshot {committed}"
    return {
        "table": table.name,
        "dates": sorted(map(str, dates)),
        "rows_before": count_rows(now),
        "rows_after": count_rows(then),
        "back_to": target,
        "snapshot": committed,
        "remarked_in_pipeline_runs": [str(day) for day in add_remark(lakehouse, dates, remark)],
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rollback_table.py",
        description="Take a table, or one date of it, back to what it held before.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tables = [table.name for table in TABLES]
    parser.add_argument("--table", required=True, choices=tables, metavar="TABLE", help=f"one of {', '.join(tables)}")
    parser.add_argument("--date", type=dt.date.fromisoformat, help="partition to take back, YYYY-MM-DD")
    parser.add_argument("--snapshot", type=int, help="snapshot to go back to; see the table's history: <table>.history")
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    args = parser.parse_args(argv)
    args.table = next(table for table in TABLES if table.name == args.table)
    if not args.date and not args.snapshot:
        parser.error("say what to go back to: --date, --snapshot, or both")
    if args.date and not args.table.partition:
        parser.error(f"{args.table.name} has no dates; give --snapshot alone")
    return args


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with Lakehouse("rollback_table", config.load(), output_path=args.output_path) as lakehouse:
        lakehouse.create_tables()
        try:
            print(json.dumps(roll_back(lakehouse, args.table, args.date, args.snapshot)))
        except RollbackError as error:
            print(f"rollback_table: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
