"""raw_events -> events, sessions, user_daily_activity, user_features.

Input: the valid rows of raw_events of one or more dates.
Output: `events` (one row per event_id), `sessions` (one row per session), `user_daily_activity` (one row per user and
date) and `user_features` (one row per user and snapshot date), each partitioned by date; the partitions of the dates
are replaced, one commit for each table.

A date is rebuilt from raw_events and from the sessions that the date before left open. Whatever else rests on it and
does not fit it any more is rebuilt with it: the next date when it goes on with other sessions, a date that holds a copy
of one of its events, the feature snapshots whose windows contain it. What fits is judged by the tables themselves, not
by what this run did: the tables depend on raw_events only, and not on order, number, or interruptions of the runs.

All is written to a draft, audited, and then published, in the order in which it cannot be half done: `events` last,
because by them a later run sees what an interrupted one has left to do.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import config
from spark_jobs.deduplication import PLACE, count_first_records, drop_later_copies, find_copies, mark_first
from spark_jobs.errors import AuditError, ConcurrentCommitError
from spark_jobs.feature_windows import build_features, summarise_days, summarise_pieces
from spark_jobs.forgotten_users import Tombstones, drop_forgotten, raise_if_changed, read_tombstones
from spark_jobs.lake.audit import find_faults
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.files import between_dates, list_files, partition_date
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.notes import FORCED, RAW_ROWS, REBUILT_DATES, REBUILT_SNAPSHOTS, RUN_DATE
from spark_jobs.lake.retry import retry_on_conflict
from spark_jobs.lake.session import persisted
from spark_jobs.lake.tables import (
    DAILY_SUMS,
    EVENTS,
    LONGEST_WINDOW_DAYS,
    RAW_EVENTS,
    SESSIONS,
    USER_DAILY_ACTIVITY,
    USER_FEATURES,
)
from spark_jobs.lake.views import View
from spark_jobs.sessionization import assign_sessions, find_open_sessions, summarise_sessions

DAY = dt.timedelta(days=1)
# From what is built to what it is built from: the order in which the tables are published.
BUILT = (USER_FEATURES, USER_DAILY_ACTIVITY, SESSIONS, EVENTS)
MAX_ATTEMPTS = 5
DATES_PER_BATCH = 100  # a plan names each of its dates


@dataclass(frozen=True)
class Report:
    """What a transform has rebuilt, and which faults it published because it was forced to."""

    rebuilt_dates: list[dt.date]
    rebuilt_snapshots: list[dt.date]
    forced: list[str]

    def to_json(self) -> str:
        """As the job prints it."""
        return json.dumps(
            {
                "rebuilt_dates": [str(day) for day in self.rebuilt_dates],
                "rebuilt_snapshots": [str(day) for day in self.rebuilt_snapshots],
                "forced": self.forced,
            }
        )


def read_valid_records(view: View, tombstones: Tombstones, first: dt.date, last: dt.date) -> DataFrame:
    """The typed event and its place in Kafka, for each valid record of the dates whose user nobody has forgotten."""
    raw = view.read_dates(RAW_EVENTS, first, last).where(F.col("error_type").isNull())
    raw = raw.transform(drop_forgotten, tombstones, "event.user_id")
    return raw.select(*PLACE, "event.*", "event_date")


def read_records_near(draft: Draft, tombstones: Tombstones, dates: Collection[dt.date]) -> DataFrame:
    """`read_valid_records` of `dates`, which may lie far apart, and of the dates around each that may hold copies."""
    lateness = draft.lakehouse.settings.pipeline.transform.allowed_lateness_days
    near = sorted({day + n * DAY for day in dates for n in range(-lateness, lateness + 1)})
    return read_valid_records(draft, tombstones, near[0], near[-1]).where(F.col("event_date").isin(near))


def read_open_sessions(view: View, date: dt.date) -> DataFrame:
    """The sessions that the day before `date` leaves open at its end."""
    day_before = view.read_dates(EVENTS, date - DAY, date - DAY)
    gap_minutes = view.lakehouse.settings.pipeline.transform.session_gap_minutes
    return find_open_sessions(day_before, midnight(date), gap_minutes)


def midnight(date: dt.date) -> dt.datetime:
    """The beginning of `date`."""
    return dt.datetime.combine(date, dt.time(), tzinfo=dt.UTC)


def find_late_dates(lakehouse: Lakehouse, run_dates: list[dt.date]) -> list[dt.date]:
    """The dates up to `allowed_lateness_days` before a run date for which raw_events holds other rows than `events` was
    built from, or was never built from."""
    lateness = lakehouse.settings.pipeline.transform.allowed_lateness_days
    in_reach = {day for run in run_dates for day in (run - n * DAY for n in range(1, lateness + 1))}
    return find_unbuilt(lakehouse, in_reach.difference(run_dates))


def find_unbuilt(lakehouse: Lakehouse, dates: Collection[dt.date]) -> list[dt.date]:
    """Those of `dates` for which raw_events holds other rows than `events` was built from, or was never built from."""
    raw = lakehouse.main.count_rows(RAW_EVENTS)
    waiting = {day: raw[day] for day in dates if day in raw}
    unbuilt: list[dt.date] = []
    for built_from in lakehouse.find_notes(EVENTS, RAW_ROWS):
        if not waiting:
            break
        known = waiting.keys() & built_from.keys()
        unbuilt += [day for day in known if waiting[day] != built_from[day]]
        waiting = {day: rows for day, rows in waiting.items() if day not in built_from}
    return sorted([*unbuilt, *waiting])


def rebuild_events(draft: Draft, tombstones: Tombstones, dates: list[dt.date]) -> list[dt.date]:
    """raw_events -> events of consecutive dates; returns the built dates that a copy of one of their events has made
    stale."""
    transform = draft.lakehouse.settings.pipeline.transform
    first, last, lateness = dates[0], dates[-1], transform.allowed_lateness_days
    with persisted(find_copies(read_records_near(draft, tombstones, dates), first, last, lateness)) as copies:
        events = (
            read_valid_records(draft, tombstones, first, last)
            .transform(drop_later_copies, copies)
            .transform(assign_sessions, read_open_sessions(draft, first), transform.session_gap_minutes)
        )
        draft.replace_dates(EVENTS, events, dates)
        in_reach = {day for n in range(1, lateness + 1) for day in (first - n * DAY, last + n * DAY)}
        neighbours = sorted(in_reach & draft.count_rows(EVENTS).keys())
        if not neighbours:
            return []
        elsewhere = copies.where(F.col("event_date").isin(neighbours)).select("event_date").distinct().collect()
        held = sorted(row.event_date for row in elsewhere)
        return find_stale_dates(draft, tombstones, copies.select("event_id").distinct(), held) if held else []


def find_stale_dates(draft: Draft, tombstones: Tombstones, event_ids: DataFrame, dates: list[dt.date]) -> list[dt.date]:
    """Those of `dates` whose events hold one of `event_ids` that they should not hold, or hold one too few."""
    lateness = draft.lakehouse.settings.pipeline.transform.allowed_lateness_days
    first, last = dates[0], dates[-1]
    ids = F.broadcast(event_ids)
    nearby = read_records_near(draft, tombstones, dates)
    copies = nearby.select(*PLACE, "event_id", "event_date").join(ids, "event_id", "left_semi")
    on_dates = F.col("event_date").isin(dates)
    wanted = mark_first(copies, lateness).where(F.col("is_first") & on_dates).select("event_date", "event_id")
    events = draft.read_dates(EVENTS, first, last).where(on_dates)
    held = events.join(ids, "event_id", "left_semi").select("event_date", "event_id")
    differing = wanted.exceptAll(held).unionAll(held.exceptAll(wanted)).select("event_date").distinct()
    return sorted(row.event_date for row in differing.collect())


def continues_sessions(view: View, date: dt.date) -> bool:
    """True when the events of `date` go on with the sessions that the day before has left open, and with no others."""
    gap = dt.timedelta(minutes=view.lakehouse.settings.pipeline.transform.session_gap_minutes)
    # Only the first event of a user, and only soon after midnight, can follow an event of the day before.
    early = view.read_dates(EVENTS, date, date).where(F.col("event_time") < F.lit(midnight(date) + gap))
    in_order = F.struct("event_time", "event_id")
    first = early.groupBy("user_id").agg(
        F.min("event_time").alias("first_time"),
        F.min_by("session_start", in_order).alias("stored_start"),
        F.min_by("milliseconds_since_previous", in_order).alias("stored_silence"),
    )
    both = first.join(read_open_sessions(view, date), "user_id", "left")
    silence = F.unix_millis("first_time") - F.unix_millis("event_time")
    is_continued = F.coalesce(silence < gap // dt.timedelta(milliseconds=1), F.lit(False))
    start = F.when(is_continued, F.col("session_start")).otherwise(F.col("first_time"))
    fits = F.col("stored_start").eqNullSafe(start) & F.col("stored_silence").eqNullSafe(F.when(is_continued, silence))
    return both.where(~fits).isEmpty()


def rebuild_sessions(draft: Draft, pieces: DataFrame, dates: list[dt.date]) -> None:
    """Replace the sessions that began on `dates`, which are consecutive, and of those that began before them the ones
    that reach into them.

    `pieces` are the sessions summarised over the events of each date alone: they are the whole session unless it
    crosses midnight. The sessions that cross are summarised again over all their dates.
    """
    columns, built = SESSIONS.column_names, draft.count_rows(EVENTS)
    first, last = dates[0], dates[-1]
    earliest, reached = find_first_session_date(draft, first, last), find_last_session_date(draft, last, built)
    if len(dates) == 1 and first - DAY not in built and (earliest, reached) == (first - DAY, last):
        draft.replace_dates(SESSIONS, pieces.select(*columns), [first - DAY, first])
        return
    stored = draft.read_dates(SESSIONS, earliest, first - DAY)
    later_events = draft.read_dates(EVENTS, last + DAY, reached)
    crossing = (
        pieces.where(F.col("session_date") < F.col("event_date"))
        .select("session_key")
        .union(stored.where(F.col("session_end") >= F.lit(midnight(first))).select("session_key"))
        .union(later_events.where(F.col("session_start") < F.lit(midnight(last + DAY))).select("session_key"))
        .distinct()
    )
    whole = draft.read_dates(EVENTS, earliest, reached).join(F.broadcast(crossing), "session_key", "left_semi")
    sessions = (
        stored.select(*columns)
        .unionByName(pieces.select(*columns))
        .join(F.broadcast(crossing), "session_key", "left_anti")
        .unionByName(summarise_sessions(whole).select(*columns))
    )
    draft.replace_dates(SESSIONS, sessions, date_range(earliest, last))


def find_first_session_date(view: View, first: dt.date, last: dt.date) -> dt.date:
    """The earliest date on which a session began that reaches into the dates from `first` to `last`, or that did so
    when it was stored, at most as long ago as a window is long. At least the day before `first`.
    """
    starts = view.find_bounds(EVENTS, "session_start", first, last)
    ends = view.find_bounds(SESSIONS, "session_end", first - LONGEST_WINDOW_DAYS * DAY, first - DAY)
    reaching: list[dt.date] = [low.date() for low, _ in starts.values()]
    reaching += [day for day, (_, high) in ends.items() if high >= midnight(first)]
    return min([first - DAY, *reaching])


def find_last_session_date(view: View, date: dt.date, built: Collection[dt.date]) -> dt.date:
    """The last date with events of a session that began on `date` or before."""
    last = date
    while (following := last + DAY) in built:
        least, _ = view.find_bounds(EVENTS, "session_start", following, following)[following]
        if least >= midnight(date + DAY):
            break
        last = following
    return last


def rebuild_dates(draft: Draft, tombstones: Tombstones, dates: set[dt.date]) -> list[dt.date]:
    """Rebuild events, sessions and daily activity of `dates`, and of the dates that do not fit them any more.

    Dates that follow each other are one plan, as far as `transform.rows_per_draft` allows. Returns those whose daily
    activity has changed.
    """
    limit, raw_rows = draft.lakehouse.settings.pipeline.transform.rows_per_draft, draft.count_rows(RAW_EVENTS)
    pending = set(dates)
    while pending:
        some = batch_by_rows(take_consecutive_dates(pending), raw_rows, limit)[0]
        pending -= set(some)
        pending |= set(rebuild_events(draft, tombstones, some))
        with persisted(summarise_pieces(draft.read_dates(EVENTS, some[0], some[-1]))) as pieces:
            rebuild_sessions(draft, pieces, some)
            draft.replace_dates(USER_DAILY_ACTIVITY, summarise_days(pieces), some)
        following = some[-1] + DAY
        is_judged = following not in pending and following in draft.count_rows(EVENTS)
        if is_judged and not continues_sessions(draft, following):
            pending.add(following)
    return find_changed_days(draft)


def find_changed_days(draft: Draft) -> list[dt.date]:
    """The drafted dates with another daily activity than before, of those that a snapshot of user_features sees."""
    snapshots = draft.count_rows(USER_FEATURES)
    dates = [
        day
        for day in draft.dates(USER_DAILY_ACTIVITY)
        if any(day + n * DAY in snapshots for n in range(LONGEST_WINDOW_DAYS))
    ]
    if not dates:
        return []
    columns, base = USER_DAILY_ACTIVITY.column_names, draft.base
    with base.explain_expiry():
        before = base.digest_dates(USER_DAILY_ACTIVITY, dates, columns)
    after = draft.digest_dates(USER_DAILY_ACTIVITY, dates, columns)
    return [day for day in dates if before.get(day) != after.get(day)]


def find_dates_missing_columns(lakehouse: Lakehouse, first: dt.date, last: dt.date) -> list[dt.date]:
    """The dates of user_daily_activity that were written before it had all of its columns; reads metadata only."""
    loaded = lakehouse.load(USER_DAILY_ACTIVITY)
    head, in_range = loaded.current_snapshot(), between_dates(USER_DAILY_ACTIVITY, first, last)
    files = list_files(loaded, head.snapshot_id if head else None, in_range)
    needed = {loaded.schema().find_field(column.name).field_id for column in DAILY_SUMS}
    return sorted({partition_date(file) for file in files.values() if not needed <= set(file.value_counts or {})})


def rebuild_features(draft: Draft, snapshots: list[dt.date]) -> None:
    """user_daily_activity -> user_features of the given snapshot dates."""
    first = snapshots[0] - (LONGEST_WINDOW_DAYS - 1) * DAY
    outdated = set(find_dates_missing_columns(draft.lakehouse, first, snapshots[-1]))
    for dates in batch_dates(draft, outdated.difference(draft.dates(USER_DAILY_ACTIVITY))):
        for date in dates:
            print(f"user_daily_activity {date} was written without today's columns; it is made again", file=sys.stderr)
        events = draft.read_dates(EVENTS, dates[0], dates[-1]).where(F.col("event_date").isin(dates))
        draft.replace_dates(USER_DAILY_ACTIVITY, summarise_days(summarise_pieces(events)), dates)
    daily = draft.read_dates(USER_DAILY_ACTIVITY, first, snapshots[-1])
    draft.replace_dates(USER_FEATURES, build_features(daily, snapshots), snapshots)


def find_differences(draft: Draft, tombstones: Tombstones) -> list[str]:
    """A sentence for each drafted date whose tables do not agree with each other or with raw_events."""
    dates = draft.dates(EVENTS)
    lateness = draft.lakehouse.settings.pipeline.transform.allowed_lateness_days
    nearby = read_records_near(draft, tombstones, dates)
    clean = count_first_records(nearby, dates, lateness)
    events, sessions = draft.count_rows(EVENTS), draft.count_rows(SESSIONS)
    on_dates = draft.read_dates(USER_DAILY_ACTIVITY, dates[0], dates[-1]).where(F.col("event_date").isin(dates))
    sums = on_dates.groupBy("event_date").agg(F.sum("events").alias("events"), F.sum("sessions").alias("sessions"))
    daily = {row.event_date: (row.events, row.sessions) for row in sums.collect()}
    faults = []
    for day in dates:
        rows = events.get(day, 0)
        begun = sessions.get(day, 0)
        if clean[day] != rows:
            faults.append(f"events {day}: {rows:,} rows, but raw_events has {clean[day]:,} different valid events")
        if daily.get(day, (0, 0)) != (rows, begun):
            faults.append(
                f"user_daily_activity {day}: it counts {daily.get(day, (0, 0))} events and sessions, "
                f"where events and sessions have ({rows}, {begun}) rows"
            )
    return faults


def transform(
    lakehouse: Lakehouse, run_dates: list[dt.date], touched_dates: list[dt.date], *, is_forced: bool = False
) -> Report:
    """Rebuild the run's dates, the touched ones, those that late events have changed, and what depends on them.

    Snapshots of user_features are made for the run's dates; a date that no run has processed gets none. Without run
    dates only the touched ones are rebuilt, and what depends on them. Done again where records of these dates have
    landed meanwhile; where they keep landing, the last ones are left to the next run.
    Raises AuditError, with nothing published of what it finds fault with, and ConcurrentCommitError where other runs
    kept winning.
    """
    done: list[Report] = []

    def build() -> None:
        earlier = done[-1] if done else Report(touched_dates, [], [])
        report = transform_once(lakehouse, run_dates, earlier.rebuilt_dates, earlier.forced, is_forced=is_forced)
        done.append(report)
        if landed := find_unbuilt(lakehouse, report.rebuilt_dates):
            raise ConcurrentCommitError(f"records of {', '.join(map(str, landed))} have landed meanwhile")

    try:
        for attempt in retry_on_conflict(MAX_ATTEMPTS):
            with attempt:
                build()
    except ConcurrentCommitError:
        if not done:
            raise
        print("what has landed meanwhile is left to the next run", file=sys.stderr)
    return done[-1]


def transform_once(
    lakehouse: Lakehouse,
    run_dates: list[dt.date],
    touched_dates: list[dt.date],
    forced: list[str],
    *,
    is_forced: bool,
) -> Report:
    """One attempt of `transform`, without what lands meanwhile; `forced` is what the attempts before have published.

    Raises AuditError, and ConcurrentCommitError where another run was faster: nothing is lost by it.
    """
    tombstones = read_tombstones(lakehouse)
    # The draft first: a run that has read newer records, and publishes after this, is found to be in conflict with it.
    with Draft(lakehouse, BUILT, pinned=lakehouse.pin(RAW_EVENTS)) as draft, draft.explain_expiry():
        snapshots = rebuild(draft, tombstones, run_dates, touched_dates)
        faults = find_faults(draft, lakehouse.settings.pipeline.audit) + find_differences(draft, tombstones)
        raise_if_changed(lakehouse, tombstones)
        if faults and not is_forced:
            raise AuditError("; ".join(faults))
        forced = [*forced, *(fault for fault in faults if fault not in forced)]
        report = Report(draft.dates(EVENTS), snapshots, forced)
        publish(draft, describe(draft, report, run_dates))
    return report


def rebuild(
    draft: Draft, tombstones: Tombstones, run_dates: list[dt.date], touched_dates: list[dt.date]
) -> list[dt.date]:
    """Draft all dates that a run has to do; returns the snapshots of user_features among them."""
    dates = {*run_dates, *touched_dates, *find_late_dates(draft.lakehouse, run_dates)}
    changed = rebuild_dates(draft, tombstones, dates)
    stale = {day + n * DAY for day in changed for n in range(LONGEST_WINDOW_DAYS)}
    snapshots = sorted({*run_dates, *(draft.count_rows(USER_FEATURES).keys() & stale)})
    if snapshots:
        rebuild_features(draft, snapshots)
    return snapshots


def describe(draft: Draft, report: Report, run_dates: list[dt.date]) -> dict[str, str]:
    """The notes of the run, which every table gets with its publication."""
    raw = draft.count_rows(RAW_EVENTS)
    return (
        draft.lakehouse.describe_job()
        | RUN_DATE.write(run_dates[-1] if run_dates else None)
        | REBUILT_DATES.write(report.rebuilt_dates)
        | REBUILT_SNAPSHOTS.write(report.rebuilt_snapshots)
        | RAW_ROWS.write({day: raw.get(day, 0) for day in report.rebuilt_dates})
        | FORCED.write(report.forced)
    )


def publish(draft: Draft, summary: dict[str, str]) -> None:
    """Publish every table of the draft. Raises ConcurrentCommitError where a date on which it rests was changed."""
    lateness = draft.lakehouse.settings.pipeline.transform.allowed_lateness_days
    built = [*draft.dates(EVENTS), *draft.dates(SESSIONS)]
    nearby = (min(built) - max(lateness, 1) * DAY, max(built) + max(lateness, 1) * DAY)
    snapshots = draft.dates(USER_FEATURES) or built
    # Back to the first date that a snapshot sees, and on to the last snapshot that sees a date.
    reach = (LONGEST_WINDOW_DAYS - 1) * DAY
    windows = (min(min(snapshots) - reach, nearby[0]), max(max(snapshots), max(built) + reach, nearby[1]))
    for table in BUILT:
        draft.publish(table, *(windows if table in (USER_FEATURES, USER_DAILY_ACTIVITY) else nearby), summary)


def date_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every date from `first` to `last`, both included."""
    return [first + n * DAY for n in range((last - first).days + 1)]


def take_consecutive_dates(dates: Collection[dt.date]) -> list[dt.date]:
    """The first of `dates` and those that follow it without a gap."""
    row = [min(dates)]
    while (following := row[-1] + DAY) in dates:
        row.append(following)
    return row


def batch_dates(view: View, dates: Collection[dt.date]) -> list[list[dt.date]]:
    """`dates`, ascending, in batches of at most `transform.rows_per_draft` rows of raw_events and of some dates."""
    if not dates:
        return []
    limit = view.lakehouse.settings.pipeline.transform.rows_per_draft
    return batch_by_rows(sorted(dates), view.count_rows(RAW_EVENTS), limit)


def batch_by_rows(dates: Iterable[dt.date], rows: Mapping[dt.date, int], limit: int) -> list[list[dt.date]]:
    """`dates` in batches of at most `limit` rows and DATES_PER_BATCH dates; one that has more rows stands alone."""
    batches, filled = list[list[dt.date]](), 0
    for date in dates:
        filled += rows.get(date, 0)
        if not batches or filled > limit or len(batches[-1]) == DATES_PER_BATCH:
            batches.append([])
            filled = rows.get(date, 0)
        batches[-1].append(date)
    return batches


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="transform_clickstream.py", description="Build events, sessions and features of a range of dates."
    )
    parser.add_argument("--start-date", required=True, type=dt.date.fromisoformat, help="first UTC date, YYYY-MM-DD")
    parser.add_argument("--end-date", type=dt.date.fromisoformat, help="last UTC date, included; default: --start-date")
    parser.add_argument(
        "--late-dates", default="", help="comma-separated earlier dates that late events have touched; rebuilt as well"
    )
    parser.add_argument(
        "--input-path", help="folder of Iceberg tables that holds raw_events, instead of the Glue catalog"
    )
    parser.add_argument("--output-path", help="folder of Iceberg tables to write, instead of the Glue catalog")
    parser.add_argument(
        "--force",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="publish also what the audit finds fault with",
    )
    args = parser.parse_args(argv)
    args.end_date = args.end_date or args.start_date
    if args.end_date < args.start_date:
        parser.error(f"--end-date {args.end_date} lies before --start-date {args.start_date}")
    args.late_dates = [dt.date.fromisoformat(day) for day in args.late_dates.split(",") if day.strip()]
    return args


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    run_dates = date_range(args.start_date, args.end_date)
    paths = {"input_path": args.input_path, "output_path": args.output_path, "inputs": (RAW_EVENTS,)}
    with open_lakehouse("transform_clickstream", config.load(), **paths) as lakehouse:
        touched = args.late_dates
        for dates in batch_dates(lakehouse.main, run_dates):
            print(transform(lakehouse, dates, touched, is_forced=args.force).to_json(), flush=True)
            touched = []
    return 0


if __name__ == "__main__":
    sys.exit(main())
