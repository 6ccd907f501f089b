"""raw_events -> events, sessions, user_daily_activity, user_features.

Input: the valid rows of raw_events of one or more dates.
Output: `events` (one row per event_id), `sessions` (one row per session), `user_daily_activity` (one row per user and
date) and `user_features` (one row per user and snapshot date), each partitioned by date; the partitions of the dates
are replaced, one commit for each table.

A date is rebuilt from raw_events and from the sessions that the date before left open. When rebuilding it changes what
it leaves open itself, the next date is rebuilt too, and so are the feature snapshots whose windows contain it: the
tables do not depend on the order in which dates were processed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.window import Window

import config
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.tables import (
    DAILY_SUMS,
    EVENTS,
    LONGEST_WINDOW_DAYS,
    RAW_EVENTS,
    SESSIONS,
    USER_DAILY_ACTIVITY,
    USER_FEATURES,
    WINDOWED_SUMS,
    WINDOWS_DAYS,
)

DAY = dt.timedelta(days=1)
COUNTED_TYPES = {
    "page_views": "page_view",
    "searches": "search",
    "clicks": "click",
    "views": "view",
    "carts": "cart",
    "removals": "remove_from_cart",
    "checkouts": "checkout",
    "purchases": "purchase",
}
PARTS_OF_DAY = {"night": (0, 5), "morning": (6, 11), "afternoon": (12, 17), "evening": (18, 23)}


def read_valid_records(lakehouse: Lakehouse, date: dt.date) -> DataFrame:
    """The typed event and its place in Kafka, for each valid record of one date."""
    raw = lakehouse.read_dates(RAW_EVENTS, date, date).where(F.col("error_type").isNull())
    return raw.select("partition", "offset", "event.*", "event_date")


def deduplicate_events(records: DataFrame) -> DataFrame:
    """One row per `event_id`: the record with the lowest (partition, offset); drops these two columns.

    Few ids repeat: they are found by hash in a narrow pass, only their records are sorted, and what is dropped is
    broadcast, so that no full record is shuffled.
    """
    ids = records.select("partition", "offset", "event_id", F.xxhash64("event_id").alias("id_hash"))
    repeated = ids.groupBy("id_hash").count().where(F.col("count") > 1).select("id_hash")
    first = Window.partitionBy("event_id").orderBy("partition", "offset")
    copies = ids.join(F.broadcast(repeated), "id_hash", "left_semi").withColumn("copy", F.row_number().over(first))
    later_copies = copies.where(F.col("copy") > 1).select("partition", "offset")
    return records.join(F.broadcast(later_copies), ["partition", "offset"], "left_anti").drop("partition", "offset")


def find_open_sessions(events: DataFrame, midnight: dt.datetime, gap_minutes: int) -> DataFrame:
    """One row per user whose last event before `midnight` is less than the gap away: user, its time, session start."""
    recent = events.where(F.col("event_time") > F.lit(midnight - dt.timedelta(minutes=gap_minutes)))
    return recent.groupBy("user_id").agg(
        F.max("event_time").alias("event_time"), F.max("session_start").alias("session_start")
    )


def assign_sessions(events: DataFrame, open_sessions: DataFrame, gap_minutes: int) -> DataFrame:
    """Adds `session_start`, `session_key` and `milliseconds_since_previous`.

    A session ends after `gap_minutes` without an event: an event exactly that much later starts the next one.
    An event within the gap of a session of `open_sessions` continues it.
    """
    carried = open_sessions.withColumn("is_carried", F.lit(True))
    rows = events.withColumn("is_carried", F.lit(False)).unionByName(carried, allowMissingColumns=True)
    in_time = Window.partitionBy("user_id").orderBy("event_time", F.col("is_carried").desc(), "event_id")
    silence = F.unix_millis("event_time") - F.unix_millis(F.lag("event_time").over(in_time))
    begins = F.coalesce(F.col("silence") >= gap_minutes * 60_000, F.lit(True))
    start = F.when(F.col("is_carried"), F.col("session_start")).when(begins, F.col("event_time"))
    return (
        rows.withColumn("silence", silence)
        .withColumn("session_start", F.last(start, ignorenulls=True).over(in_time))
        .where(~F.col("is_carried"))
        .withColumn("milliseconds_since_previous", F.when(~begins, F.col("silence")))
        .withColumn("session_key", F.concat_ws("-", "user_id", F.unix_millis("session_start").cast("string")))
        .drop("is_carried", "silence")
    )


def summarise_sessions(events: DataFrame) -> DataFrame:
    """One row per session over the given events: the columns of `sessions`, and what a day's activity needs besides."""
    viewed_product = F.when(F.col("event_type") == "view", F.col("product_id"))
    amount = F.col("price") * F.coalesce("quantity", F.lit(1))
    is_purchase = F.col("event_type") == "purchase"
    in_order = F.struct("event_time", "event_id")
    hour = F.floor(F.unix_seconds("event_time") % 86_400 / 3_600)
    return (
        events.groupBy("user_id", "session_key", "session_start")
        .agg(
            F.max("event_time").alias("session_end"),
            F.max(F.when(is_purchase, F.col("event_time"))).alias("last_purchase_time"),
            F.coalesce(F.sum("milliseconds_since_previous"), F.lit(0)).alias("session_milliseconds"),
            F.count("*").alias("events"),
            *[F.count_if(F.col("event_type") == kind).alias(name) for name, kind in COUNTED_TYPES.items()],
            F.coalesce(F.sum(F.when(is_purchase, amount)), F.lit(0)).cast("decimal(38,4)").alias("revenue"),
            F.size(F.collect_set(viewed_product)).cast("bigint").alias("products_viewed"),
            F.min_by("device.type", F.when(F.col("device.type").isNotNull(), in_order)).alias("device_type"),
            *[
                F.count_if(hour.between(first, last)).alias(f"{part}_events")
                for part, (first, last) in PARTS_OF_DAY.items()
            ],
            F.count_if(F.coalesce(F.col("device.type") == "mobile", F.lit(False))).alias("mobile_events"),
        )
        .withColumn("duration_seconds", _seconds_between(F.col("session_start"), F.col("session_end")))
        .withColumn("session_date", F.to_date("session_start"))
    )


def summarise_day(pieces: DataFrame, date: dt.date) -> DataFrame:
    """One row per user, in the columns of `user_daily_activity`, from the sessions summarised over the date."""
    has_cart, has_purchase = F.col("carts") > 0, F.col("purchases") > 0
    counted = {
        "sessions": F.count_if(F.col("session_date") == F.lit(date)),
        "cart_sessions": F.count_if(has_cart),
        "abandoned_cart_sessions": F.count_if(has_cart & ~has_purchase),
    }
    sums = [counted.get(c.name, F.sum(c.name)).cast(c.type).alias(c.name) for c in DAILY_SUMS]
    return (
        pieces.groupBy("user_id")
        .agg(
            *sums,
            F.max("session_end").alias("last_event_time"),
            F.max("last_purchase_time").alias("last_purchase_time"),
        )
        .withColumn("event_date", F.lit(date))
    )


def build_features(daily: DataFrame, snapshot_dates: list[dt.date]) -> DataFrame:
    """One row per user and snapshot date, in the columns of `user_features`.

    `daily` holds every date from 29 days before the first snapshot to the last one.
    """
    snapshot = F.explode(F.array([F.lit(day) for day in snapshot_dates])).alias("snapshot_date")
    rows = daily.select("*", snapshot).withColumn("age_days", F.date_diff("snapshot_date", "event_date"))
    rows = rows.where(F.col("age_days").between(0, LONGEST_WINDOW_DAYS - 1))
    windowed = [
        F.sum(F.when(F.col("age_days") < days, F.col(name)).otherwise(0)).alias(f"{name}_sum_{days}d")
        for days in WINDOWS_DAYS
        for name in WINDOWED_SUMS
    ]
    over_longest_window = [F.sum(c.name).alias(c.name) for c in DAILY_SUMS if c.name not in WINDOWED_SUMS]
    users = rows.groupBy("user_id", "snapshot_date").agg(
        F.max("last_event_time").alias("last_event_time"),
        F.max("last_purchase_time").alias("last_purchase_time"),
        F.count("*").alias("active_days_count_30d"),
        F.sum(F.when(F.weekday("event_date") >= 5, F.col("events")).otherwise(0)).alias("weekend_events"),
        *windowed,
        *over_longest_window,
    )
    end = F.date_add("snapshot_date", 1).cast("timestamp")
    derived = {
        "days_since_last_event": _seconds_between(F.col("last_event_time"), end) / 86_400,
        "days_since_last_purchase": _seconds_between(F.col("last_purchase_time"), end) / 86_400,
        "session_minutes_mean_30d": _ratio("session_milliseconds", "sessions_sum_30d") / 60_000,
        "events_per_session_mean_30d": _ratio("events_sum_30d", "sessions_sum_30d"),
        "order_value_mean_30d": _ratio("revenue_sum_30d", "purchases_sum_30d"),
        "search_rate_30d": _ratio("searches_sum_30d", "events_sum_30d"),
        "cart_rate_30d": _rate("carts_sum_30d", "views_sum_30d"),
        "checkout_rate_30d": _rate("checkouts_sum_30d", "sessions_sum_30d"),
        "purchase_rate_30d": _rate("purchases_sum_30d", "sessions_sum_30d"),
        "removal_rate_30d": _rate("removals_sum_30d", "carts_sum_30d"),
        "cart_abandonment_rate_30d": _ratio("abandoned_cart_sessions", "cart_sessions"),
        **{f"{part}_share_30d": _ratio(f"{part}_events", "events_sum_30d") for part in PARTS_OF_DAY},
        "weekend_share_30d": _ratio("weekend_events", "events_sum_30d"),
        "mobile_share_30d": _ratio("mobile_events", "events_sum_30d"),
    }
    return users.select(*[derived.get(c.name, F.col(c.name)).cast(c.type).alias(c.name) for c in USER_FEATURES.columns])


def _seconds_between(start: Column, end: Column) -> Column:
    return (F.unix_millis(end) - F.unix_millis(start)) / 1000


def _ratio(numerator: str, denominator: str) -> Column:
    """0 where there is nothing to divide by."""
    quotient = F.col(numerator).cast("double") / F.col(denominator)
    return F.when(F.col(denominator) > 0, quotient).otherwise(0.0)


def _rate(numerator: str, denominator: str) -> Column:
    """A ratio of two counts of which neither contains the other, cut at 1; 1 also where only the first is positive."""
    at_least_one = F.greatest(F.col(denominator), F.lit(1))
    return F.least(F.col(numerator).cast("double") / at_least_one, F.lit(1.0))


def read_open_sessions(lakehouse: Lakehouse, date: dt.date) -> DataFrame:
    """The sessions that the day before `date` leaves open at its end."""
    day_before = lakehouse.read_dates(EVENTS, date - DAY, date - DAY)
    midnight = dt.datetime.combine(date, dt.time(), tzinfo=dt.UTC)
    return find_open_sessions(day_before, midnight, lakehouse.settings.pipeline.transform.session_gap_minutes)


def read_open_sessions_digest(lakehouse: Lakehouse, date: dt.date) -> Row:
    """A fingerprint of the sessions open at the end of `date`, independent of row order."""
    digest = F.xxhash64("user_id", "event_time", "session_start").cast("decimal(38,0)")
    return read_open_sessions(lakehouse, date + DAY).agg(F.count("*"), F.sum(digest)).collect()[0]


def rebuild_events(lakehouse: Lakehouse, date: dt.date) -> None:
    """raw_events -> events of one date."""
    gap = lakehouse.settings.pipeline.transform.session_gap_minutes
    events = (
        read_valid_records(lakehouse, date)
        .transform(deduplicate_events)
        .transform(assign_sessions, read_open_sessions(lakehouse, date), gap)
    )
    lakehouse.replace_dates(EVENTS, events, [date])


def rebuild_sessions(lakehouse: Lakehouse, pieces: DataFrame, date: dt.date, event_dates: list[dt.date]) -> None:
    """Replace the sessions that began on `date`, and of those that began before it the ones that reach into it.

    `pieces` are the sessions summarised over the events of `date` alone: they are the whole session unless it crosses
    midnight. The sessions that cross are summarised again over all their dates. `event_dates` are those with events.
    """
    columns = SESSIONS.column_names
    earliest = min(pieces.agg(F.min("session_date")).collect()[0][0] or date, date - DAY)
    last = find_last_reached(lakehouse, date, event_dates)
    if date - DAY not in event_dates and last == date:
        lakehouse.replace_dates(SESSIONS, pieces.select(*columns), [earliest, date])
        return
    stored = lakehouse.read_dates(SESSIONS, earliest, date - DAY)
    later_events = lakehouse.read_dates(EVENTS, date + DAY, last)
    crossing = (
        pieces.where(F.col("session_date") < F.lit(date))
        .select("session_key")
        .union(stored.where(F.col("session_end") >= F.lit(date).cast("timestamp")).select("session_key"))
        .union(later_events.where(_began_by(date)).select("session_key"))
        .distinct()
    )
    whole = lakehouse.read_dates(EVENTS, earliest, last).join(F.broadcast(crossing), "session_key", "left_semi")
    sessions = (
        stored.select(*columns)
        .unionByName(pieces.select(*columns))
        .join(F.broadcast(crossing), "session_key", "left_anti")
        .unionByName(summarise_sessions(whole).select(*columns))
    )
    replaced = [earliest + n * DAY for n in range((date - earliest).days + 1)]
    lakehouse.replace_dates(SESSIONS, sessions, replaced)


def find_last_reached(lakehouse: Lakehouse, date: dt.date, event_dates: list[dt.date]) -> dt.date:
    """The last date with events of a session that began on `date` or before."""
    last = date
    while (
        last + DAY in event_dates
        and not lakehouse.read_dates(EVENTS, last + DAY, last + DAY).where(_began_by(date)).isEmpty()
    ):
        last += DAY
    return last


def _began_by(date: dt.date) -> Column:
    return F.col("session_start") < F.lit(date + DAY).cast("timestamp")


def rebuild_date(lakehouse: Lakehouse, date: dt.date) -> bool:
    """Rebuild events, sessions and daily activity of one date; true when the next date has to be rebuilt for it."""
    event_dates = lakehouse.partition_dates(EVENTS)
    has_next = date + DAY in event_dates
    before = read_open_sessions_digest(lakehouse, date) if has_next else None
    rebuild_events(lakehouse, date)
    pieces = summarise_sessions(lakehouse.read_dates(EVENTS, date, date)).persist()
    rebuild_sessions(lakehouse, pieces, date, event_dates)
    lakehouse.replace_dates(USER_DAILY_ACTIVITY, summarise_day(pieces, date), [date])
    pieces.unpersist()
    return has_next and read_open_sessions_digest(lakehouse, date) != before


def rebuild_features(lakehouse: Lakehouse, snapshots: list[dt.date], run_date: str | None) -> None:
    """user_daily_activity -> user_features of the given snapshot dates, in one commit."""
    first = snapshots[0] - (LONGEST_WINDOW_DAYS - 1) * DAY
    features = build_features(lakehouse.read_dates(USER_DAILY_ACTIVITY, first, snapshots[-1]), snapshots)
    summary = lakehouse.job_summary(run_date=run_date, rebuilt_snapshots=[str(day) for day in snapshots])
    lakehouse.replace_dates(USER_FEATURES, features, snapshots, summary)


def transform(lakehouse: Lakehouse, run_dates: list[dt.date], late_dates: list[dt.date]) -> dict[str, list[str]]:
    """Rebuild the run's dates and the dates that late events touched, and everything that depends on them.

    Snapshots of user_features are made for the run's dates; a touched date that no run has processed gets none.
    """
    pending, rebuilt = sorted({*run_dates, *late_dates}), []
    while pending:
        date = pending.pop(0)
        rebuilt.append(date)
        if rebuild_date(lakehouse, date) and date + DAY not in pending:
            pending.insert(0, date + DAY)
    reach = (LONGEST_WINDOW_DAYS - 1) * DAY
    existing = lakehouse.partition_dates(USER_FEATURES)
    affected = {day for day in existing if any(date <= day <= date + reach for date in rebuilt)}
    snapshots = sorted({*run_dates, *affected})
    rebuild_features(lakehouse, snapshots, str(run_dates[-1]))
    return {"rebuilt_dates": [str(day) for day in rebuilt], "rebuilt_snapshots": [str(day) for day in snapshots]}


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
    args = parser.parse_args(argv)
    args.end_date = args.end_date or args.start_date
    if args.end_date < args.start_date:
        parser.error(f"--end-date {args.end_date} lies before --start-date {args.start_date}")
    args.late_dates = [dt.date.fromisoformat(day) for day in args.late_dates.split(",") if day.strip()]
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    run_dates = [args.start_date + n * DAY for n in range((args.end_date - args.start_date).days + 1)]
    paths = {"input_path": args.input_path, "output_path": args.output_path, "inputs": (RAW_EVENTS,)}
    with Lakehouse("transform_clickstream", config.load(), **paths) as lakehouse:
        lakehouse.create_tables()
        print(json.dumps(transform(lakehouse, run_dates, args.late_dates)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
