"""user_features of generated dates, by the pipeline's own transforms but without Kafka, tables and drafts.

Every record of a date is clean and on time: what is measured on these features is the segmentation, nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from data_generator.date_batch import BatchParameters, DateBatch, generate_date_batch
from data_generator.population import PersonaMove
from spark_jobs.event_schema import EVENT_DDL
from spark_jobs.feature_windows import build_features, summarise_day, summarise_pieces
from spark_jobs.sessionization import assign_sessions, find_open_sessions
from spark_jobs.transform_clickstream import DAY, midnight

SESSION_GAP_MINUTES = 30


def generate(
    first: dt.date, days: int, *, events: int, users: int, seed: int = 42, move: PersonaMove | None = None
) -> Iterator[DateBatch]:
    """A batch for each date, in order."""
    for number in range(days):
        yield generate_date_batch(BatchParameters(first + number * DAY, seed, events, users, 0.0, 0.0, 0.0, move))


def write_daily_activity(spark: SparkSession, batches: Iterator[DateBatch], folder: Path) -> None:
    """user_daily_activity of each batch's date, as Parquet below `folder`; the batches follow each other."""
    opened = None
    for batch in batches:
        date = batch.parameters.date
        with (folder / f"{date}.jsonl").open("wb") as file:
            for records in batch.records():
                file.writelines(value + b"\n" for value in records.values)
        # Sessions of the day before run over midnight.
        payloads = [str(path) for day in (date - DAY, date) if (path := folder / f"{day}.jsonl").exists()]
        events = spark.read.text(payloads).select(F.from_json("value", EVENT_DDL).alias("event")).select("event.*")
        on_date = events.withColumn("event_date", F.to_date("event_time")).where(F.col("event_date") == F.lit(date))
        carried = opened or on_date.select("user_id", "event_time", F.col("event_time").alias("session_start")).limit(0)
        today = assign_sessions(on_date, carried, SESSION_GAP_MINUTES).persist()
        summarise_day(summarise_pieces(today), date).write.mode("overwrite").parquet(str(folder / "daily" / f"{date}"))
        opened = find_open_sessions(today, midnight(date + DAY), SESSION_GAP_MINUTES).localCheckpoint()
        today.unpersist()
        (folder / f"{date - DAY}.jsonl").unlink(missing_ok=True)


def read_features(spark: SparkSession, folder: Path, snapshots: list[dt.date]) -> DataFrame:
    """user_features of the snapshot dates."""
    return build_features(spark.read.parquet(str(folder / "daily" / "*")), snapshots)


def read_personas(date: dt.date, users: int, move: PersonaMove | None = None) -> dict[str, str]:
    """User -> persona on a date: the truth that only the generator knows."""
    (batch,) = generate(date, 1, events=100, users=users, move=move)
    return dict(zip(batch.population.user_ids(), batch.population.persona_names(), strict=True))
