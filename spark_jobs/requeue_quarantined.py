"""Quarantined rows of raw_events -> Kafka again, corrected or as they are.

Input: the quarantined rows that meet `--where` (a Spark SQL condition over the columns of the view
`quarantined_events`) and whose successor has not landed yet.
Output: on the topic, one record for each row whose payload, or what `--payload` makes of it, passes today's checks:
with the key and the Kafka timestamp of the original and a header that names it (topic/partition/offset), which landing
puts into `raw_events.requeued_from`. What still fails is reported by reason and stays where it is.

An event that was clean already is a duplicate of it, as any other copy is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import config
from config import Settings
from data_generator.kafka_sink import DeliveryError, KafkaSink, Records
from spark_jobs.errors import JobError
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.session import persisted
from spark_jobs.lake.tables import RAW_EVENTS
from spark_jobs.land_raw_events import REQUEUED_FROM, classify_records

CHUNK_RECORDS = 5_000


class RequeueError(JobError):
    """Nothing, or not all, was published; the message says why and what to do."""


def read_quarantine(raw: DataFrame) -> DataFrame:
    """raw_events -> the rows of the view `quarantined_events`; `requeued_at` is null while a row is open."""
    successors = (
        raw.where(F.col("requeued_from").isNotNull())
        .groupBy(F.col("requeued_from").alias("place"))
        .agg(F.max("ingested_at").alias("requeued_at"))
    )
    quarantined = (
        raw.where(F.col("error_type").isNotNull())
        .drop("event", "requeued_from")
        .withColumn("payload_text", F.make_valid_utf8(F.col("payload").cast("string")))
        .withColumn("place", F.concat_ws("/", "topic", "partition", "offset"))
    )
    # A row of a recreated topic may stand in the place of an older one.
    is_successor = (quarantined["place"] == successors["place"]) & (
        successors["requeued_at"] > quarantined["ingested_at"]
    )
    return quarantined.join(successors, is_successor, "left").drop(successors["place"])


def correct_payloads(quarantined: DataFrame, payload: str | None) -> DataFrame:
    """The rows as Kafka records with the payload that the SQL expression gives, judged by today's checks.

    One row each: the columns of raw_events, `place` of the original in `requeued_from`.
    """
    value = F.expr(payload).cast("binary") if payload else F.col("payload")
    header = F.struct(F.lit(REQUEUED_FROM).alias("key"), F.col("place").cast("binary").alias("value"))
    records = quarantined.select(
        "topic",
        "partition",
        "offset",
        "timestamp",
        F.col("key").cast("binary").alias("key"),
        value.alias("value"),
        F.array(header).alias("headers"),
    )
    return classify_records(records)


def publish(rows: DataFrame, settings: Settings, bootstrap_servers: str, topic: str) -> int:
    """Publish rows of `correct_payloads`; returns how many were delivered. Raises DeliveryError."""
    kafka = dataclasses.replace(settings.environment.kafka, bootstrap_servers=bootstrap_servers)
    sink = KafkaSink(kafka, dataclasses.replace(settings.pipeline.topic, name=topic))
    records = Records([], [], [], [])
    for row in rows.withColumn("timestamp_ms", F.unix_millis("timestamp")).toLocalIterator():
        records.keys.append(None if row.key is None else row.key.encode())
        records.values.append(bytes(row.payload))
        records.timestamps_ms.append(row.timestamp_ms)
        records.headers.append([(REQUEUED_FROM, row.requeued_from.encode())])
        if len(records) == CHUNK_RECORDS:
            sink.publish(records)
            records = Records([], [], [], [])
    sink.publish(records)
    delivery = sink.close()
    if delivery.undelivered:
        raise DeliveryError(
            f"{delivery.undelivered} of the records were not delivered to {bootstrap_servers} "
            f"({delivery.delivered} were): {delivery.reason}; land what was, then run it again"
        )
    return delivery.delivered


def requeue(lakehouse: Lakehouse, arguments: argparse.Namespace) -> None:
    """Judge the open rows that the arguments choose, and publish what passes. Raises DeliveryError."""
    quarantined = read_quarantine(lakehouse.main.read(RAW_EVENTS)).where(F.col("topic") == arguments.topic)
    is_open = F.col("requeued_at").isNull()
    chosen = quarantined.where(is_open).where(F.expr(arguments.where))
    # Judged once; and a filter on the verdict must not be pushed into it, where each check would stand many times.
    # Released at the end: Spark would answer the next call in this session from it, whatever has landed since.
    with persisted(correct_payloads(chosen, arguments.payload)) as rows:
        publish_passing(rows, lakehouse.settings, arguments)


def publish_passing(rows: DataFrame, settings: Settings, arguments: argparse.Namespace) -> None:
    """Publish the rows of `correct_payloads` that pass, unless it is a dry run, and print what became of all."""
    failing = rows.where(F.col("error_type").isNotNull()).groupBy("error_type")
    reasons = failing.agg(F.count("*").alias("records"), F.min("error_detail").alias("example"))
    passing = rows.where(F.col("error_type").isNull())
    dates = passing.groupBy("event_date").agg(F.count("*").alias("records")).orderBy("event_date").collect()
    for row in reasons.orderBy(F.desc("records"), "error_type").collect():
        print(f"{row.records:>9,} still fail: {row.error_type}, e.g. {row.example}")
    for row in dates:
        print(f"{row.records:>9,} pass, of {row.event_date}")
    if not dates:
        print("nothing to publish")
    elif arguments.dry_run:
        print("dry run: nothing was published")
    else:
        delivered = publish(passing, settings, arguments.bootstrap_servers, arguments.topic)
        print(
            f"{delivered:,} published to {arguments.topic}. The next run of the DAG lands them and rebuilds those of "
            f"the {settings.pipeline.transform.allowed_lateness_days} days before its date; then, for the others:\n"
            f"  make backfill FROM={dates[0].event_date} TO={dates[-1].event_date}"
        )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    settings = config.load()
    parser = argparse.ArgumentParser(prog="requeue_quarantined.py", description="Publish quarantined records again.")
    parser.add_argument("--where", required=True, help="Spark SQL condition over the columns of quarantined_events")
    parser.add_argument("--payload", help="Spark SQL expression over payload_text: the corrected payload")
    parser.add_argument("--dry-run", action="store_true", help="publish nothing, say what would be")
    parser.add_argument("--bootstrap-servers", default=settings.environment.kafka.bootstrap_servers)
    parser.add_argument("--topic", default=settings.pipeline.topic.name)
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    return parser.parse_args(argv)


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with open_lakehouse("requeue_quarantined", config.load(), output_path=args.output_path) as lakehouse:
        try:
            requeue(lakehouse, args)
        except (DeliveryError, PySparkException) as error:
            raise RequeueError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
