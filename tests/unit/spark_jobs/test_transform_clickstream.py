"""Transforms on small frames with rows computed by hand."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from spark_jobs import transform_clickstream
from spark_jobs.deduplication import count_first_records, drop_later_copies, find_copies
from spark_jobs.event_schema import EVENT_DDL
from spark_jobs.feature_windows import build_features, summarise_day
from spark_jobs.sessionization import assign_sessions, find_open_sessions, summarise_sessions
from spark_jobs.tables import (
    DAILY_SUMS,
    SESSIONS,
    USER_DAILY_ACTIVITY,
)

LANDED_AT = datetime(2025, 4, 9, tzinfo=UTC)
OPEN_DDL = "user_id STRING, event_time TIMESTAMP, session_start TIMESTAMP"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def event_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def make_events(spark: SparkSession, *events: tuple[str, str] | dict[str, Any]) -> DataFrame:
    """Rows as `read_valid_records` gives them; a tuple is (user_id, time)."""
    rows = []
    for number, given in enumerate(events):
        fields = {"user_id": given[0], "event_time": given[1]} if isinstance(given, tuple) else given
        event = {"event_id": event_id(number), "event_type": "view"} | fields
        event["event_time"] = event["event_time"] + "Z"
        rows.append((0, number, LANDED_AT, json.dumps(event), event["event_time"][:10]))
    frame = spark.createDataFrame(rows, "partition INT, offset BIGINT, ingested_at TIMESTAMP, json STRING, day STRING")
    typed = frame.select("*", F.from_json("json", EVENT_DDL).alias("event"))
    return typed.select("partition", "offset", "ingested_at", "event.*", F.to_date("day").alias("event_date"))


def no_open_sessions(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([], OPEN_DDL)


def sessions_by_event(frame: DataFrame) -> dict[str, str]:
    """Event number -> session key."""
    return {str(uuid.UUID(r.event_id).int): r.session_key for r in frame.collect()}


def test_of_the_records_with_one_event_id_the_lowest_partition_and_offset_stays(spark: SparkSession) -> None:
    frame = make_events(
        spark,
        {"event_id": event_id(1), "user_id": "a", "event_time": "2025-04-01T10:00:00.000", "brand": "second"},
        {"event_id": event_id(1), "user_id": "a", "event_time": "2025-04-01T10:00:00.000", "brand": "third"},
        {"event_id": event_id(2), "user_id": "a", "event_time": "2025-04-01T10:00:01.000", "brand": "only"},
    ).withColumn("partition", F.when(F.col("offset") == 0, 1).otherwise(0))
    april_1 = date(2025, 4, 1)
    clean = drop_later_copies(frame, find_copies(frame, april_1, lateness_days=3))
    assert sorted(row.brand for row in clean.collect()) == ["only", "third"]
    assert count_first_records(frame, [april_1], lateness_days=3) == {april_1: 2}


def test_a_copy_on_another_date_counts_as_far_as_events_may_be_late(spark: SparkSession) -> None:
    days = ["2025-04-01", "2025-04-04", "2025-04-07", "2025-04-11"]
    frame = make_events(
        spark, *[{"event_id": event_id(1), "user_id": "a", "event_time": f"{day}T10:00:00.000"} for day in days]
    )
    # The second is a copy of the first, the third of the second; the fourth is four days away from the third.
    first = [True, False, False, True]
    for day, is_first in zip(map(date.fromisoformat, days), first, strict=True):
        on_date = frame.where(F.col("event_date") == F.lit(day))
        nearby = frame.where(F.abs(F.date_diff("event_date", F.lit(day))) <= 3)
        clean = drop_later_copies(on_date, find_copies(nearby, day, lateness_days=3))
        assert (clean.count(), count_first_records(nearby, [day], lateness_days=3)) == (is_first, {day: is_first})


def test_session_splits_after_thirty_idle_minutes(spark: SparkSession) -> None:
    events = make_events(
        spark,
        ("007", "2025-04-01T10:00:00.000"),
        ("007", "2025-04-01T10:29:59.999"),
        ("007", "2025-04-01T10:59:59.999"),
        ("008", "2025-04-01T10:10:00.000"),
    )
    found = assign_sessions(events, no_open_sessions(spark), 30)
    assert sessions_by_event(found) == {
        "0": "007-1743501600000",
        "1": "007-1743501600000",
        "2": "007-1743505199999",
        "3": "008-1743502200000",
    }
    idle = {row.event_time.isoformat()[11:]: row.milliseconds_since_previous for row in found.collect()}
    assert idle == {"10:00:00": None, "10:29:59.999000": 1_799_999, "10:59:59.999000": None, "10:10:00": None}


def test_an_open_session_goes_on_after_midnight_only_within_the_gap(spark: SparkSession) -> None:
    day_before = assign_sessions(
        make_events(
            spark,
            ("early", "2025-04-01T23:30:00.000"),
            ("late", "2025-04-01T23:20:00.000"),
            ("late", "2025-04-01T23:45:00.000"),
        ),
        no_open_sessions(spark),
        30,
    )
    opened = find_open_sessions(day_before, at("2025-04-02T00:00:00"), 30)
    assert [tuple(row) for row in opened.collect()] == [
        ("late", datetime(2025, 4, 1, 23, 45), datetime(2025, 4, 1, 23, 20))  # noqa: DTZ001 (Spark's naive UTC)
    ]
    events = make_events(
        spark,
        ("early", "2025-04-02T00:00:00.000"),
        ("late", "2025-04-02T00:14:59.000"),
        ("new", "2025-04-02T00:01:00.000"),
    )
    assert sessions_by_event(assign_sessions(events, opened, 30)) == {
        "0": "early-1743552000000",
        "1": "late-1743549600000",
        "2": "new-1743552060000",
    }
    too_late = make_events(spark, ("late", "2025-04-02T00:15:00.000"))
    assert sessions_by_event(assign_sessions(too_late, opened, 30)) == {"0": "late-1743552900000"}


def shopping_trip(spark: SparkSession) -> DataFrame:
    """One session over noon with a purchase of 2 x 10.10 and one of 5 without a quantity; one look at night."""
    events = make_events(
        spark,
        {"user_id": "u", "event_time": "2025-04-05T11:50:00.000", "event_type": "page_view"},
        {"user_id": "u", "event_time": "2025-04-05T11:55:00.000", "product_id": "p1", "device": {"type": "mobile"}},
        {"user_id": "u", "event_time": "2025-04-05T11:56:00.000", "product_id": "p1", "device": {"type": "desktop"}},
        {"user_id": "u", "event_time": "2025-04-05T12:00:00.000", "event_type": "cart", "product_id": "p1"},
        {"user_id": "u", "event_time": "2025-04-05T12:00:30.000", "event_type": "checkout"},
        {
            "user_id": "u",
            "event_time": "2025-04-05T12:01:00.000",
            "event_type": "purchase",
            "price": 10.1,
            "quantity": 2,
        },
        {"user_id": "u", "event_time": "2025-04-05T12:01:00.500", "event_type": "purchase", "price": 5},
        {"user_id": "u", "event_time": "2025-04-05T20:00:00.000", "event_type": "cart", "product_id": "p2"},
    )
    return assign_sessions(events, no_open_sessions(spark), 30)


def test_sessions_and_daily_activity_of_a_shopping_trip(spark: SparkSession) -> None:
    pieces = summarise_sessions(shopping_trip(spark))
    noon, evening = pieces.orderBy("session_start").collect()
    assert {name: noon[name] for name in SESSIONS.column_names} == {
        "session_key": "u-1743853800000",
        "user_id": "u",
        "session_start": datetime(2025, 4, 5, 11, 50),  # noqa: DTZ001
        "session_end": datetime(2025, 4, 5, 12, 1, 0, 500000),  # noqa: DTZ001
        "duration_seconds": 660.5,
        "events": 7,
        "page_views": 1,
        "searches": 0,
        "clicks": 0,
        "views": 2,
        "carts": 1,
        "removals": 0,
        "checkouts": 1,
        "purchases": 2,
        "revenue": Decimal("25.2000"),
        "products_viewed": 1,
        "device_type": "mobile",
        "session_date": date(2025, 4, 5),
    }
    assert (evening.events, evening.revenue, evening.device_type) == (1, Decimal("0.0000"), None)
    assert summarise_day(pieces, date(2025, 4, 5)).collect() == [
        Row(
            user_id="u", events=8, sessions=2, session_milliseconds=660_500,
            page_views=1, searches=0, clicks=0, views=2,
            products_viewed=1, carts=2, removals=0, checkouts=1, purchases=2, revenue=Decimal("25.2000"),
            cart_sessions=2, abandoned_cart_sessions=1, night_events=0, morning_events=3, afternoon_events=4,
            evening_events=1, mobile_events=1, last_event_time=datetime(2025, 4, 5, 20),  # noqa: DTZ001
            last_purchase_time=datetime(2025, 4, 5, 12, 1, 0, 500000), event_date=date(2025, 4, 5),  # noqa: DTZ001
        )
    ]  # fmt: skip


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


def test_an_end_before_the_start_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        transform_clickstream.main(["--start-date", "2025-04-02", "--end-date", "2025-04-01"])
    assert "--end-date 2025-04-01 lies before --start-date 2025-04-02" in capsys.readouterr().err
