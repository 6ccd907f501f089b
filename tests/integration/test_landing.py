"""Landing against a real broker and a real Glue: whatever happens to the topic or to the job, nothing is lost, nothing
is landed twice, and nothing is left out in silence.

Each test has a topic of its own; the tables lie in a Glue database of their own, so that other tests do not see them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from pyspark.sql import SparkSession

from config.catalog import open_catalog
from config.loader import CONFIG_DIR, PROJECT_ROOT
from infra.local.airflow_runs import AirflowApi
from spark_jobs import land_raw_events
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import KAFKA_GAPS, KAFKA_LEFT_OUT, LeftOut
from spark_jobs.lake.tables import RAW_EVENTS
from spark_jobs.land_raw_events import Accepted, LandingError, land
from spark_jobs.requeue_quarantined import parse_arguments, requeue
from tests.altered_settings import write_altered
from tests.running_stack import RunningStack, inherited_variables, wait_until

DATABASE = "landing_test"
SEEN_AT_MS = 1_743_498_000_000  # 2025-04-01 09:00 UTC
# The job's own main, on the tables of this test.
LAND = f"""
import dataclasses, sys
import config
settings = config.load()
ours = dataclasses.replace(settings, paths=dataclasses.replace(settings.paths, database="{DATABASE}"))
config.load = lambda: ours
from spark_jobs import land_raw_events
sys.exit(land_raw_events.main())
"""


@dataclasses.dataclass(frozen=True)
class Topic:
    """One topic, and raw_events as far as it comes from there."""

    name: str
    admin: AdminClient
    lakehouse: Lakehouse
    servers: str

    def create(self, partitions: int) -> None:
        options = {"retention.ms": "-1", "max.message.bytes": "2097152"}
        new = NewTopic(self.name, num_partitions=partitions, config=options)
        self.admin.create_topics([new])[self.name].result(timeout=30)

    def recreate(self, partitions: int) -> None:
        self.admin.delete_topics([self.name])[self.name].result(timeout=30)
        wait_until(lambda: self.name not in self.admin.list_topics(timeout=10).topics)
        self.create(partitions)

    def publish(self, partition: int, count: int, note: str = "") -> None:
        """Valid events to one partition."""
        self.publish_values(partition, [event(note) for _ in range(count)])

    def publish_values(self, partition: int, values: Sequence[bytes | None]) -> None:
        # Idempotent: a repeated batch must not come behind the next one.
        options = {"message.max.bytes": 2_000_000, "enable.idempotence": True}
        producer = Producer({"bootstrap.servers": self.servers, **options})
        for value in values:
            producer.produce(self.name, value, b"007", partition, timestamp=SEEN_AT_MS)
        assert producer.flush(30) == 0

    def delete_before(self, partition: int, offset: int) -> None:
        """What retention does."""
        at = TopicPartition(self.name, partition, offset)
        self.admin.delete_records([at])[at].result(timeout=30)

    def land(self, accepted: Accepted = Accepted()) -> dict[str, Any]:  # noqa: B008 (frozen)
        return dict(land(self.lakehouse, self.servers, self.name, None, accepted))

    def landed(self) -> list[tuple[int, int]]:
        """Partition and offset of every row, sorted."""
        rows = (
            self.lakehouse.main.read(RAW_EVENTS).where(f"topic = '{self.name}'").select("partition", "offset").collect()
        )
        return sorted((row.partition, row.offset) for row in rows)


def event(note: str = "") -> bytes:
    fields = {"event_id": str(uuid.uuid4()), "event_time": "2025-04-01T08:15:30.125Z", "event_type": "view"}
    return json.dumps(fields | {"user_id": "007", "search_query": note}).encode()


def offsets(**ends: int) -> list[tuple[int, int]]:
    """Every offset of each partition from 0 to its end: `p0=3, p1=2`."""
    return [(int(name[1:]), offset) for name, end in sorted(ends.items()) for offset in range(end)]


@pytest.fixture(scope="module")
def lakehouse(stack: RunningStack, spark: SparkSession) -> Iterator[Lakehouse]:
    """A database of its own in the stack's Glue; the stack's keys are those of the Spark server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        settings = stack.settings
        ours = dataclasses.replace(settings, paths=dataclasses.replace(settings.paths, database=DATABASE))
        yield Lakehouse(spark, ours)


@pytest.fixture
def topic(stack: RunningStack, lakehouse: Lakehouse, request: pytest.FixtureRequest) -> Topic:
    servers = stack.settings.environment.kafka.bootstrap_servers
    name = f"{request.node.name[:40]}_{uuid.uuid4().hex[:6]}"
    return Topic(name, AdminClient({"bootstrap.servers": servers, "log_level": 0}), lakehouse, servers)


def start_landing(stack: RunningStack, topic: Topic, **variables: str) -> subprocess.Popen[str]:
    """The job in a process of its own, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", LAND, "--topic", topic.name],
        env={**inherited_variables(), **stack.environment, **variables},
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def small_commits(folder: Path, records: int) -> dict[str, str]:
    def alter(pipeline: dict[str, Any]) -> None:
        pipeline["landing"]["records_per_commit"] = records

    return {"LAKEHOUSE_PIPELINE": write_altered(folder, CONFIG_DIR / "pipeline.yaml", alter)}


def test_of_two_landings_at_once_each_record_lands_exactly_once(stack: RunningStack, topic: Topic) -> None:
    topic.create(2)
    topic.publish(0, 300)
    topic.publish(1, 200)
    both = [start_landing(stack, topic), start_landing(stack, topic)]
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    reports = [json.loads(output.splitlines()[-1]) for output, _ in said]
    assert sorted(report["landed"] for report in reports) == [0, 500]
    assert topic.landed() == offsets(p0=300, p1=200)


def test_a_landing_that_another_overtakes_goes_on_from_where_that_one_ended(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_landing = land_raw_events.plan_landing

    def plan_and_be_overtaken(*known: Any) -> land_raw_events.LandingPlan:
        plan = plan_landing(*known)
        with monkeypatch.context() as patch:
            patch.setattr(land_raw_events, "plan_landing", plan_landing)
            topic.land()
        topic.publish(0, 2)
        overtaken.append(plan)
        if len(overtaken) == times:
            monkeypatch.setattr(land_raw_events, "plan_landing", plan_landing)
        return plan

    topic.create(1)
    topic.publish(0, 5)
    overtaken: list[land_raw_events.LandingPlan] = []
    times = 1
    monkeypatch.setattr(land_raw_events, "plan_landing", plan_and_be_overtaken)
    assert topic.land()["landed"] == 2
    assert "raw_events has changed since snapshot" in capsys.readouterr().err
    assert topic.landed() == offsets(p0=7)
    topic.publish(0, 1)
    overtaken.clear()
    times = land_raw_events.MAX_ATTEMPTS
    monkeypatch.setattr(land_raw_events, "plan_landing", plan_and_be_overtaken)
    with pytest.raises(LandingError, match="other writers kept winning; 0 records were landed, run it again"):
        topic.land()
    assert topic.land()["landed"] == 2
    assert topic.landed() == offsets(p0=18)


def test_a_landing_killed_between_two_commits_loses_and_repeats_nothing(
    stack: RunningStack, topic: Topic, tmp_path: Path
) -> None:
    topic.create(1)
    topic.publish(0, 400)
    process = start_landing(stack, topic, **small_commits(tmp_path, 10))
    raw = open_catalog(stack.settings).load_table((DATABASE, "raw_events"))

    def has_committed_twice() -> bool:
        assert process.poll() is None, process.communicate()
        summaries = [s.summary.additional_properties for s in raw.refresh().snapshots() if s.summary]
        commits = [summary for summary in summaries if topic.name in summary.get("kafka-end-offsets", "")]
        return len(commits) >= 2

    wait_until(has_committed_twice, seconds=300)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = topic.landed()
    assert before == offsets(p0=len(before))
    assert 10 <= len(before) < 400
    assert topic.land()["landed"] == 400 - len(before)
    assert topic.landed() == offsets(p0=400)


def left_out(topic: Topic) -> int | None:
    """Records in the gaps of all landings so far; None where nobody knows."""
    noted: dict[str, LeftOut] = topic.lakehouse.find_note(RAW_EVENTS, KAFKA_LEFT_OUT) or {}
    return noted[topic.name]["records"] if topic.name in noted else 0


def test_records_that_retention_deleted_are_an_error_and_on_request_a_recorded_gap(topic: Topic) -> None:
    topic.create(2)
    topic.publish(0, 10)
    assert topic.land()["landed"] == 10
    topic.publish(0, 10)
    topic.publish(1, 5)
    topic.delete_before(0, 14)
    topic.delete_before(1, 5)
    with pytest.raises(LandingError, match=r"partition 0: 10 to 14, partition 1: 0 to 5.*--accept-gap"):
        topic.land()
    assert topic.landed() == offsets(p0=10)
    gaps = [
        {"partition": 0, "from": 10, "to": 14, "reason": "deleted"},
        {"partition": 1, "from": 0, "to": 5, "reason": "deleted"},
    ]
    report = topic.land(Accepted(gap=True))
    assert (report["landed"], report["gaps"]) == (6, gaps)
    assert topic.lakehouse.find_note(RAW_EVENTS, KAFKA_GAPS) == gaps
    assert left_out(topic) == 4 + 5
    assert topic.landed() == [place for place in offsets(p0=20) if not 10 <= place[1] < 14]
    assert topic.land()["landed"] == 0  # the gap is behind us
    topic.publish(0, 1)
    assert topic.land()["landed"] == 1
    assert left_out(topic) == 4 + 5


def test_a_gap_with_nothing_behind_it_moves_the_position_too(topic: Topic) -> None:
    topic.create(1)
    topic.publish(0, 5)
    topic.delete_before(0, 5)
    report = topic.land(Accepted(gap=True))
    assert (report["landed"], len(report["gaps"])) == (0, 1)
    topic.publish(0, 2)
    assert topic.land()["landed"] == 2
    assert topic.landed() == [(0, 5), (0, 6)]


def test_a_recreated_topic_is_noticed_although_it_has_grown_beyond_the_landed_offsets(topic: Topic) -> None:
    topic.create(1)
    topic.publish(0, 3, "old")
    topic.land()
    topic.recreate(1)
    topic.publish(0, 8, "new")
    with pytest.raises(LandingError, match=r"recreated .*--accept-new-topic"):
        topic.land()
    assert topic.landed() == offsets(p0=3)
    report = topic.land(Accepted(new_topic=True))
    assert report["gaps"] == [{"partition": 0, "from": 3, "to": None, "reason": "new topic"}]
    assert left_out(topic) is None
    assert topic.landed() == sorted(offsets(p0=3) + offsets(p0=8))
    topic.publish(0, 1)
    assert topic.land()["landed"] == 1


def test_added_partitions_are_landed_from_their_start(topic: Topic) -> None:
    topic.create(1)
    topic.publish(0, 3)
    topic.land()
    topic.admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result(timeout=30)
    wait_until(lambda: len(topic.admin.list_topics(topic.name, timeout=10).topics[topic.name].partitions) == 3)
    topic.publish(1, 4)
    topic.publish(2, 2)
    assert topic.land()["gaps"] == []
    assert topic.landed() == offsets(p0=3, p1=4, p2=2)


MALFORMED: list[tuple[bytes | None, str]] = [
    (None, "empty_value"),
    (b"", "empty_value"),
    (event("x" * 1_000_000), "too_large"),
    (event().replace(b"007", b"\xff"), "not_utf8"),
    (event().replace(b"007", b"\x00"), "nul_byte"),
    (event().replace(b'"007"', b"[" * 100_000 + b"]" * 100_000), "nested_too_deep"),
    (b"<html>", "not_json"),
    (event() + event(), "not_json"),
    (event().replace(b"user_id", b"user"), "missing_field"),
    (event().replace(b'"007"', b"7"), "wrong_type"),
    (event().replace(b'"event_id": "', b'"event_id": "x'), "bad_event_id"),
    (event().replace(b'"view"', b'"hover"'), "unknown_event_type"),
    (event().replace(b"04-01T", b"02-30T"), "bad_event_time"),
    (event().replace(b"2025-", b"9999-"), "impossible_event_time"),
    (event().replace(b'"007"', b'"0\\u0000"'), "nul_character"),
    (event().replace(b"{", b'{"price": -1, '), "bad_price"),
]


def test_every_malformed_record_becomes_a_row_with_its_reason_and_its_payload(topic: Topic) -> None:
    topic.create(1)
    topic.publish_values(0, [value for value, _ in MALFORMED])
    assert topic.land()["landed"] == len(MALFORMED)
    rows = topic.lakehouse.main.read(RAW_EVENTS).where(f"topic = '{topic.name}'").orderBy("offset").collect()
    assert [row.error_type for row in rows] == [error for _, error in MALFORMED]
    assert [None if row.payload is None else bytes(row.payload) for row in rows] == [value for value, _ in MALFORMED]
    assert all(row.error_detail for row in rows)
    assert {str(row.event_date) for row in rows} == {"2025-04-01"}


def test_requeueing_twice_lands_a_corrected_record_once(topic: Topic, capsys: pytest.CaptureFixture[str]) -> None:
    topic.create(1)
    topic.publish_values(0, [event().replace(b"{", b'{"price": -%d, ' % price) for price in (1, 2)] + [b"hopeless"])
    topic.land()
    command = ["--where", "true", "--topic", topic.name, "--bootstrap-servers", topic.servers]
    correction = ["--payload", "replace(payload_text, '\"price\": -', '\"price\": ')"]
    requeue(topic.lakehouse, parse_arguments([*command, *correction, "--dry-run"]))
    assert topic.land()["landed"] == 0
    requeue(topic.lakehouse, parse_arguments([*command, *correction]))
    said = capsys.readouterr().out
    assert "1 still fail: not_json" in said
    assert "make backfill FROM=2025-04-01 TO=2025-04-01" in said
    assert topic.land()["landed"] == 2
    requeue(topic.lakehouse, parse_arguments([*command, *correction]))
    assert "nothing to publish" in capsys.readouterr().out
    assert topic.land()["landed"] == 0
    rows = topic.lakehouse.main.read(RAW_EVENTS).where(f"topic = '{topic.name}'").orderBy("offset").collect()
    assert [(row.error_type, row.requeued_from, row.key) for row in rows] == [
        ("bad_price", None, "007"),
        ("bad_price", None, "007"),
        ("not_json", None, "007"),
        (None, f"{topic.name}/0/0", "007"),
        (None, f"{topic.name}/0/1", "007"),
    ]
    assert {row.timestamp for row in rows} == {rows[0].timestamp}
    assert [int(row.event.price) for row in rows[3:]] == [1, 2]


def test_the_pool_of_the_landing_task_has_one_slot(stack: RunningStack) -> None:
    pool = AirflowApi(stack.layout).request("GET", f"/pools/{stack.settings.pipeline.landing.pool}")
    assert pool["slots"] == 1
