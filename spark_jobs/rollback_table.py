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
from dataclasses import dataclass
from itertools import islice

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table.snapshots import Operation

import config
from spark_jobs.errors import ConcurrentCommitError, JobError
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.files import Files, find_changed_dates, in_dates, list_files, partition_date, replace_files
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.notes import KAFKA_END_OFFSETS, POSITION, ROLLED_BACK_TO
from spark_jobs.lake.tables import FORGOTTEN_USERS, RAW_EVENTS, TABLES, USER_SEGMENTS, Table
from spark_jobs.outdated_segments import describe_rollback
from spark_jobs.run_remarks import add_remark

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


class RollbackError(JobError):
    """There is nothing to go back to; the message says why and what to do."""


@dataclass(frozen=True)
class Exchange:
    """The files of a table, or of one date of it: `now` in snapshot `base`, `then` in snapshot `target`."""

    base: int
    target: int
    now: Files
    then: Files

    @property
    def moved(self) -> Files:
        """The files that are in one of them only."""
        return {location: file for location, file in (self.now | self.then).items() if not self.is_kept(location)}

    def is_kept(self, location: str) -> bool:
        return location in self.now and location in self.then


def choose_snapshot(lakehouse: Lakehouse, table: Table, date: dt.date) -> int:
    """The snapshot before the last one that changed the rows of `date`. Raises RollbackError."""
    loaded = lakehouse.load(table)
    for snapshot in lakehouse.list_history(table):
        # A compaction has other files and the same rows.
        is_compaction = snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE
        if not is_compaction and date in find_changed_dates(loaded, snapshot):
            parent = snapshot.parent_snapshot_id
            if parent is None or loaded.snapshot_by_id(parent) is None:
                raise RollbackError(
                    f"{table.name} {date}: nothing to go back to: what it held before snapshot {snapshot.snapshot_id} "
                    "is not retained (maintenance.retention_days); rebuild it with transform_clickstream.py"
                )
            return parent
    dates = lakehouse.main.list_dates(table)
    if date in dates:
        raise RollbackError(
            f"{table.name} {date}: nothing to go back to: no retained snapshot has changed it "
            "(maintenance.retention_days); rebuild it with transform_clickstream.py"
        )
    existing = f"it has rows from {dates[0]} to {dates[-1]}" if dates else "it is empty"
    raise RollbackError(f"{table.name} has no rows on {date}: {existing}; choose one of its dates")


def list_date_files(lakehouse: Lakehouse, table: Table, date: dt.date | None, snapshot: int) -> Files:
    """The files of `date`, or of the table, in a snapshot."""
    return list_files(lakehouse.load(table), snapshot, in_dates(table, [date]) if date else None)


def count_rows(files: Files) -> int:
    return sum(file.record_count for file in files.values())


def find_position(lakehouse: Lakehouse, snapshot: int, rows: int) -> dict[str, str]:
    """Where landing goes on when raw_events holds the `rows` that it held in `snapshot`. Raises RollbackError."""
    position = {note: next(lakehouse.find_notes(RAW_EVENTS, note, snapshot), None) for note in POSITION}
    if rows and not position[KAFKA_END_OFFSETS]:
        raise RollbackError(
            f"raw_events: no retained snapshot tells where landing stood at snapshot {snapshot}; choose a later one"
        )
    return {key: text for note, value in position.items() for key, text in note.write(value or {}).items()}


def find_snapshot(lakehouse: Lakehouse, table: Table, snapshot: int) -> int:
    """`snapshot`, when the table has it. Raises RollbackError."""
    if lakehouse.load(table).snapshot_by_id(snapshot) is None:
        newest = islice(lakehouse.list_history(table), 10)
        times = {s.snapshot_id: dt.datetime.fromtimestamp(s.timestamp_ms // 1000, dt.UTC) for s in newest}
        retained = ", ".join(f"{one} ({time:%Y-%m-%d %H:%M:%S})" for one, time in times.items())
        raise RollbackError(f"{table.name} has no snapshot {snapshot}; its newest are {retained or 'none'}")
    return snapshot


def plan_exchange(lakehouse: Lakehouse, table: Table, date: dt.date | None, snapshot: int | None) -> Exchange:
    """Which files go and which come back. Raises RollbackError where that would be nothing."""
    if table == RAW_EVENTS and date:
        raise RollbackError(
            "raw_events cannot go back by date: its rows and the position in Kafka are one; give --snapshot alone, and "
            "landing lands the later records again"
        )
    if table == FORGOTTEN_USERS:
        raise RollbackError(
            "forgotten_users cannot go back: users who were forgotten would come back with the next run"
        )
    newest = lakehouse.load(table).current_snapshot()
    if newest is None:
        raise RollbackError(f"{table.name} is empty and always was: nothing to go back to")
    if snapshot:
        target = find_snapshot(lakehouse, table, snapshot)
    elif date:
        target = choose_snapshot(lakehouse, table, date)
    else:
        raise RollbackError(f"{table.name}: say what to go back to: --date, --snapshot, or both")
    now, then = (list_date_files(lakehouse, table, date, at) for at in (newest.snapshot_id, target))
    if now.keys() == then.keys():
        raise RollbackError(f"{table.name}: nothing to do: it already holds the files of snapshot {target}")
    if date and not then:
        raise RollbackError(f"{table.name} {date}: nothing to go back to: it had no rows in snapshot {target}")
    return Exchange(newest.snapshot_id, target, now, then)


def exchange_files(lakehouse: Lakehouse, table: Table, exchange: Exchange, summary: dict[str, str]) -> int:
    """Commit the files of then in the place of those of now; returns the new snapshot's id.

    Raises RollbackError where one of them is gone, ConcurrentCommitError where somebody else has committed since.
    """
    loaded = lakehouse.load(table)
    returning = {location: file for location, file in exchange.then.items() if location not in exchange.now}
    for location in returning:
        if not loaded.io.new_input(location).exists():
            raise RollbackError(
                f"{table.name}: the file {location} is gone; choose a later snapshot, or rebuild the date with "
                "transform_clickstream.py"
            )
    conflict = f"{table.name} was changed by another run meanwhile"
    head = loaded.current_snapshot()
    if head is None or head.snapshot_id != exchange.base:
        raise ConcurrentCommitError(conflict)
    return replace_files(
        loaded,
        removed=[file for location, file in exchange.now.items() if location not in exchange.then],
        added=returning.values(),
        rests_on=AlwaysTrue(),  # whatever others commit meanwhile is a conflict
        summary=summary,
        conflict=conflict,
    )


def roll_back(lakehouse: Lakehouse, table: Table, date: dt.date | None, snapshot: int | None) -> dict[str, object]:
    """Give `date` of the table, or all of it, the files that it had in `snapshot`; returns the report.

    Without `snapshot` it is the one before the last change of `date`. Raises RollbackError, ConcurrentCommitError.
    """
    exchange = plan_exchange(lakehouse, table, date, snapshot)
    dates = {partition_date(file) for file in exchange.moved.values()} if table.partition else set[dt.date]()
    summary = lakehouse.describe_job() | ROLLED_BACK_TO.write(exchange.target)
    if table == RAW_EVENTS:
        summary |= find_position(lakehouse, exchange.target, count_rows(exchange.then))
    if table == USER_SEGMENTS:
        summary |= describe_rollback(lakehouse, dates, exchange.target, is_whole_table=date is None)
    committed = exchange_files(lakehouse, table, exchange, summary)
    remark = f"rollback: {table.name} went back to snapshot {exchange.target} with snapshot {committed}"
    return {
        "table": table.name,
        "dates": sorted(map(str, dates)),
        "rows_before": count_rows(exchange.now),
        "rows_after": count_rows(exchange.then),
        "back_to": exchange.target,
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
    with open_lakehouse("rollback_table", config.load(), output_path=args.output_path) as lakehouse:
        print(json.dumps(roll_back(lakehouse, args.table, args.date, args.snapshot)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
