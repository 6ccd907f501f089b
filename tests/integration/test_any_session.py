"""The same date in a classic session, under `spark-submit` and against Spark Connect: every table is the same."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from config.loader import CONFIG_DIR, PROJECT_ROOT
from spark_jobs.lake.catalog import folder_place
from spark_jobs.lake.tables import (
    EVENTS,
    FORGOTTEN_USERS,
    MODEL_RUNS,
    RAW_EVENTS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    SESSIONS,
    USER_DAILY_ACTIVITY,
    USER_FEATURES,
    USER_SEGMENTS,
)
from tests.altered_settings import work_little, write_altered
from tests.row_text import to_text
from tests.running_stack import RunningStack

DATE = "2025-09-01"
PROGRAM = str(PROJECT_ROOT / "tests" / "integration" / "run_day.py")
FILLED = (
    RAW_EVENTS, EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES,
    USER_SEGMENTS, SEGMENT_PROFILES, SEGMENT_TRANSITIONS, MODEL_RUNS,
)  # fmt: skip
# When a run was, and where its lake lies.
OF_THE_RUN = {"ingested_at", "artifact"}


@pytest.fixture
def topic(stack: RunningStack) -> str:
    """A topic with 40 users who look, and some of whom buy; one copy, and one record that is no event."""
    servers, name = stack.settings.environment.kafka.bootstrap_servers, f"any_session_{uuid.uuid4().hex[:6]}"
    admin = AdminClient({"bootstrap.servers": servers})  # has to outlive the answer
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(timeout=60)
    choose, payloads = random.Random(7), [b"no event"]
    for user in range(40):
        for number in range(choose.randint(2, 9)):
            kind = choose.choice(["view", "view", "search", "cart", "purchase"]) if user % 4 == 0 else "view"
            event = {
                "event_id": str(uuid.UUID(int=100 * user + number)),
                "event_time": f"{DATE}T{choose.randint(0, 23):02}:{choose.randint(0, 59):02}:00.000Z",
                "event_type": kind,
                "user_id": f"{user:03}",
                "price": choose.randint(1, 90),
            }
            payloads.append(json.dumps(event).encode())
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for number, payload in enumerate([*payloads, payloads[1]]):
        producer.produce(name, payload, partition=number % 2)
    assert producer.flush(30) == 0
    return name


def read_tables(folder: Path) -> dict[str, list[str]]:
    """Every row of every table as text, sorted, without what a run is told apart by; read with PyIceberg."""
    catalog = folder_place(str(folder)).open()
    tables: dict[str, list[str]] = {}
    for table in FILLED:
        rows: list[dict[str, Any]] = catalog.load_table(("clickstream", table.name)).scan().to_arrow().to_pylist()
        tables[table.name] = sorted(to_text(row, OF_THE_RUN) for row in rows)
    assert [name for _, name in catalog.list_tables("clickstream") if name not in tables] == [FORGOTTEN_USERS.name]
    return tables


def test_a_date_is_the_same_in_every_kind_of_session(stack: RunningStack, topic: str, tmp_path: Path) -> None:
    def alter(pipeline: dict[str, Any]) -> None:
        work_little(pipeline)
        pipeline["segmentation"]["min_sessions"] = 1

    pipeline = write_altered(tmp_path, CONFIG_DIR / "pipeline.yaml", alter)
    master = stack.settings.environment.spark.master
    cold = write_altered(tmp_path, stack.layout.environment_file, lambda content: content["spark"].update(remote=None))
    ways: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "classic": (("python", PROGRAM), {"LAKEHOUSE_ENV": cold}),
        "submit": (("spark-submit", "--master", master, PROGRAM), {"LAKEHOUSE_ENV": cold}),
        "connect": (("python", PROGRAM), {}),
    }
    kinds, tables = {}, {}
    for way, (command, variables) in ways.items():
        folder = tmp_path / way
        done = stack.run(*command, str(folder), topic, DATE, LAKEHOUSE_PIPELINE=pipeline, timeout=600, **variables)
        kinds[way] = next(line for line in done.stdout.splitlines() if line.startswith("pyspark.sql"))
        tables[way] = read_tables(folder)
    assert kinds == {
        "classic": "pyspark.sql.session",
        "submit": "pyspark.sql.session",
        "connect": "pyspark.sql.connect.session",
    }
    assert all(tables["classic"].values())
    assert tables["classic"] == tables["submit"] == tables["connect"]
