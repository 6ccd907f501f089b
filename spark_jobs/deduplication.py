"""One event for each `event_id`: of its records the one with the lowest Kafka partition and offset."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

# A record's place in Kafka; the time of landing tells apart the records of a topic that was created anew.
PLACE = ("partition", "offset", "ingested_at")


def find_copies(records: DataFrame, date: dt.date, lateness_days: int) -> DataFrame:
    """Place, `event_id`, `event_date` and `is_first` of the records whose id also another record has, one of them on
    `date`. `records` are those of the dates at most `lateness_days` away.

    Few ids repeat: they are found by hash in a narrow pass, so that only their records are sorted.
    """
    ids = records.select(*PLACE, "event_id", "event_date", F.xxhash64("event_id").alias("id_hash"))
    on_date = F.count_if(F.col("event_date") == F.lit(date))
    repeated = ids.groupBy("id_hash").agg(F.count("*").alias("records"), on_date.alias("on_date"))
    repeated = repeated.where((F.col("records") > 1) & (F.col("on_date") > 0)).select("id_hash")
    copies = ids.join(F.broadcast(repeated), "id_hash", "left_semi").drop("id_hash")
    return mark_first(copies, lateness_days)


def mark_first(copies: DataFrame, lateness_days: int) -> DataFrame:
    """Adds `is_first`: no record with the same id, at most `lateness_days` away, has a lower (partition, offset).

    This looks at every record whether it is a first one itself or not, so that it needs no dates further away.
    """
    days = Window.partitionBy("event_id").orderBy(F.unix_date("event_date")).rangeBetween(-lateness_days, lateness_days)
    place = F.struct(*PLACE)
    return copies.withColumn("is_first", F.min(place).over(days) == place)


def count_first_records(records: DataFrame, dates: list[dt.date], lateness_days: int) -> dict[dt.date, int]:
    """How many events each of `dates` has: another way to the number of rows that `drop_later_copies` leaves.

    `records` are those of the dates at most `lateness_days` away from `dates`.
    """
    place = F.struct(*PLACE)
    away = {day: F.abs(F.date_diff("event_date", F.lit(day))) for day in dates}
    ids = records.groupBy(F.xxhash64("event_id"), F.hash("event_id")).agg(
        *[F.min(F.when(away[day] == 0, place)).alias(f"own_{day}") for day in dates],
        *[F.min(F.when(away[day] <= lateness_days, place)).alias(f"first_{day}") for day in dates],
    )
    counts = ids.agg(*[F.count_if(F.col(f"own_{day}") == F.col(f"first_{day}")).alias(str(day)) for day in dates])
    row = counts.collect()[0]
    return {day: row[str(day)] for day in dates}


def drop_later_copies(records: DataFrame, copies: DataFrame) -> DataFrame:
    """The first record of every `event_id`, without its place in Kafka."""
    later_copies = copies.where(~F.col("is_first")).select(*PLACE)
    return records.join(F.broadcast(later_copies), list(PLACE), "left_anti").drop(*PLACE)
