"""Events to sessions: a session ends after so many minutes without an event, and not at midnight."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

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


def summarise_sessions(events: DataFrame, *further: Column, by: Sequence[str] = ()) -> DataFrame:
    """One row per session, and per value of `by`, over the given events: the columns of `sessions`, and the `further`
    aggregates."""
    viewed_product = F.when(F.col("event_type") == "view", F.col("product_id"))
    amount = F.col("price") * F.coalesce("quantity", F.lit(1))
    is_purchase = F.col("event_type") == "purchase"
    in_order = F.struct("event_time", "event_id")
    return (
        events.groupBy("user_id", "session_key", "session_start", *by)
        .agg(
            F.max("event_time").alias("session_end"),
            F.count("*").alias("events"),
            *[F.count_if(F.col("event_type") == kind).alias(name) for name, kind in COUNTED_TYPES.items()],
            F.coalesce(F.sum(F.when(is_purchase, amount)), F.lit(0)).cast("decimal(38,4)").alias("revenue"),
            F.size(F.collect_set(viewed_product)).cast("bigint").alias("products_viewed"),
            F.min_by("device.type", F.when(F.col("device.type").isNotNull(), in_order)).alias("device_type"),
            *further,
        )
        .withColumn("duration_seconds", seconds_between(F.col("session_start"), F.col("session_end")))
        .withColumn("session_date", F.to_date("session_start"))
    )


def seconds_between(start: Column, end: Column) -> Column:
    """With milliseconds."""
    return (F.unix_millis(end) - F.unix_millis(start)) / 1000
