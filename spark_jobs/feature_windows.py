"""Events to a day's sums of each user, and those sums to the features of 1, 7 and 30 days."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from spark_jobs.lake.tables import (
    DAILY_SUMS,
    LONGEST_WINDOW_DAYS,
    USER_DAILY_ACTIVITY,
    USER_FEATURES,
    WINDOWED_SUMS,
    WINDOWS_DAYS,
)
from spark_jobs.sessionization import seconds_between, summarise_sessions

PARTS_OF_DAY = {"night": (0, 5), "morning": (6, 11), "afternoon": (12, 17), "evening": (18, 23)}
DEVICES = ("mobile", "desktop", "tablet")
LONG_SESSIONS_RANK = 0.9


def add_price_levels(events: DataFrame) -> DataFrame:
    """Adds `price_level_thousandths` to the views with a price: where it stands among the date's views of its category.

    0..1000: the share of these views that cost less, and half of those that cost as much. Null elsewhere.
    """
    priced = F.col("event_type").eqNullSafe("view") & F.col("price").isNotNull()
    offers = events.where(priced).groupBy(
        F.col("event_date").alias("offer_date"),
        category_of_product().alias("offer_category"),
        F.col("price").alias("offer_price"),
    )
    same_category = Window.partitionBy("offer_date", "offer_category")
    dearer = same_category.orderBy("offer_price")
    counted = offers.agg(F.count("*").alias("views_at_price"))
    below = F.sum("views_at_price").over(dearer) - F.col("views_at_price") / 2
    level = F.round(1000 * below / F.sum("views_at_price").over(same_category)).cast("bigint")
    levels = counted.select("offer_date", "offer_category", "offer_price", level.alias("price_level_thousandths"))
    is_offer = (
        priced
        & (F.col("event_date") == F.col("offer_date"))
        & category_of_product().eqNullSafe(F.col("offer_category"))
        & (F.col("price") == F.col("offer_price"))
    )
    return events.join(F.broadcast(levels), is_offer, "left").drop("offer_date", "offer_category", "offer_price")


def summarise_pieces(events: DataFrame) -> DataFrame:
    """One row per session and `event_date` over its events of that date: the columns of `sessions`, and what a day's
    activity needs."""
    hour = F.floor(F.unix_seconds("event_time") % 86_400 / 3_600)
    is_view = F.col("event_type") == "view"
    quantity = F.coalesce("quantity", F.lit(1))
    return summarise_sessions(
        add_price_levels(events),
        F.max(F.when(F.col("event_type") == "purchase", F.col("event_time"))).alias("last_purchase_time"),
        F.coalesce(F.sum("milliseconds_since_previous"), F.lit(0)).alias("session_milliseconds"),
        *[
            F.count_if(hour.between(first, last)).alias(f"{part}_events")
            for part, (first, last) in PARTS_OF_DAY.items()
        ],
        *[F.count_if(F.col("device.type").eqNullSafe(device)).alias(f"{device}_events") for device in DEVICES],
        F.coalesce(F.sum(F.when(F.col("event_type") == "cart", quantity)), F.lit(0)).alias("cart_units"),
        F.count("price_level_thousandths").alias("priced_views"),
        F.coalesce(F.sum("price_level_thousandths"), F.lit(0)).alias("price_level_thousandths"),
        F.collect_set(F.when(is_view, category_of_product())).alias("categories"),
        by=("event_date",),
    )


def category_of_product() -> Column:
    """The category's id, or its path where the event names no id."""
    return F.coalesce("category_id", "category_code")


def summarise_days(pieces: DataFrame) -> DataFrame:
    """One row per user and `event_date`, in the columns of `user_daily_activity`, from `summarise_pieces`."""
    has_cart, has_purchase = F.col("carts") > 0, F.col("purchases") > 0
    counted = {
        "sessions": F.count_if(F.col("session_date") == F.col("event_date")),
        "cart_sessions": F.count_if(has_cart),
        "abandoned_cart_sessions": F.count_if(has_cart & ~has_purchase),
    }
    is_continued = F.col("session_date") < F.col("event_date")
    length = F.col("session_milliseconds")
    part = F.when(is_continued, -length - 1).otherwise(length).alias("part")
    sums = [counted.get(c.name, F.sum(c.name)).cast(c.type).alias(c.name) for c in DAILY_SUMS]
    return (
        pieces.groupBy("user_id", "event_date")
        .agg(
            *sums,
            F.max("session_end").alias("last_event_time"),
            F.max("last_purchase_time").alias("last_purchase_time"),
            F.transform(
                F.sort_array(F.collect_list(F.struct("session_start", part))), lambda piece: piece["part"]
            ).alias("session_parts"),
            F.sort_array(F.array_distinct(F.flatten(F.collect_list("categories")))).alias("categories"),
        )
        .select(*USER_DAILY_ACTIVITY.column_names)
    )


def build_features(
    daily: DataFrame, snapshot_dates: list[dt.date], longest_window_days: int = LONGEST_WINDOW_DAYS
) -> DataFrame:
    """One row per user and snapshot date, in the columns of `user_features`.

    `daily` holds every date that the longest window of the first snapshot sees, to the last snapshot.
    """
    snapshots = F.filter(
        F.array([F.lit(day) for day in snapshot_dates]),
        lambda day: F.date_diff(day, "event_date").between(0, longest_window_days - 1),
    )
    rows = daily.select("*", F.explode(snapshots).alias("snapshot_date"))
    rows = rows.withColumn("age_days", F.date_diff("snapshot_date", "event_date"))
    windowed = [
        F.sum(F.when(F.col("age_days") < days, F.col(name)).otherwise(0)).alias(f"{name}_sum_{days}d")
        for days in WINDOWS_DAYS
        for name in WINDOWED_SUMS
    ]
    over_longest_window = [F.sum(c.name).alias(c.name) for c in DAILY_SUMS if c.name not in WINDOWED_SUMS]
    users = rows.groupBy("user_id", "snapshot_date").agg(
        F.max("last_event_time").alias("last_event_time"),
        F.max("last_purchase_time").alias("last_purchase_time"),
        F.min("event_date").alias("first_date"),
        F.count("*").alias("active_days_count_30d"),
        F.size(F.array_distinct(F.flatten(F.collect_list("categories")))).alias("categories_count_30d"),
        F.sort_array(F.collect_list(F.struct("event_date", "session_parts"))).alias("parts_by_date"),
        F.sum(F.when(F.weekday("event_date") >= 5, F.col("events")).otherwise(0)).alias("weekend_events"),
        *windowed,
        *over_longest_window,
    )
    end = F.date_add("snapshot_date", 1).cast("timestamp")
    derived = {
        "days_since_last_event": seconds_between(F.col("last_event_time"), end) / 86_400,
        "days_since_last_purchase": seconds_between(F.col("last_purchase_time"), end) / 86_400,
        "days_since_first_event_30d": F.date_diff("snapshot_date", "first_date"),
        "activity_trend_7d_30d": _ratio("events_sum_7d", "events_sum_30d") * 30 / 7,
        "session_minutes_mean_30d": _ratio("session_milliseconds", "sessions_sum_30d") / 60_000,
        "session_minutes_p90_30d": _nearest_rank(_join_parts("parts_by_date"), LONG_SESSIONS_RANK) / 60_000,
        "seconds_per_event_mean_30d": _ratio("session_milliseconds", "pauses") / 1_000,
        "pages_per_session_mean_30d": _ratio("page_views_sum_30d", "sessions_sum_30d"),
        "products_per_session_mean_30d": _ratio("products_viewed_sum_30d", "sessions_sum_30d"),
        "units_per_cart_mean_30d": _ratio("cart_units", "carts_sum_30d"),
        "price_level_mean_30d": F.col("price_level_thousandths") / F.nullif("priced_views", F.lit(0)) / 1_000,
        "page_view_rate_30d": _ratio("page_views_sum_30d", "events_sum_30d"),
        "events_per_session_mean_30d": _ratio("events_sum_30d", "sessions_sum_30d"),
        "order_value_mean_30d": _ratio("revenue_sum_30d", "purchases_sum_30d"),
        "search_rate_30d": _ratio("searches_sum_30d", "events_sum_30d"),
        "cart_rate_30d": _rate("carts_sum_30d", "views_sum_30d"),
        "checkout_rate_30d": _rate("checkouts_sum_30d", "sessions_sum_30d"),
        "purchase_rate_30d": _rate("purchases_sum_30d", "sessions_sum_30d"),
        "removal_rate_30d": _rate("removals_sum_30d", "carts_sum_30d"),
        "cart_conversion_rate_30d": _rate("purchases_sum_30d", "carts_sum_30d"),
        "cart_abandonment_rate_30d": _ratio("abandoned_cart_sessions", "cart_sessions_sum_30d"),
        **{f"{part}_share_30d": _ratio(f"{part}_events", "events_sum_30d") for part in PARTS_OF_DAY},
        "weekend_share_30d": _ratio("weekend_events", "events_sum_30d"),
        **{f"{device}_share_30d": _ratio(f"{device}_events", "events_sum_30d") for device in DEVICES},
    }
    # The first event of a session has no pause before it.
    users = users.withColumn("pauses", F.col("events_sum_30d") - F.col("sessions_sum_30d"))
    return users.select(*[derived.get(c.name, F.col(c.name)).cast(c.type).alias(c.name) for c in USER_FEATURES.columns])


def _ratio(numerator: str, denominator: str) -> Column:
    """0 where there is nothing to divide by."""
    quotient = F.col(numerator).cast("double") / F.col(denominator)
    return F.when(F.col(denominator) > 0, quotient).otherwise(0.0)


def _rate(numerator: str, denominator: str) -> Column:
    """A ratio of two counts of which neither contains the other, cut at 1; 1 also where only the first is positive."""
    at_least_one = F.greatest(F.col(denominator), F.lit(1))
    return F.least(F.col(numerator).cast("double") / at_least_one, F.lit(1.0))


def _join_parts(parts_by_date: str) -> Column:
    """Milliseconds of each session of the window, the parts of one that passes midnight in one sum.

    What goes on from before the window counts as far as the window sees it.
    """
    parts = F.flatten(F.transform(parts_by_date, lambda day: day["session_parts"]))

    def join(lengths: Column, part: Column) -> Column:
        goes_on = (part < 0) & (F.size(lengths) > 0)
        length = F.when(part < 0, -part - 1).otherwise(part)
        longer = F.array(F.try_element_at(lengths, F.lit(-1)) + length)
        return F.when(goes_on, F.concat(F.slice(lengths, F.lit(1), F.size(lengths) - 1), longer)).otherwise(
            F.concat(lengths, F.array(length))
        )

    joined = F.aggregate(parts, F.array().cast("array<bigint>"), join)
    return F.when(F.exists(parts, lambda part: part < 0), joined).otherwise(parts)


def _nearest_rank(values: Column, share: float) -> Column:
    """The least of `values` that so large a share of them does not exceed."""
    return F.element_at(F.sort_array(values), F.ceil(F.size(values) * F.lit(share)).cast("int"))
