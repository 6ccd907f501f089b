"""Windows of a user's daily sums, with features computed by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.feature_windows import build_features
from spark_jobs.tables import (
    DAILY_SUMS,
    USER_DAILY_ACTIVITY,
)
from tests.unit.spark_jobs.small_frames import at


def daily_rows(spark: SparkSession, *rows: dict[str, Any]) -> DataFrame:
    """Rows of user_daily_activity of user `u`; what is not given is 0."""
    defaults: dict[str, Any] = {column.name: 0 for column in DAILY_SUMS} | {"revenue": Decimal(0), "user_id": "u"}
    full = []
    for row in rows:
        day: date = row["event_date"]
        times = {"last_event_time": datetime(day.year, day.month, day.day, 12, tzinfo=UTC), "last_purchase_time": None}
        full.append(defaults | times | row)
    return spark.createDataFrame(
        [tuple(r[n] for n in USER_DAILY_ACTIVITY.column_names) for r in full], USER_DAILY_ACTIVITY.ddl
    )


def test_windows_count_whole_days_and_no_later_date(spark: SparkSession) -> None:
    snapshot = date(2024, 3, 1)  # the 30 days before hold a leap day
    ages = [-1, 0, 6, 7, 29, 30]
    daily = daily_rows(
        spark,
        *[{"event_date": snapshot - timedelta(days=age), "events": 10**n, "sessions": 1} for n, age in enumerate(ages)],
    )
    row = build_features(daily, [snapshot]).collect()[0]
    assert (row.events_sum_1d, row.events_sum_7d, row.events_sum_30d) == (10, 110, 11_110)
    assert (row.sessions_sum_30d, row.active_days_count_30d) == (4, 4)
    assert row.days_since_last_event == 0.5


def test_rates_and_shares_are_those_of_the_sums(spark: SparkSession) -> None:
    saturday = date(2025, 4, 5)
    daily = daily_rows(
        spark,
        {"event_date": saturday, "events": 8, "sessions": 2, "session_milliseconds": 660_000, "searches": 2, "views": 4,
         "carts": 3, "removals": 1, "checkouts": 1, "purchases": 2, "revenue": Decimal("30.5"), "cart_sessions": 2,
         "abandoned_cart_sessions": 1, "morning_events": 6, "evening_events": 2, "mobile_events": 8,
         "last_purchase_time": at("2025-04-05T18:00:00")},
        {"event_date": saturday + timedelta(days=2), "events": 2, "sessions": 2, "night_events": 2},
    )  # fmt: skip
    row = build_features(daily, [saturday + timedelta(days=2)]).collect()[0].asDict()
    expected = {
        "days_since_last_purchase": 2.25,
        "session_minutes_mean_30d": 2.75,
        "events_per_session_mean_30d": 2.5,
        "order_value_mean_30d": 15.25,
        "search_rate_30d": 0.2,
        "cart_rate_30d": 0.75,
        "checkout_rate_30d": 0.25,
        "purchase_rate_30d": 0.5,
        "removal_rate_30d": 1 / 3,
        "cart_abandonment_rate_30d": 0.5,
        "night_share_30d": 0.2,
        "morning_share_30d": 0.6,
        "afternoon_share_30d": 0.0,
        "evening_share_30d": 0.2,
        "weekend_share_30d": 0.8,
        "mobile_share_30d": 0.8,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_a_user_without_events_in_a_window_gets_zeros_not_nulls(spark: SparkSession) -> None:
    row = build_features(
        daily_rows(spark, {"event_date": date(2025, 4, 1), "events": 1}), [date(2025, 4, 30)]
    ).collect()[0]
    nulls = {name for name, value in row.asDict().items() if value is None}
    assert nulls == {"days_since_last_purchase"}
    assert (row.events_sum_1d, row.events_sum_7d, row.events_sum_30d, row.cart_rate_30d) == (0, 0, 1, 0.0)
