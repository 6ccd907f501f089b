"""Which of the records with one event_id stays."""

from __future__ import annotations

from datetime import date

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.deduplication import count_first_records, drop_later_copies, find_copies
from tests.lake.small_frames import event_id, make_events


def test_of_the_records_with_one_event_id_the_lowest_partition_and_offset_stays(spark: SparkSession) -> None:
    frame = make_events(
        spark,
        {"event_id": event_id(1), "user_id": "a", "event_time": "2025-04-01T10:00:00.000", "brand": "second"},
        {"event_id": event_id(1), "user_id": "a", "event_time": "2025-04-01T10:00:00.000", "brand": "third"},
        {"event_id": event_id(2), "user_id": "a", "event_time": "2025-04-01T10:00:01.000", "brand": "only"},
    ).withColumn("partition", F.when(F.col("offset") == 0, 1).otherwise(0))
    april_1 = date(2025, 4, 1)
    clean = drop_later_copies(frame, find_copies(frame, april_1, april_1, lateness_days=3))
    assert sorted(row.brand for row in clean.collect()) == ["only", "third"]
    assert count_first_records(frame, [april_1], lateness_days=3) == {april_1: 2}


def test_a_copy_on_another_date_counts_as_far_as_events_may_be_late(spark: SparkSession) -> None:
    days = ["2025-04-01", "2025-04-04", "2025-04-07", "2025-04-11"]
    frame = make_events(
        spark, *[{"event_id": event_id(1), "user_id": "a", "event_time": f"{day}T10:00:00.000"} for day in days]
    )
    # The second is a copy of the first, the third of the second; the fourth is four days away from the third.
    first = [True, False, False, True]
    for day, is_first in zip(map(date.fromisoformat, days), first, strict=True):
        on_date = frame.where(F.col("event_date") == F.lit(day))
        nearby = frame.where(F.abs(F.date_diff("event_date", F.lit(day))) <= 3)
        clean = drop_later_copies(on_date, find_copies(nearby, day, day, lateness_days=3))
        assert (clean.count(), count_first_records(nearby, [day], lateness_days=3)) == (is_first, {day: is_first})
    dates = [date.fromisoformat(day) for day in (days[0], days[1], days[3])]
    assert count_first_records(frame, dates, lateness_days=3) == dict(zip(dates, (1, 0, 1), strict=True))


def test_thousands_of_copies_of_one_id_are_one_event_of_the_date_with_the_lowest_place(spark: SparkSession) -> None:
    day = F.when(F.col("id") < 3, F.lit("2025-04-02")).otherwise(F.lit("2025-04-01")).cast("date")
    copies = spark.range(20_000).select(
        F.lit(0).alias("partition"),
        F.col("id").alias("offset"),
        F.lit("2025-04-09").cast("timestamp").alias("ingested_at"),
        F.lit(event_id(0)).alias("event_id"),
        day.alias("event_date"),
    )
    first, second = date(2025, 4, 1), date(2025, 4, 2)
    assert count_first_records(copies, [first, second], lateness_days=3) == {first: 0, second: 1}
    assert drop_later_copies(copies, find_copies(copies, first, second, lateness_days=3)).count() == 1
