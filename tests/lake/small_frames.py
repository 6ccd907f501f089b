"""Small frames of events for the tests of pure transforms, and a lake in a folder whose raw_events a test fills."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import config
from spark_jobs.event_schema import EVENT_DDL
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.tables import RAW_EVENTS
from spark_jobs.land_raw_events import classify_records
from spark_jobs.transform_clickstream import BUILT
from tests.lake.conftest import RECORD_DDL

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


def fill_raw_events(
    lakehouse: Lakehouse,
    records: list[tuple[int, int, bytes]],
    headers: list[tuple[str, str | bytes | None]] | None = None,
) -> None:
    """Append (partition, offset, payload) to raw_events as landing would."""
    seen_at = datetime(2025, 4, 5, tzinfo=UTC)
    rows = [
        ("clickstream", partition, offset, seen_at, b"k", payload, headers) for partition, offset, payload in records
    ]
    landed = classify_records(lakehouse.spark.createDataFrame(rows, RECORD_DDL))
    base = lakehouse.ensure_snapshot(RAW_EVENTS)
    lakehouse.append_if_unchanged(RAW_EVENTS, landed.withColumn("ingested_at", F.current_timestamp()), base, {})


def read_everything(lakehouse: Lakehouse) -> dict[str, list[str]]:
    """Every row of the tables that the transform builds, as text, sorted."""
    return {table.name: sorted(map(str, lakehouse.main.read(table).collect())) for table in BUILT}


@contextmanager
def open_lake(folder: Path) -> Iterator[Lakehouse]:
    """The lake in a folder, in the active session."""
    with open_lakehouse("test", config.load(), output_path=str(folder)) as lakehouse:
        yield lakehouse
