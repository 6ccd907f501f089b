"""Where records go: a Kafka topic, a file, or a list in a test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from config.loader import Kafka, Topic

CONNECT_TIMEOUT_SECONDS = 8
DELIVERY_TIMEOUT_SECONDS = 60
QUEUE_FULL_POLL_SECONDS = 0.05
POLL_EVERY_RECORDS = 20_000

# Processor time for 500,000 records of about 400 bytes: lz4 1.3 s, zstd 1.8 s.
PRODUCER_OPTIONS: dict[str, str | int | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # the same partition for a key as Java clients choose
    "linger.ms": 50,
    "batch.size": 1_000_000,
    "message.max.bytes": 2_097_152,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 262_144,
    "message.timeout.ms": DELIVERY_TIMEOUT_SECONDS * 1000,
    # Python is called only for a failure; what was queued, did not fail and left the queue was delivered.
    "delivery.report.only.error": True,
    "log_level": 0,  # errors come through the error callback and are told once
}


class DeliveryError(Exception):
    """The broker cannot be reached, or does not take the records."""


@dataclass(frozen=True)
class Records:
    """Parallel lists, one entry per Kafka record; timestamps in milliseconds since 1970 UTC.

    `headers` is empty where no record has any.
    """

    keys: list[bytes | None]
    values: list[bytes]
    timestamps_ms: list[int]
    headers: list[list[tuple[str, str | bytes | None]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Delivery:
    """What became of the published records; `reason` is the last error, if any."""

    delivered: int
    undelivered: int
    reason: str | None = None


class Sink(Protocol):
    """Takes records in order; `close` waits until their fate is known and may be called more than once."""

    def publish(self, records: Records) -> None: ...

    def close(self) -> Delivery: ...


class KafkaSink:
    """Publishes to one topic with an idempotent producer, and makes the topic where there is none.

    Raises:
        DeliveryError: on construction, within about ten seconds, when no broker answers.
    """

    def __init__(self, kafka: Kafka, topic: Topic) -> None:
        self._topic = topic.name
        self._address = kafka.bootstrap_servers
        self._queued = 0
        self._failed = 0
        self._reason: str | None = None
        connection = connection_options(kafka)
        self._producer = Producer({**connection, **PRODUCER_OPTIONS, "error_cb": self._remember_error})
        self._ensure_topic(connection, topic)

    def publish(self, records: Records) -> None:
        produce, poll = self._producer.produce, self._producer.poll
        topic, on_failure = self._topic, self._count_failure
        all_headers = records.headers or repeat(None, len(records))
        for number, (key, value, timestamp, headers) in enumerate(
            zip(records.keys, records.values, records.timestamps_ms, all_headers, strict=True), start=1
        ):
            while True:
                try:
                    produce(topic, value, key, on_delivery=on_failure, timestamp=timestamp, headers=headers)
                    break
                except BufferError:
                    poll(QUEUE_FULL_POLL_SECONDS)
                except KafkaException as error:
                    self._failed += 1
                    self._reason = error.args[0].str()
                    break
            if number % POLL_EVERY_RECORDS == 0:
                poll(0)
        self._queued += len(records)
        poll(0)

    def close(self) -> Delivery:
        """Wait for every record; the ones that no broker took within a minute count as undelivered."""
        waiting = self._producer.flush(DELIVERY_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS)
        undelivered = self._failed + waiting
        reason = self._reason if undelivered else None
        return Delivery(delivered=self._queued - undelivered, undelivered=undelivered, reason=reason)

    def _ensure_topic(self, connection: dict[str, str], topic: Topic) -> None:
        try:
            known = self._producer.list_topics(timeout=CONNECT_TIMEOUT_SECONDS).topics
        except KafkaException as error:
            raise DeliveryError(
                f"no Kafka broker answers at {self._address}: {self._reason or error.args[0].str()}"
            ) from error
        if self._topic in known:
            return
        admin = AdminClient({**connection, "log_level": 0})
        created = admin.create_topics([NewTopic(topic.name, num_partitions=topic.partitions, config=topic.options)])
        try:
            created[self._topic].result(timeout=CONNECT_TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise DeliveryError(
                    f"cannot create topic {self._topic} at {self._address}: {error.args[0].str()}"
                ) from error

    def _remember_error(self, error: KafkaError) -> None:
        self._reason = error.str()

    def _count_failure(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed += 1
            self._reason = error.str()


class FileSink:
    """Writes the values to a file, one a line; keys and timestamps are left out."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self._written = 0

    def publish(self, records: Records) -> None:
        self._file.writelines(value + b"\n" for value in records.values)
        self._written += len(records)

    def close(self) -> Delivery:
        self._file.close()
        return Delivery(delivered=self._written, undelivered=0)


class ListSink:
    """Appends the records to a list: (key, value, timestamp)."""

    def __init__(self, records: list[tuple[bytes | None, bytes, int]] | None = None) -> None:
        self.records = [] if records is None else records
        self._published = 0

    def publish(self, records: Records) -> None:
        self.records.extend(zip(records.keys, records.values, records.timestamps_ms, strict=True))
        self._published += len(records)

    def close(self) -> Delivery:
        return Delivery(delivered=self._published, undelivered=0)


def connection_options(kafka: Kafka) -> dict[str, str]:
    """librdkafka options to reach the broker; user and password come from KAFKA_USERNAME and KAFKA_PASSWORD."""
    options = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        try:
            options["sasl.username"] = os.environ["KAFKA_USERNAME"]
            options["sasl.password"] = os.environ["KAFKA_PASSWORD"]
        except KeyError as error:
            raise DeliveryError(f"{kafka.security_protocol} needs the environment variable {error}") from error
        options["sasl.mechanism"] = os.environ.get("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    return options
