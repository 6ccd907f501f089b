"""Sessions to a day's sums of each user, and those sums to the features of 1, 7 and 30 days."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.sessionization import PARTS_OF_DAY, seconds_between
from spark_jobs.tables import DAILY_SUMS, LONGEST_WINDOW_DAYS, USER_FEATURES, WINDOWED_SUMS, WINDOWS_DAYS


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
        "days_since_last_event": seconds_between(F.col("last_event_time"), end) / 86_400,
        "days_since_last_purchase": seconds_between(F.col("last_purchase_time"), end) / 86_400,
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


def _ratio(numerator: str, denominator: str) -> Column:
    """0 where there is nothing to divide by."""
    quotient = F.col(numerator).cast("double") / F.col(denominator)
    return F.when(F.col(denominator) > 0, quotient).otherwise(0.0)


def _rate(numerator: str, denominator: str) -> Column:
    """A ratio of two counts of which neither contains the other, cut at 1; 1 also where only the first is positive."""
    at_least_one = F.greatest(F.col(denominator), F.lit(1))
    return F.least(F.col(numerator).cast("double") / at_least_one, F.lit(1.0))
