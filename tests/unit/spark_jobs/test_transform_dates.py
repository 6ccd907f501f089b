"""Whole dates through the transform, on a lakehouse in a folder: order, reruns and late events change no row."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

import config
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.land_raw_events import classify_records
from spark_jobs.tables import EVENTS, RAW_EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES
from spark_jobs.transform_clickstream import main, transform
from tests.unit.spark_jobs.conftest import RECORD_DDL, MakeEvent
from tests.unit.spark_jobs.test_transform_clickstream import at

BUILT_TABLES = (EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES)

# -- the job itself ---------------------------------------------------------------------------------------------------

MIDNIGHT_TRIP = [
    {"user_id": "owl", "event_time": "2025-04-01T23:40:00.000Z"},
    {"user_id": "owl", "event_time": "2025-04-01T23:59:59.999Z"},
    {"user_id": "owl", "event_time": "2025-04-02T00:10:00.000Z", "event_type": "cart"},
    {"user_id": "owl", "event_time": "2025-04-02T00:20:00.000Z", "event_type": "purchase"},
    {"user_id": "owl", "event_time": "2025-04-02T09:00:00.000Z"},
    {"user_id": "lark", "event_time": "2025-04-01T05:00:00.000Z"},
    {"user_id": "lark", "event_time": "2025-04-03T05:00:00.000Z"},
]
# Active every 20 minutes from the evening of the 1st to the morning of the 3rd: one session over two midnights.
ROBOT = [
    {
        "user_id": "robot",
        "event_time": (at("2025-04-01T22:00:00") + timedelta(minutes=20 * n)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    for n in range(90)
]


def fill_raw_events(lakehouse: Lakehouse, events: list[dict[str, Any]], first_offset: int = 0) -> None:
    """Append events to raw_events as landing would."""
    seen_at = datetime(2025, 4, 3, 12, tzinfo=UTC)
    rows = [
        ("clickstream", 0, first_offset + n, seen_at, b"k", json.dumps(event).encode(), None)
        for n, event in enumerate(events)
    ]
    landed = classify_records(lakehouse.spark.createDataFrame(rows, RECORD_DDL))
    base = lakehouse.start_history(RAW_EVENTS)
    lakehouse.append_if_unchanged(RAW_EVENTS, landed.withColumn("ingested_at", F.current_timestamp()), base, {})


def read_everything(lakehouse: Lakehouse) -> dict[str, list[str]]:
    """Every row of the built tables as text, sorted."""
    return {table.name: sorted(str(row) for row in lakehouse.read(table).collect()) for table in BUILT_TABLES}


def open_lake(folder: Path) -> Lakehouse:
    lakehouse = Lakehouse("test", config.load(), output_path=str(folder))
    lakehouse.create_tables()
    return lakehouse


APRIL = [date(2025, 4, day) for day in (1, 2, 3)]


def test_dates_in_any_order_give_the_same_tables_and_whole_sessions(tmp_path: Path, make_event: MakeEvent) -> None:
    events = [make_event(**fields) for fields in [*MIDNIGHT_TRIP, *ROBOT]]
    results: list[dict[str, list[str]]] = []
    for runs in ([[day] for day in reversed(APRIL)], [APRIL]):
        with open_lake(tmp_path / str(len(results))) as lakehouse:
            fill_raw_events(lakehouse, [*events, events[0]])
            for dates in runs:
                transform(lakehouse, dates, [])
            results.append(read_everything(lakehouse))
            rows = lakehouse.read(SESSIONS).orderBy("user_id", "session_start").collect()
            assert lakehouse.read(EVENTS).count() == len(events)
        found = [(r.user_id, str(r.session_date), r.events, r.purchases, r.duration_seconds) for r in rows]
        assert found == [
            ("lark", "2025-04-01", 1, 0, 0.0),
            ("lark", "2025-04-03", 1, 0, 0.0),
            ("owl", "2025-04-01", 4, 1, 2400.0),
            ("owl", "2025-04-02", 1, 0, 0.0),
            ("robot", "2025-04-01", 90, 0, 89 * 1200.0),
        ]
    backward, at_once = results
    assert backward == at_once


def test_a_rerun_of_main_changes_no_row_and_leaves_other_partitions_alone(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    with open_lake(tmp_path) as lakehouse:
        fill_raw_events(lakehouse, [make_event(**fields) for fields in MIDNIGHT_TRIP])
        transform(lakehouse, APRIL, [])
        before = read_everything(lakehouse)
    untouched = {
        path.name for path in (tmp_path / "clickstream" / "events" / "data" / "event_date=2025-04-03").iterdir()
    }
    paths = ["--input-path", str(tmp_path), "--output-path", str(tmp_path)]
    assert main(["--start-date", "2025-04-02", *paths]) == 0
    with open_lake(tmp_path) as lakehouse:
        assert read_everything(lakehouse) == before
        files = lakehouse.spark.sql(
            f"SELECT file_path FROM {lakehouse.identifier(EVENTS)}.files WHERE partition.event_date = DATE'2025-04-03'"
        ).collect()
    assert files
    assert {Path(row.file_path).name for row in files} <= untouched


def test_a_late_event_joins_two_sessions_and_reaches_later_snapshots(tmp_path: Path, make_event: MakeEvent) -> None:
    on_time = [
        make_event(user_id="u", event_time="2025-04-01T23:10:00.000Z"),
        make_event(user_id="u", event_time="2025-04-02T00:05:00.000Z"),
    ]
    late = make_event(user_id="u", event_time="2025-04-01T23:38:00.000Z")
    with open_lake(tmp_path) as lakehouse:
        fill_raw_events(lakehouse, on_time)
        transform(lakehouse, APRIL[:2], [])
        fill_raw_events(lakehouse, [late], first_offset=2)
        transform(lakehouse, APRIL[2:], APRIL[:1])
        rows = lakehouse.read(SESSIONS).collect()
        features = lakehouse.read(USER_FEATURES).orderBy("snapshot_date").collect()
    assert [(str(r.session_date), r.events, r.duration_seconds) for r in rows] == [("2025-04-01", 3, 55 * 60.0)]
    assert [(str(r.snapshot_date), r.events_sum_30d, r.sessions_sum_30d) for r in features] == [
        ("2025-04-01", 2, 1),
        ("2025-04-02", 3, 1),
        ("2025-04-03", 3, 1),
    ]
