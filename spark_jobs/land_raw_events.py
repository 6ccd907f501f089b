"""Kafka -> raw_events, exactly once.

Input: every record of the topic from the offsets at which raw_events ends to the topic's end as of the start.
Output: raw_events, one row per record, partitioned by `event_date`; a record that fails a check is a row with an
`error_type`. The commit that adds the rows carries the offsets at which they end, so data and position cannot
disagree: a crash at any point repeats nothing and loses nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import config
from spark_jobs.event_schema import (
    TEXTS,
    TYPED,
    event_date,
    first_error,
    may_be_bad,
    parse_texts,
    parse_time,
    parse_types,
    typed_event,
)
from spark_jobs.forgotten_users import empty_records, read_tombstones
from spark_jobs.lakehouse import ConcurrentCommitError, Lakehouse
from spark_jobs.tables import RAW_EVENTS

Offsets = dict[int, int]
OFFSETS_KEY = "kafka-end-offsets"
# What the next landing reads in the snapshots of raw_events.
POSITION_KEYS = (OFFSETS_KEY,)
BROKER_TIMEOUT_SECONDS = 15
MAX_ATTEMPTS = 5


class LandingError(Exception):
    """The topic and raw_events do not fit together; the message says how and what to do."""


@dataclass(frozen=True)
class OffsetRange:
    """Records to land: per partition, from `start` (included) to `end` (excluded)."""

    start: Offsets
    end: Offsets

    @property
    def records(self) -> int:
        return sum(self.end.values()) - sum(self.start.values())


def read_topic_bounds(bootstrap_servers: str, topic: str) -> tuple[Offsets, Offsets]:
    """First available offset and end offset of each partition. Raises LandingError when broker or topic is missing."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "land_raw_events", "log_level": 0})
    try:
        metadata = consumer.list_topics(topic, timeout=BROKER_TIMEOUT_SECONDS).topics[topic]
        if metadata.error is not None:
            raise LandingError(f"topic {topic!r} at {bootstrap_servers}: {metadata.error.str()}; create it first")
        bounds = {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), BROKER_TIMEOUT_SECONDS)
            for partition in metadata.partitions
        }
    except KafkaException as error:
        raise LandingError(f"no Kafka broker answers at {bootstrap_servers}: {error}; is the stack up?") from error
    finally:
        consumer.close()
    return {p: low for p, (low, _) in bounds.items()}, {p: high for p, (_, high) in bounds.items()}


def plan_range(topic: str, committed: Offsets, earliest: Offsets, latest: Offsets) -> OffsetRange:
    """What to land: from the committed offsets, or a new partition's first one, to the topic's end.

    Raises LandingError where records that were never landed are gone, or the topic is not the one landed before.
    """
    start = {partition: committed.get(partition, earliest[partition]) for partition in sorted(latest)}
    if missing := sorted(set(committed) - set(latest)):
        raise LandingError(f"topic {topic!r} has lost the partitions {missing} that raw_events has landed from")
    for partition, offset in start.items():
        if offset > latest[partition]:
            raise LandingError(
                f"topic {topic!r}, partition {partition}: raw_events ends at offset {offset}, the topic at "
                f"{latest[partition]}: the topic was recreated; land it under another name"
            )
        if offset < earliest[partition]:
            raise LandingError(
                f"topic {topic!r}, partition {partition}: the broker has deleted the offsets {offset} to "
                f"{earliest[partition] - 1} before they were landed; raise the topic's retention"
            )
    return OffsetRange(start, dict(sorted(latest.items())))


def read_records(spark: SparkSession, bootstrap_servers: str, topic: str, offsets: OffsetRange) -> DataFrame:
    """Kafka's own columns for exactly the records of `offsets`."""
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", bootstrap_servers)
    reader = reader.option("subscribe", topic).option("failOnDataLoss", "true")
    reader = reader.option("startingOffsets", json.dumps({topic: {str(p): o for p, o in offsets.start.items()}}))
    return reader.option("endingOffsets", json.dumps({topic: {str(p): o for p, o in offsets.end.items()}})).load()


def classify_records(records: DataFrame) -> DataFrame:
    """Kafka's columns -> raw_events without `ingested_at`: typed event, or the first error."""
    return (
        records.withColumn("text", F.col("value").cast("string"))
        .withColumn(TYPED, parse_types(F.col("text")))
        .withColumn("parsed_time", parse_time())
        .withColumn("may_be_bad", may_be_bad())
        .withColumn(TEXTS, F.when(F.col("may_be_bad"), parse_texts(F.col("text"))))
        .withColumn("error", F.when(F.col("may_be_bad"), first_error()))
        .select(
            "topic",
            "partition",
            "offset",
            "timestamp",
            F.col("key").cast("string").alias("key"),
            F.col("value").alias("payload"),
            F.col("error.type").alias("error_type"),
            F.col("error.detail").alias("error_detail"),
            F.when(~F.col("may_be_bad"), typed_event(TYPED))
            .when(F.col("error").isNull(), typed_event(TEXTS))
            .alias("event"),
            event_date().alias("event_date"),
        )
    )


def land(lakehouse: Lakehouse, bootstrap_servers: str, topic: str, run_date: str | None) -> dict[str, object]:
    """Land what waits in the topic; returns the report. Raises LandingError, ConcurrentCommitError."""
    base = lakehouse.start_history(RAW_EVENTS)
    ends = json.loads(lakehouse.newest_summary(RAW_EVENTS, OFFSETS_KEY) or "{}")
    committed = {int(partition): offset for partition, offset in ends.get(topic, {}).items()}
    offsets = plan_range(topic, committed, *read_topic_bounds(bootstrap_servers, topic))
    report: dict[str, object] = {"topic": topic, "planned": offsets.records, "landed": 0}
    if offsets.records:
        records = read_records(lakehouse.spark, bootstrap_servers, topic, offsets)
        # Read after `base`: whoever is forgotten from now on changes raw_events, and this landing starts over.
        rows = classify_records(records).transform(empty_records, read_tombstones(lakehouse))
        rows = rows.withColumn("ingested_at", F.current_timestamp())
        summary = lakehouse.job_summary(
            run_date=run_date, kafka_start_offsets={topic: offsets.start}, kafka_end_offsets=ends | {topic: offsets.end}
        )
        report["landed"] = lakehouse.append_if_unchanged(RAW_EVENTS, rows, base, summary)
    return report


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    settings = config.load()
    parser = argparse.ArgumentParser(prog="land_raw_events.py", description="Land a Kafka topic in raw_events.")
    parser.add_argument("--bootstrap-servers", default=settings.environment.kafka.bootstrap_servers)
    parser.add_argument("--topic", default=settings.pipeline.topic.name)
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    parser.add_argument("--run-date", help="date of the pipeline run (YYYY-MM-DD), noted in the snapshot")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with Lakehouse("land_raw_events", config.load(), output_path=args.output_path) as lakehouse:
        lakehouse.create_tables()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                print(json.dumps(land(lakehouse, args.bootstrap_servers, args.topic, args.run_date)))
                return 0
            except ConcurrentCommitError as error:
                print(f"{error}; attempt {attempt} of {MAX_ATTEMPTS}", file=sys.stderr)
            except LandingError as error:
                print(f"land_raw_events: {error}", file=sys.stderr)
                return 1
    print("land_raw_events: other writers kept winning; nothing was landed, run it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
