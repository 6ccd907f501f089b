"""One event for each `event_id`: of its records the one with the lowest Kafka partition and offset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

# A record's place in Kafka; the time of landing tells apart the records of a topic that was created anew.
PLACE = ("partition", "offset", "ingested_at")


def find_copies(records: DataFrame, first: dt.date, last: dt.date, lateness_days: int) -> DataFrame:
    """Place, `event_id`, `event_date` and `is_first` of the records whose id also another record has, one of them on a
    date from `first` to `last`. `records` are those of the dates at most `lateness_days` away.

    `is_first` is right only from `first` to `last`: of the dates around them not every copy is among `records`.

    Few ids repeat: they are found by hash in a narrow pass, so that only their records are sorted.
    """
    ids = records.select(*PLACE, "event_id", "event_date", F.xxhash64("event_id").alias("id_hash"))
    in_range = F.count_if(F.col("event_date").between(F.lit(first), F.lit(last)))
    repeated = ids.groupBy("id_hash").agg(F.count("*").alias("records"), in_range.alias("in_range"))
    repeated = repeated.where((F.col("records") > 1) & (F.col("in_range") > 0)).select("id_hash")
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
    event_id = ("id_hash", "id_hash_2")
    ids = records.select(
        *PLACE, "event_date", F.xxhash64("event_id").alias("id_hash"), F.hash("event_id").alias("id_hash_2")
    )
    spans = ids.groupBy(*event_id).agg(F.min("event_date").alias("event_date"), F.max("event_date").alias("last_date"))
    is_on_one_date = F.col("event_date") == F.col("last_date")  # nearly all are
    on_several_dates = spans.where(~is_on_one_date).select(*event_id)
    copies = ids.join(F.broadcast(on_several_dates), list(event_id), "left_semi")
    first_dates = spans.where(is_on_one_date).select("event_date")
    first_dates = first_dates.unionAll(find_first_dates(copies, event_id, lateness_days))
    counts = {row.event_date: row["count"] for row in first_dates.groupBy("event_date").count().collect()}
    return {day: counts.get(day, 0) for day in dates}


def find_first_dates(copies: DataFrame, event_id: Sequence[str], lateness_days: int) -> DataFrame:
    """The `event_date` of each copy that no other one, at most `lateness_days` away, comes before: one row for each."""
    lowest = copies.groupBy(*event_id, "event_date").agg(F.min(F.struct(*PLACE)).alias("place"))
    by_event = lowest.groupBy(*event_id).agg(F.collect_list(F.struct("event_date", "place")).alias("copies"))

    def is_first(one: Column) -> Column:
        def comes_before(other: Column) -> Column:
            is_near = F.abs(F.date_diff(other["event_date"], one["event_date"])) <= lateness_days
            return is_near & (other["place"] < one["place"])

        return ~F.exists("copies", comes_before)

    return by_event.select(F.explode(F.filter("copies", is_first)).alias("copy")).select("copy.event_date")


def drop_later_copies(records: DataFrame, copies: DataFrame) -> DataFrame:
    """The first record of every `event_id`, without its place in Kafka."""
    later_copies = copies.where(~F.col("is_first")).select(*PLACE)
    return records.join(F.broadcast(later_copies), list(PLACE), "left_anti").drop(*PLACE)
