"""Sessions of small frames, with rows computed by hand."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from pyspark.sql import DataFrame, Row, SparkSession

from spark_jobs.feature_windows import summarise_days, summarise_pieces
from spark_jobs.lake.tables import (
    SESSIONS,
)
from spark_jobs.sessionization import assign_sessions, find_open_sessions
from tests.lake.small_frames import at, make_events, no_open_sessions, sessions_by_event


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
        {"user_id": "u", "event_time": "2025-04-05T11:55:00.000", "product_id": "p1", "category_id": "c2", "price": 4,
         "device": {"type": "mobile"}},
        {"user_id": "u", "event_time": "2025-04-05T11:56:00.000", "product_id": "p1", "category_code": "a.b",
         "device": {"type": "desktop"}},
        {"user_id": "u", "event_time": "2025-04-05T12:00:00.000", "event_type": "cart", "product_id": "p1",
         "quantity": 3},
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
    )  # fmt: skip
    return assign_sessions(events, no_open_sessions(spark), 30)


def test_sessions_and_daily_activity_of_a_shopping_trip(spark: SparkSession) -> None:
    pieces = summarise_pieces(shopping_trip(spark))
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
    assert summarise_days(pieces).collect() == [
        Row(
            user_id="u", events=8, sessions=2, session_milliseconds=660_500,
            page_views=1, searches=0, clicks=0, views=2,
            products_viewed=1, carts=2, removals=0, checkouts=1, purchases=2, revenue=Decimal("25.2000"),
            cart_sessions=2, abandoned_cart_sessions=1, night_events=0, morning_events=3, afternoon_events=4,
            evening_events=1, mobile_events=1, desktop_events=1, tablet_events=0, cart_units=4, priced_views=1,
            price_level_thousandths=500, last_event_time=datetime(2025, 4, 5, 20),  # noqa: DTZ001
            last_purchase_time=datetime(2025, 4, 5, 12, 1, 0, 500000),  # noqa: DTZ001
            session_parts=[660_500, 0], categories=["a.b", "c2"], event_date=date(2025, 4, 5),
        )
    ]  # fmt: skip
