"""Windows of a user's daily sums, with features computed by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.feature_windows import add_price_levels, build_features
from spark_jobs.lake.tables import (
    DAILY_SUMS,
    USER_DAILY_ACTIVITY,
)
from tests.lake.small_frames import at, make_events


def daily_rows(spark: SparkSession, *rows: dict[str, Any]) -> DataFrame:
    """Rows of user_daily_activity of user `u`; what is not given is 0."""
    defaults: dict[str, Any] = {column.name: 0 for column in DAILY_SUMS} | {
        "revenue": Decimal(0), "user_id": "u", "session_parts": [0], "categories": [],
    }  # fmt: skip
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


def test_no_feature_takes_a_round_through_python(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    features = build_features(daily_rows(spark, {"event_date": date(2025, 4, 1)}), [date(2025, 4, 1)])
    features.explain(extended=True)
    plan = capsys.readouterr().out
    assert "Aggregate" in plan
    assert "Python" not in plan


def test_rates_and_shares_are_those_of_the_sums(spark: SparkSession) -> None:
    saturday = date(2025, 4, 5)
    daily = daily_rows(
        spark,
        {"event_date": saturday, "events": 8, "sessions": 2, "session_milliseconds": 660_000, "searches": 2, "views": 4,
         "carts": 3, "removals": 1, "checkouts": 1, "purchases": 2, "revenue": Decimal("30.5"), "cart_sessions": 2,
         "abandoned_cart_sessions": 1, "morning_events": 6, "evening_events": 2, "mobile_events": 8,
         "last_purchase_time": at("2025-04-05T18:00:00"), "page_views": 1, "products_viewed": 3, "desktop_events": 0,
         "cart_units": 4, "priced_views": 4, "price_level_thousandths": 1_300, "categories": ["a", "b"],
         "session_parts": [600_000, 60_000]},
        {"event_date": saturday + timedelta(days=2), "events": 2, "sessions": 2, "night_events": 2,
         "desktop_events": 1, "tablet_events": 1, "categories": ["b", "c"], "session_parts": [0, 0]},
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
        "desktop_share_30d": 0.1,
        "tablet_share_30d": 0.1,
        "days_since_first_event_30d": 2,
        "activity_trend_7d_30d": 30 / 7,
        "session_minutes_p90_30d": 10.0,
        "seconds_per_event_mean_30d": 110.0,  # 660 seconds, six events that are not the first of their session
        "pages_per_session_mean_30d": 0.25,
        "products_per_session_mean_30d": 0.75,
        "categories_count_30d": 3,
        "units_per_cart_mean_30d": 4 / 3,
        "price_level_mean_30d": 0.325,
        "page_view_rate_30d": 0.1,
        "cart_conversion_rate_30d": 2 / 3,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_a_user_without_events_in_a_window_gets_zeros_not_nulls(spark: SparkSession) -> None:
    row = build_features(
        daily_rows(spark, {"event_date": date(2025, 4, 1), "events": 1}), [date(2025, 4, 30)]
    ).collect()[0]
    nulls = {name for name, value in row.asDict().items() if value is None}
    assert nulls == {"days_since_last_purchase", "price_level_mean_30d"}
    assert (row.events_sum_1d, row.events_sum_7d, row.events_sum_30d, row.cart_rate_30d) == (0, 0, 1, 0.0)


def test_a_session_over_midnight_is_one_length_and_nine_of_ten_do_not_exceed_the_p90(spark: SparkSession) -> None:
    first = date(2025, 4, 1)
    daily = daily_rows(
        spark,
        {"event_date": first, "events": 1, "session_parts": [-60_001, 120_000]},  # from before the window: a minute
        {"event_date": first + timedelta(days=1), "events": 1, "session_parts": [-180_001, 0]},  # 2 + 3 minutes
        {"event_date": first + timedelta(days=29), "events": 1, "session_parts": [0, 0, 0, 0, 0, 0, 0]},
    )
    lengths = build_features(daily, [first + timedelta(days=day) for day in (1, 29)]).orderBy("snapshot_date").collect()
    # 0, 1, 5 minutes: the third of three. Ten sessions: the ninth in order.
    assert [row.session_minutes_p90_30d for row in lengths] == [5.0, 1.0]


def test_a_price_level_is_the_place_among_the_views_of_the_category(spark: SparkSession) -> None:
    prices = [("c1", 1), ("c1", 2), ("c1", 2), ("c1", 9), (None, 100), ("c2", 7), ("c1", None)]
    views = [
        {"user_id": f"u{number}", "event_time": "2025-04-05T10:00:00.000", "category_id": category, "price": price}
        for number, (category, price) in enumerate(prices)
    ]
    other = {
        "user_id": "u9",
        "event_time": "2025-04-05T10:00:00.000",
        "event_type": "cart",
        "category_id": "c1",
        "price": 1,
    }
    events = add_price_levels(make_events(spark, *views, other))
    found = {row.user_id: row.price_level_thousandths for row in events.collect()}
    expected = {"u0": 125, "u1": 500, "u2": 500, "u3": 875, "u4": 500, "u5": 500, "u6": None, "u9": None}
    assert found == expected
