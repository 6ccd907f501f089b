"""A lake of a handful of rows written by hand, so that every number on a page can be added up on paper.

    python -m tests.integration.dashboard.small_lake     # into the stack and the database that LAKEHOUSE_* name

Who did what on FIRST and LAST, a week apart (`purchases` of LAST: 30.50 and 10.00):

    user  FIRST                             segment   LAST                                      segment
    anna  mobile: buys for 20.00; desktop   loyal     mobile: buys twice, once without a cart   leaving
    bert  mobile: leaves a cart             leaving   desktop: leaves a cart                    leaving
    cleo  no device: looks at pages         new       desktop: begins a checkout                loyal
    dora  -                                 -         tablet: looks at pages                    new
    emil  -                                 loyal     -                                         -
"""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from typing import Any

import config
from spark_jobs.lake.lakehouse import open_lakehouse
from spark_jobs.lake.tables import (
    EVENTS,
    FAILED_RUNS,
    MODEL_RUNS,
    PIPELINE_RUNS,
    RAW_EVENTS,
    SEGMENT_PROFILES,
    SESSIONS,
    TABLES,
    USER_FEATURES,
    USER_SEGMENTS,
    Column,
    Table,
)

Row = dict[str, Any]

FIRST, MIDDLE, LAST = dt.date(2025, 4, 1), dt.date(2025, 4, 7), dt.date(2025, 4, 8)
AFTER = LAST + dt.timedelta(days=1)
NEW, LOYAL, LEAVING = 0, 1, 2
NAMES = {NEW: "new", LOYAL: "loyal buyers", LEAVING: "leaving <soon>"}
MODEL = "20250401-k2-test"
ODD_USER = 'o\'hara; -- "0042"'  # whom a statement put together by hand would not survive


def at(date: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(hour, minute), tzinfo=dt.UTC)


def fill(table: Table, **values: Any) -> Row:
    """A row: null where that may be, else zero, an empty text or an empty collection."""
    return {column.name: values.get(column.name, _nothing(column)) for column in table.columns}


def _nothing(column: Column) -> Any:
    if column.is_nullable:
        return None
    kinds = {"STRING": "", "DATE": FIRST, "TIMESTAMP": at(FIRST, 0), "BINARY": b"", "DOUBLE": 0.0}
    if column.type.startswith("DECIMAL"):
        return Decimal(0)
    if column.type.startswith("ARRAY"):
        return []
    if column.type.startswith("MAP"):
        return {}
    return kinds.get(column.type, None if column.type.startswith("STRUCT") else 0)


def session(user: str, date: dt.date, hour: int, device: str | None, revenue: str = "0", **counts: int) -> Row:
    start = at(date, hour)
    return fill(
        SESSIONS, session_key=f"{user}-{int(start.timestamp() * 1000)}", user_id=user, session_start=start,
        session_end=at(date, hour, 10), duration_seconds=600.0, events=sum(counts.values()),
        revenue=Decimal(revenue), device_type=device, session_date=date, **counts,
    )  # fmt: skip


SESSION_ROWS = [
    session("anna", FIRST, 9, "mobile", "20.00", views=2, carts=1, checkouts=1, purchases=1),
    session("anna", FIRST, 20, "desktop", views=1),
    session("bert", FIRST, 10, "mobile", views=3, carts=1),
    session("cleo", FIRST, 11, None, page_views=4),
    session("anna", MIDDLE, 9, "mobile", views=1),
    session("anna", LAST, 9, "mobile", "30.50", views=2, carts=1, checkouts=1, purchases=1),
    session("anna", LAST, 20, "mobile", "10.00", views=1, purchases=1),
    session("bert", LAST, 10, "desktop", views=1, carts=2),
    session("cleo", LAST, 11, "desktop", views=1, checkouts=1),
    session("dora", LAST, 12, "tablet", page_views=5),
]


def event(
    number: int, user: str, hour: int, kind: str, category: str | None, device: str, price: str | None = None
) -> Row:
    start = at(LAST, hour)
    return fill(
        EVENTS, event_id=f"00000000-0000-0000-0000-{number:012d}", event_time=at(LAST, hour, number), event_type=kind,
        user_id=user, product_id=None if kind in ("page_view", "checkout") else str(number), category_code=category,
        price=None if price is None else Decimal(price), device=(device, None, None), session_start=start,
        session_key=f"{user}-{int(start.timestamp() * 1000)}", event_date=LAST,
    )  # fmt: skip


PHONES, SHOES = "electronics.phone", "apparel.shoes"
EVENT_ROWS = [
    event(1, "anna", 9, "view", PHONES, "mobile"),
    event(2, "anna", 9, "view", SHOES, "mobile"),
    event(3, "anna", 9, "cart", PHONES, "mobile"),
    event(4, "anna", 9, "checkout", None, "mobile"),
    event(5, "anna", 9, "purchase", PHONES, "mobile", "30.50"),
    event(6, "anna", 20, "view", SHOES, "mobile"),
    event(7, "anna", 20, "purchase", SHOES, "mobile", "10.00"),
    event(8, "bert", 10, "view", PHONES, "desktop"),
    event(9, "bert", 10, "cart", PHONES, "desktop"),
    event(10, "bert", 10, "cart", None, "desktop"),
    event(11, "cleo", 11, "checkout", None, "desktop"),
    event(14, "cleo", 11, "view", SHOES, "desktop"),
    event(12, "dora", 12, "page_view", None, "tablet"),
    event(13, ODD_USER, 13, "page_view", None, "tablet"),
]

SEGMENT_OF = {
    FIRST: {"anna": LOYAL, "bert": LEAVING, "cleo": NEW, "emil": LOYAL},
    MIDDLE: {"anna": LOYAL, "bert": LEAVING, "cleo": NEW, "emil": LOYAL},
    LAST: {"anna": LEAVING, "bert": LEAVING, "cleo": LOYAL, "dora": NEW},
}
SEGMENT_ROWS = [
    fill(
        USER_SEGMENTS, user_id=user, segment_id=segment, segment_name=NAMES[segment], model_id=MODEL,
        distance_to_centroid=None if segment == NEW else 0.5, segment_since=date, snapshot_date=date,
        previous_segment_id=SEGMENT_OF[MIDDLE].get(user) if date == LAST else None,
    )
    for date, users in SEGMENT_OF.items()
    for user, segment in users.items()
]  # fmt: skip
# Revenue, sessions and share of evening events in 30 days.
FEATURES = {"anna": (120.0, 9, 0.5), "bert": (5.0, 4, 0.0), "cleo": (60.0, 5, 0.1), "dora": (0.0, 1, 1.0),
            "emil": (90.0, 7, 0.2)}  # fmt: skip
FEATURE_ROWS = [
    fill(
        USER_FEATURES, user_id=user, snapshot_date=date, revenue_sum_30d=FEATURES[user][0],
        sessions_sum_30d=FEATURES[user][1], evening_share_30d=FEATURES[user][2], days_since_last_event=1.0,
    )
    for date, users in SEGMENT_OF.items()
    for user in users
]  # fmt: skip
PROFILE_ROWS = [
    fill(
        SEGMENT_PROFILES, segment_id=segment, segment_name=NAMES[segment],
        story=f"Story of {NAMES[segment]}. And more.",
        users=list(users.values()).count(segment), users_share=list(users.values()).count(segment) / len(users),
        centroid={"revenue_sum_30d": 10.0 * segment if segment == LEAVING else 100.0 * segment},
        deviations={"revenue_sum_30d": float(segment) - 1, "evening_share_30d": 1.0 - segment},
        distinctive_features=[("revenue_sum_30d", 1.0)], model_id=MODEL, snapshot_date=date,
    )
    for date, users in SEGMENT_OF.items()
    for segment in sorted(set(users.values()))
]  # fmt: skip
MODEL_ROWS = [
    fill(
        MODEL_RUNS, model_id=MODEL, trained_on=FIRST, training_reason="first", data_from=FIRST, users=5, k=2,
        k_reason="only two would fit", features=["revenue_sum_30d", "evening_share_30d"], decision="champion",
        decision_reason="the first model", champion_from=FIRST,
    )
]  # fmt: skip


def record(offset: int, date: dt.date, error: str | None = None, payload: bytes = b"{}", days_late: int = 0) -> Row:
    return fill(
        RAW_EVENTS, topic="clickstream", partition=0, offset=offset, payload=payload, error_type=error,
        timestamp=at(date + dt.timedelta(days=days_late), 12), ingested_at=at(LAST, 13), event_date=date,
        error_detail=None if error is None else f"detail {offset}", key="", requeued_from=None, event=None,
    )  # fmt: skip


RAW_ROWS = [
    record(1, FIRST),
    record(2, FIRST, days_late=1),
    record(9, LAST, "bad_price", '{"price": "a lot of ünïcode"}'.encode()),
    record(100, LAST, "bad_price", b"fourth"),
    record(4, LAST, "bad_price", b"second"),
    record(10, LAST, "bad_price", b"third"),
    record(5, LAST, "not_json", b"\xff\xfe"),
    record(6, LAST, days_late=2),
    record(7, LAST, days_late=2),
]


def run(date: dt.date, **values: Any) -> Row:
    known: Row = {"run_id": f"scheduled__{date}", "recorded_at": at(date + dt.timedelta(days=1), 1), "event_date": date}
    known |= {"job_seconds": {"land": 10.0, "transform": 20.5}}
    known |= dict.fromkeys(("forced", "warnings", "gaps", "remarks"))
    return fill(PIPELINE_RUNS, **{**known, **values})


RUN_ROWS = [
    run(FIRST, produced=100, landed=100, quarantined=2, duplicates=1, clean=97),
    run(  # one record was lost
        MIDDLE,
        produced=50,
        landed=49,
        quarantined=0,
        duplicates=0,
        clean=49,
        warnings='["few_are_quarantined"]',
        forced='["1 of 50 lost"]',
    ),
    run(LAST, produced=None, landed=80, quarantined=3, duplicates=0, clean=77),
]

FAILURE_ROWS = [
    # The run of LAST succeeded an hour after it had failed; that of the date after it never did.
    fill(FAILED_RUNS, run_id="first try", failed_tasks=["check_landing"], failed_at=at(AFTER, 0), event_date=LAST),
    fill(
        FAILED_RUNS, run_id=f"scheduled__{AFTER}", failed_tasks=["transform_clickstream"], failed_at=at(AFTER, 2),
        event_date=AFTER,
    ),
]  # fmt: skip

ROWS: dict[Table, list[Row]] = {
    SESSIONS: SESSION_ROWS, EVENTS: EVENT_ROWS, USER_SEGMENTS: SEGMENT_ROWS, USER_FEATURES: FEATURE_ROWS,
    SEGMENT_PROFILES: PROFILE_ROWS, MODEL_RUNS: MODEL_ROWS, RAW_EVENTS: RAW_ROWS, PIPELINE_RUNS: RUN_ROWS,
    FAILED_RUNS: FAILURE_ROWS,
}  # fmt: skip


def main() -> int:
    with open_lakehouse("small_lake", config.load()) as lakehouse:
        for table in TABLES:
            values = [tuple(row[name] for name in table.column_names) for row in ROWS.get(table, [])]
            lakehouse.spark.createDataFrame(values, table.ddl).writeTo(lakehouse.identifier(table)).append()
    return 0


if __name__ == "__main__":
    sys.exit(main())
