"""One JVM for the Spark tests of a process, `make_event` over one valid event, and lakehouses in folders."""

from __future__ import annotations

import json
import os
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
from infra.local.class_archive import ARCHIVE, class_path_variables
from infra.local.java import find_java_home
from spark_jobs.lakehouse import Lakehouse

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


@pytest.fixture(scope="session", autouse=True)
def _jvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Options of the one JVM; a `main()` under test stops its session but not the JVM."""
    folder = tmp_path_factory.mktemp("spark")
    log4j, small = folder / "log4j2.properties", folder / "small.yaml"
    log4j.write_text("rootLogger.level = error\n")
    environment = yaml.safe_load(config.loader.environment_file("local").read_text(encoding="utf-8"))
    environment["spark"]["shuffle_partitions"] = 1  # small frames: one task instead of many empty ones
    environment["mlflow_tracking_uri"] = None  # a test that wants it says so
    small.write_text(yaml.safe_dump(environment))
    before = dict(os.environ)
    os.environ |= class_path_variables(find_java_home()) | {
        "LAKEHOUSE_ENV": str(small),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": (f"-XX:SharedArchiveFile={ARCHIVE} -XX:+UseSerialGC -Dlog4j2.configurationFile={log4j}"),
        "PYSPARK_SUBMIT_ARGS": (
            "--master local[1] --driver-memory 1g --conf spark.ui.enabled=false "
            # Rows are few: compiling code for them, and planning again after each stage, takes longer than running.
            "--conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN "
            "--conf spark.sql.adaptive.enabled=false --conf spark.sql.shuffle.partitions=1 pyspark-shell"
        ),
    }
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def lakehouse(tmp_path: Path) -> Iterator[Lakehouse]:
    """An empty lakehouse in a folder, under the catalog name that the jobs use."""
    with Lakehouse("test", config.load(), output_path=str(tmp_path / "lake")) as lake:
        lake.create_tables()
        yield lake


@pytest.fixture
def spark() -> SparkSession:
    """A session for pure transforms; whoever stopped the last one, there is one."""
    return (
        SparkSession.builder.config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.variant.allowDuplicateKeys", "true")
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .getOrCreate()
    )


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
