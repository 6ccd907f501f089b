"""The generator and the replay against a real broker and a real S3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from config import Settings
from data_generator.truth import produced_by_date, read_manifest
from tests.running_stack import RunningStack
from tests.unit.data_generator.builders import HEADER, date_of_ms, make_row

PRODUCER = "data_generator/event_producer.py"
REPLAY = "data_generator/dataset_replay.py"
PROCESS_SECONDS = 60


def consume(settings: Settings, topic: str) -> list[Message]:
    """Everything that the topic holds."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.environment.kafka.bootstrap_servers,
            "group.id": f"test-{uuid.uuid4()}",
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + PROCESS_SECONDS
        while len(messages) < sum(ends.values()):
            assert time.monotonic() < deadline, "the topic could not be read to its end"
            for message in consumer.consume(5000, timeout=1):
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                messages.append(message)
        return messages
    finally:
        consumer.close()


def new_topic() -> str:
    return f"clicks-{uuid.uuid4().hex[:8]}"


def test_a_whole_date_reaches_kafka_and_its_truth_reaches_s3(stack: RunningStack) -> None:
    topic = new_topic()
    day = date(2025, 4, 1)
    command = [sys.executable, PRODUCER, "--date", str(day), "--events", "20000", "--topic", topic]
    before = produced_by_date(stack.settings, topic)
    stack.run(*command, "--late-rate", "0.01", "--duplicate-rate", "0.01", "--malformed-rate", "0.01")
    messages = consume(stack.settings, topic)

    assert len(messages) == 20_000 + 200 + 200
    assert {date_of_ms(message.timestamp()[1]) for message in messages} == {day}
    partitions_of = defaultdict(set)
    for message in messages:
        partitions_of[message.key()].add(message.partition())
    assert all(len(partitions) == 1 for partitions in partitions_of.values()), "a user stays in one partition"
    per_partition = Counter(message.partition() for message in messages)
    assert len(per_partition) == stack.settings.pipeline.topic.partitions
    assert max(per_partition.values()) < 2 * min(per_partition.values())
    assert any(message.value() == b"" for message in messages), "an empty value stays empty"

    manifest = read_manifest(stack.settings, day, topic)
    assert manifest is not None
    assert manifest.by_kind == {"clean": 19_800, "late": 200, "duplicate": 200, "malformed": 200}
    after = produced_by_date(stack.settings, topic)
    assert sum(after.values()) - sum(before.values()) == len(messages)

    again = stack.run(*command, "--late-rate", "0.01",
                      "--duplicate-rate", "0.01", "--malformed-rate", "0.01")  # fmt: skip
    assert "already published" in again.stdout
    assert len(consume(stack.settings, topic)) == len(messages)


def test_users_go_to_the_partition_that_java_clients_choose(stack: RunningStack) -> None:
    topic = new_topic()
    stack.run(sys.executable, PRODUCER, "--date", "2025-04-02", "--events", "500", "--topic", topic, "--no-truth")
    for message in consume(stack.settings, topic):
        key = message.key()
        assert key is not None
        assert message.partition() == (murmur2(key) & 0x7FFFFFFF) % stack.settings.pipeline.topic.partitions


def murmur2(data: bytes) -> int:
    """As org.apache.kafka.common.utils.Utils.murmur2 has it."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def test_the_live_command_publishes_as_written_in_tutorials(stack: RunningStack) -> None:
    topic = new_topic()
    servers = stack.settings.environment.kafka.bootstrap_servers
    started_ms = time.time_ns() // 1_000_000
    options = ["--bootstrap-servers", servers, "--topic", topic, "--duration", "3", "--malformed-rate", "0"]
    stack.run(sys.executable, PRODUCER, *options)
    messages = consume(stack.settings, topic)
    assert 600 <= len(messages) <= 660
    assert all(message.timestamp()[1] >= started_ms for message in messages)


def test_a_replayed_file_reaches_kafka_with_its_broken_row(stack: RunningStack, tmp_path: Path) -> None:
    topic = new_topic()
    file = tmp_path / f"{topic}.csv"
    file.write_text("\n".join([HEADER, make_row(), make_row(), "broken"]) + "\n", encoding="utf-8")
    before = produced_by_date(stack.settings, topic)
    done = stack.run(sys.executable, REPLAY, str(file), "--topic", topic)
    assert f"{file.name}:4: 1 fields instead of 9" in done.stderr
    values = Counter(message.value() for message in consume(stack.settings, topic))
    assert values.pop(b"broken") == 1
    [(event, count)] = values.items()
    assert (json.loads(event or b"")["user_id"], count) == ("541312140", 2)
    added = Counter(produced_by_date(stack.settings, topic)) - Counter(before)
    assert added == {"2019-10-01": 3}


@pytest.mark.parametrize("command", [[PRODUCER, "--date", "2025-04-01"], [PRODUCER, "--duration", "30"]])
def test_an_unreachable_broker_is_a_clear_error_within_seconds(command: list[str]) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command, "--no-truth", "--bootstrap-servers", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 20
