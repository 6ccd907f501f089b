"""user_features of generated dates, by the pipeline's own transforms but without Kafka, tables and drafts.

Every record of a date is clean and on time: what is measured on these features is the segmentation, nothing else.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from data_generator.date_batch import BatchParameters, DateBatch, generate_date_batch
from data_generator.population import PersonaMove
from spark_jobs.event_schema import EVENT_DDL
from spark_jobs.feature_windows import build_features, summarise_days, summarise_pieces
from spark_jobs.sessionization import assign_sessions
from spark_jobs.transform_clickstream import DAY

SESSION_GAP_MINUTES = 30


def generate(
    first: dt.date, days: int, *, events: int, users: int, seed: int = 42, move: PersonaMove | None = None
) -> Iterator[DateBatch]:
    """A batch for each date, in order."""
    for number in range(days):
        yield generate_date_batch(BatchParameters(first + number * DAY, seed, events, users, 0.0, 0.0, 0.0, move))


def write_daily_activity(spark: SparkSession, batches: Iterator[DateBatch], folder: Path) -> None:
    """user_daily_activity of each batch's date, as Parquet below `folder`; the batches follow each other."""
    for batch in batches:
        with (folder / f"{batch.parameters.date}.jsonl").open("wb") as file:
            for records in batch.records():
                file.writelines(value + b"\n" for value in records.values)
    payloads = spark.read.text(str(folder / "*.jsonl"))
    events = payloads.select(F.from_json("value", EVENT_DDL).alias("event")).select("event.*")
    nobody = events.select("user_id", "event_time", F.col("event_time").alias("session_start")).limit(0)
    sessions = assign_sessions(events, nobody, SESSION_GAP_MINUTES).withColumn("event_date", F.to_date("event_time"))
    # In no order: Spark cannot free what a second sort holds while the windows of the same stage need memory.
    sessions.write.parquet(str(folder / "sessions"))
    stored = spark.read.parquet(str(folder / "sessions"))
    summarise_days(summarise_pieces(stored)).write.parquet(str(folder / "daily"))
    shutil.rmtree(folder / "sessions")
    for file_of_date in folder.glob("*.jsonl"):
        file_of_date.unlink()


def read_features(spark: SparkSession, folder: Path, snapshots: list[dt.date]) -> DataFrame:
    """user_features of the snapshot dates."""
    return build_features(spark.read.parquet(str(folder / "daily")), snapshots)


def read_personas(date: dt.date, users: int, move: PersonaMove | None = None) -> dict[str, str]:
    """User -> persona on a date: the truth that only the generator knows."""
    (batch,) = generate(date, 1, events=100, users=users, move=move)
    return dict(zip(batch.population.user_ids(), batch.population.persona_names(), strict=True))
