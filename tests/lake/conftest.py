"""The warm Spark of the run, `make_event` over one valid event, and lakehouses in folders."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

import config
import config.loader
from spark_jobs.lake.lakehouse import Lakehouse

VALID_EVENT = {
    "event_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "event_time": "2025-04-01T08:15:30.125Z",
    "event_type": "view",
    "user_id": "007",
    "product_id": "0042",
    "price": 12.5,
    "quantity": 1,
    "device": {"type": "mobile", "os": "ios", "browser": "safari"},
    "schema_version": 1,
}
RECORD_DDL = "topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, key BINARY, value BINARY, "
RECORD_DDL += "headers ARRAY<STRUCT<key: STRING, value: BINARY>>"

MakeEvent = Callable[..., dict[str, Any]]
MakeRecords = Callable[[list[Any]], DataFrame]


@pytest.fixture(scope="package", autouse=True)
def _environment(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings for small frames; a `main()` under test works in the active session, which is this one."""
    assert SparkSession.getActiveSession() is spark
    small = tmp_path_factory.mktemp("environment") / "small.yaml"
    environment = yaml.safe_load(config.loader.environment_file("local").read_text(encoding="utf-8"))
    environment["spark"]["shuffle_partitions"] = 1  # one task instead of many empty ones
    environment["mlflow_tracking_uri"] = None  # a test that wants it says so
    small.write_text(yaml.safe_dump(environment))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_ENV", str(small))
        yield


@pytest.fixture
def lakehouse(spark: SparkSession, tmp_path: Path) -> Lakehouse:
    """An empty lakehouse in a folder."""
    return Lakehouse(spark, config.load(), output_path=str(tmp_path / "lake"))


@pytest.fixture
def make_event() -> MakeEvent:
    """A valid event; `None` leaves a field out."""

    def make(**overrides: Any) -> dict[str, Any]:
        event = VALID_EVENT | {"event_id": str(uuid.uuid4())} | overrides
        return {key: value for key, value in event.items() if value is not None}

    return make


@pytest.fixture
def make_records(spark: SparkSession) -> MakeRecords:
    """Kafka's columns for payloads given as bytes, dicts (as JSON) or None; offsets count from 0 in partition 0."""

    def make(payloads: list[Any]) -> DataFrame:
        values = [json.dumps(p).encode() if isinstance(p, dict) else p for p in payloads]
        seen_at = datetime(2025, 4, 1, 9, tzinfo=UTC)
        rows = [("clickstream", 0, offset, seen_at, b"007", value, None) for offset, value in enumerate(values)]
        return spark.createDataFrame(rows, RECORD_DDL)

    return make
