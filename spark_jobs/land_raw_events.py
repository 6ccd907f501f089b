"""Kafka -> raw_events, exactly once.

Input: every record of the topic from the offsets at which raw_events ends to the topic's end as of the start.
Output: raw_events, one row per record, partitioned by `event_date`; a record that fails a check is a row with an
`error_type`. The range is planned up front and landed in commits of `landing.records_per_commit`. Each commit carries
the offsets at which its rows end, so data and position cannot disagree: a crash at any point repeats nothing and loses
nothing. What cannot be landed (the broker deleted it, the topic is another one) ends the run with an error; where the
caller accepts it, it stands in the commit as a gap.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import config
from spark_jobs.errors import ConcurrentCommitError, JobError
from spark_jobs.event_schema import (
    EXACT,
    PARSED,
    TEXT,
    TIME,
    TYPED,
    VARIANT,
    event_date,
    exact_event,
    first_error,
    may_be_bad,
    only_event,
    parse_exactly,
    parse_time,
    parse_types,
    typed_event,
)
from spark_jobs.forgotten_users import empty_records, read_tombstones
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.notes import (
    KAFKA_END_OFFSETS,
    KAFKA_GAPS,
    KAFKA_LEFT_OUT,
    KAFKA_START_OFFSETS,
    KAFKA_TOPIC_IDS,
    RUN_DATE,
    LeftOut,
)
from spark_jobs.lake.retry import retry_on_conflict
from spark_jobs.lake.tables import RAW_EVENTS

Offsets = dict[int, int]
BROKER_TIMEOUT_SECONDS = 15
MAX_ATTEMPTS = 5
REQUEUED_FROM = "requeued-from"  # header of a record that publishes a quarantined one again


class LandingError(JobError):
    """The topic and raw_events do not fit together; the message says how and what to do."""


@dataclass(frozen=True)
class TopicState:
    """A topic as the broker has it: first available and end offset of each partition.

    `id` is Kafka's own: a topic that was deleted and made again under the same name has another.
    """

    id: str
    earliest: Offsets
    latest: Offsets


@dataclass(frozen=True)
class Position:
    """Where raw_events ends in a topic; `topic_id` is None where no retained snapshot has it."""

    topic_id: str | None
    offsets: Offsets


@dataclass(frozen=True)
class History:
    """The position of raw_events in every topic that was ever landed, and what the gaps before it have left out."""

    ends: dict[str, dict[str, int]]
    topic_ids: dict[str, str]
    left_out: dict[str, LeftOut]

    def position(self, topic: str) -> Position:
        ends = {int(partition): offset for partition, offset in self.ends.get(topic, {}).items()}
        return Position(self.topic_ids.get(topic), ends)


@dataclass(frozen=True)
class Accepted:
    """What the caller lets a landing leave out: `gap`, offsets that the broker has deleted; `new_topic`, what a topic
    that has taken the place of the one landed before held beyond the landed offsets."""

    gap: bool = False
    new_topic: bool = False


@dataclass(frozen=True)
class Gap:
    """Offsets of a partition that are never landed: from `start` to `end` (excluded; None: nobody knows how many)."""

    partition: int
    start: int
    end: int | None
    reason: str

    def describe(self) -> dict[str, Any]:
        """As it stands in a snapshot's summary and in pipeline_runs."""
        return {"partition": self.partition, "from": self.start, "to": self.end, "reason": self.reason}


@dataclass(frozen=True)
class LandingPlan:
    """Records to land: per partition, from `start` (included) to `end` (excluded); `gaps` lie before `start`."""

    start: Offsets
    end: Offsets
    gaps: tuple[Gap, ...] = ()

    @property
    def records(self) -> int:
        return sum(self.end.values()) - sum(self.start.values())

    def split(self, records_per_commit: int) -> Iterator[LandingPlan]:
        """The plan of each commit, in order: an equal share of every partition, so that their dates stay together.

        A share is rounded in each partition by itself: a commit may hold one record more for each. The first one
        carries the gaps; a plan without records and gaps has no commit.
        """
        commits = max(-(-self.records // records_per_commit), 1 if self.gaps else 0)

        def bounds(number: int) -> Offsets:
            return {p: start + (self.end[p] - start) * number // commits for p, start in self.start.items()}

        for number in range(commits):
            yield LandingPlan(bounds(number), bounds(number + 1), () if number else self.gaps)


def read_topic(bootstrap_servers: str, topic: str) -> TopicState:
    """Raises LandingError when broker or topic is missing."""
    connection: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    consumer = Consumer({**connection, "group.id": "land_raw_events"})
    admin = AdminClient(connection)  # has to outlive the answer
    try:
        asked = admin.describe_topics(TopicCollection([topic]), request_timeout=BROKER_TIMEOUT_SECONDS)
        described = asked[topic].result()
        bounds = {
            at.id: consumer.get_watermark_offsets(TopicPartition(topic, at.id), BROKER_TIMEOUT_SECONDS)
            for at in described.partitions
        }
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise LandingError(f"topic {topic!r} at {bootstrap_servers}: {reason.str()}; create it first") from error
        raise LandingError(f"no Kafka broker answers at {bootstrap_servers}: {error}; is the stack up?") from error
    finally:
        consumer.close()
    return TopicState(
        id=str(described.topic_id),
        earliest={partition: low for partition, (low, _) in bounds.items()},
        latest={partition: high for partition, (_, high) in bounds.items()},
    )


def read_history(lakehouse: Lakehouse) -> History:
    """Where the newest landing of raw_events ends: by its snapshot, or by the rows where that has been expired by
    somebody who does not know of it (Athena's VACUUM, say)."""
    ends = lakehouse.find_note(RAW_EVENTS, KAFKA_END_OFFSETS)
    ids = lakehouse.find_note(RAW_EVENTS, KAFKA_TOPIC_IDS) or {}
    left_out = lakehouse.find_note(RAW_EVENTS, KAFKA_LEFT_OUT) or {}
    if ends is None and lakehouse.main.count_rows(RAW_EVENTS):
        print(
            "raw_events has lost the snapshots of its landings: its position is read from its rows, and a topic that "
            "was recreated meanwhile may not be noticed",
            file=sys.stderr,
        )
        ends, ids = find_ends(lakehouse), {}
        left_out = {topic: LeftOut(records=None, until=today()) for topic in ends}
    return History(ends or {}, ids, left_out)


def today() -> str:
    """The UTC date; what is landed on it is of events before its end."""
    return str(dt.datetime.now(dt.UTC).date())


def add_gaps(left_out: dict[str, LeftOut], topic: str, gaps: tuple[Gap, ...]) -> dict[str, LeftOut]:
    """`left_out` with the gaps of a landing of today."""
    if not gaps:
        return left_out
    records = left_out[topic]["records"] if topic in left_out else 0
    for gap in gaps:
        records = None if records is None or gap.end is None else records + gap.end - gap.start
    return left_out | {topic: LeftOut(records=records, until=today())}


def find_ends(lakehouse: Lakehouse) -> dict[str, dict[str, int]]:
    """The offset after the last row that was landed of each topic's partitions; a gap behind it is not known."""
    # Not the greatest one: a recreated topic begins at 0 again.
    last = F.max_by("offset", F.struct("ingested_at", "offset")).alias("last")
    by_partition = lakehouse.main.read(RAW_EVENTS).groupBy("topic", "partition").agg(last)
    ends: dict[str, dict[str, int]] = {}
    for row in by_partition.collect():
        ends.setdefault(row.topic, {})[str(row.partition)] = row.last + 1
    return ends


def plan_landing(topic: str, landed: Position, kafka: TopicState, accepted: Accepted) -> LandingPlan:
    """What to land: from the landed offsets, or a new partition's first one, to the topic's end.

    Raises LandingError where records that were never landed are gone, or the topic is not the one landed before, and
    that is not `accepted`.
    """
    gaps: list[Gap] = []
    if change := _find_change(landed, kafka):
        if not accepted.new_topic:
            raise LandingError(
                f"topic {topic!r} is not the one that raw_events was landed from: {change}. If that is meant, "
                "--accept-new-topic (the DAG's accept_new_topic) lands it from its first offset on"
            )
        gaps = [Gap(partition, offset, None, "new topic") for partition, offset in sorted(landed.offsets.items())]
        landed = Position(None, {})
    expected = {partition: landed.offsets.get(partition, 0) for partition in sorted(kafka.latest)}
    deleted = [
        Gap(partition, offset, kafka.earliest[partition], "deleted")
        for partition, offset in expected.items()
        if offset < kafka.earliest[partition]
    ]
    if deleted and not accepted.gap:
        lost = ", ".join(f"partition {gap.partition}: {gap.start} to {gap.end}" for gap in deleted)
        raise LandingError(
            f"topic {topic!r}: the broker has deleted offsets before they were landed ({lost}, the last one excluded); "
            "raise the topic's retention. --accept-gap (the DAG's accept_gap) goes on behind them and records the gap"
        )
    start = {partition: max(offset, kafka.earliest[partition]) for partition, offset in expected.items()}
    return LandingPlan(start, {partition: kafka.latest[partition] for partition in start}, (*gaps, *deleted))


def _find_change(landed: Position, kafka: TopicState) -> str | None:
    """Why the topic cannot be the one landed before; None where it is."""
    if landed.topic_id not in (None, kafka.id):
        return f"it was recreated (its id was {landed.topic_id} and is {kafka.id})"
    if missing := sorted(set(landed.offsets) - set(kafka.latest)):
        return f"it has lost the partitions {missing}"
    shrunk = [p for p, offset in sorted(landed.offsets.items()) if offset > kafka.latest[p]]
    ends = ", ".join(f"{landed.offsets[p]} in partition {p}, which now ends at {kafka.latest[p]}" for p in shrunk)
    return f"raw_events ends at offset {ends}" if shrunk else None


def read_records(spark: SparkSession, bootstrap_servers: str, topic: str, plan: LandingPlan) -> DataFrame:
    """Kafka's own columns for exactly the records of `plan`."""
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", bootstrap_servers)
    reader = reader.option("subscribe", topic).option("failOnDataLoss", "true")
    reader = reader.option("includeHeaders", "true")
    reader = reader.option("startingOffsets", json.dumps({topic: {str(p): o for p, o in plan.start.items()}}))
    return reader.option("endingOffsets", json.dumps({topic: {str(p): o for p, o in plan.end.items()}})).load()


def classify_records(records: DataFrame) -> DataFrame:
    """Kafka's columns -> raw_events without `ingested_at`: typed event, or the first error."""
    first_header = F.get(F.filter("headers", lambda header: header["key"] == REQUEUED_FROM), F.lit(0))
    return (
        records.withColumn(TEXT, F.col("value").cast("string"))
        .withColumn(PARSED, parse_types(F.col(TEXT)))
        .withColumn(TYPED, only_event(PARSED))
        .withColumn(TIME, parse_time())
        .withColumn("may_be_bad", may_be_bad())
        .withColumn(EXACT, F.when(F.col("may_be_bad"), parse_exactly(F.col(TEXT))))
        .withColumn(VARIANT, only_event(EXACT))
        .withColumn("error", F.when(F.col("may_be_bad"), first_error()))
        .select(
            "topic",
            "partition",
            "offset",
            "timestamp",
            F.make_valid_utf8(F.col("key").cast("string")).alias("key"),
            F.col("value").alias("payload"),
            F.col("error.type").alias("error_type"),
            F.col("error.detail").alias("error_detail"),
            F.make_valid_utf8(first_header["value"].cast("string")).alias("requeued_from"),
            F.when(~F.col("may_be_bad"), typed_event()).when(F.col("error").isNull(), exact_event()).alias("event"),
            event_date().alias("event_date"),
        )
    )


@dataclass
class Landed:
    """What a run has committed so far."""

    records: int = 0
    commits: int = 0
    gaps: list[Gap] = field(default_factory=list)


def land(
    lakehouse: Lakehouse, bootstrap_servers: str, topic: str, run_date: dt.date | None, accepted: Accepted
) -> dict[str, object]:
    """Land what waits in the topic; returns the report, a sum over the run's commits.

    Where another writer commits first, the rest is planned again from the position that it left. Raises LandingError.
    """
    done, is_complete = Landed(), False
    try:
        while not is_complete:
            for attempt in retry_on_conflict(MAX_ATTEMPTS):
                with attempt:
                    is_complete = land_rest(
                        done, commit_landing(lakehouse, bootstrap_servers, topic, run_date, accepted)
                    )
    except ConcurrentCommitError as error:
        raise LandingError(
            f"other writers kept winning; {done.records} records were landed, run it again for the rest"
        ) from error
    gaps = [gap.describe() for gap in done.gaps]
    return {"topic": topic, "landed": done.records, "commits": done.commits, "gaps": gaps}


def land_rest(done: Landed, commits: Iterator[tuple[LandingPlan, int]]) -> bool:
    """Commit part by part; False where another writer came in between, behind which the rest has to be planned anew.

    Raises LandingError, and ConcurrentCommitError where the other writer was faster than the first part.
    """
    before = done.commits
    try:
        for plan, records in commits:
            done.records += records
            done.commits += 1
            done.gaps += plan.gaps
    except ConcurrentCommitError as error:
        if done.commits == before:
            raise
        print(f"{error}; the rest is planned anew", file=sys.stderr)
        return False
    return True


def commit_landing(
    lakehouse: Lakehouse, bootstrap_servers: str, topic: str, run_date: dt.date | None, accepted: Accepted
) -> Iterator[tuple[LandingPlan, int]]:
    """Plan one range and commit it part by part; hands out each part with its rows once it is committed.

    Every part stands on the snapshot of the one before. Raises LandingError, ConcurrentCommitError.
    """
    base = lakehouse.ensure_snapshot(RAW_EVENTS)
    kafka = read_topic(bootstrap_servers, topic)
    history = read_history(lakehouse)
    whole = plan_landing(topic, history.position(topic), kafka, accepted)
    for plan in whole.split(lakehouse.settings.pipeline.landing.records_per_commit):
        records = read_records(lakehouse.spark, bootstrap_servers, topic, plan)
        # Read after `base`: whoever is forgotten from now on changes raw_events, and this landing starts over.
        rows = classify_records(records).transform(empty_records, read_tombstones(lakehouse))
        rows = rows.withColumn("ingested_at", F.current_timestamp())
        summary = (
            lakehouse.describe_job()
            | RUN_DATE.write(run_date)
            | KAFKA_START_OFFSETS.write({topic: by_name(plan.start)})
            | KAFKA_END_OFFSETS.write(history.ends | {topic: by_name(plan.end)})
            | KAFKA_TOPIC_IDS.write(history.topic_ids | {topic: kafka.id})
            | KAFKA_GAPS.write([gap.describe() for gap in plan.gaps])
            | KAFKA_LEFT_OUT.write(add_gaps(history.left_out, topic, whole.gaps))
        )
        base, added = lakehouse.append_if_unchanged(RAW_EVENTS, rows, base, summary)
        yield plan, added


def by_name(offsets: Offsets) -> dict[str, int]:
    """As JSON has them: its keys are strings."""
    return {str(partition): offset for partition, offset in offsets.items()}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    settings = config.load()
    parser = argparse.ArgumentParser(prog="land_raw_events.py", description="Land a Kafka topic in raw_events.")
    parser.add_argument("--bootstrap-servers", default=settings.environment.kafka.bootstrap_servers)
    parser.add_argument("--topic", default=settings.pipeline.topic.name)
    parser.add_argument("--output-path", help="folder of Iceberg tables to use instead of the Glue catalog")
    parser.add_argument(
        "--run-date", type=dt.date.fromisoformat, help="date of the pipeline run (YYYY-MM-DD), noted in the snapshot"
    )
    yes_or_no = argparse.BooleanOptionalAction
    parser.add_argument(
        "--accept-gap",
        action=yes_or_no,
        default=False,
        help="skip offsets that the broker has deleted, and record the gap",
    )
    parser.add_argument(
        "--accept-new-topic",
        action=yes_or_no,
        default=False,
        help="start over with a topic that was recreated, and record what may have been lost",
    )
    return parser.parse_args(argv)


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with open_lakehouse("land_raw_events", config.load(), output_path=args.output_path) as lakehouse:
        accepted = Accepted(gap=args.accept_gap, new_topic=args.accept_new_topic)
        print(json.dumps(land(lakehouse, args.bootstrap_servers, args.topic, args.run_date, accepted)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
