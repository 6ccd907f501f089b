"""`pipeline_runs.remarks`: what was done to a date beside its runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from pyspark.sql import functions as F

from spark_jobs.lakehouse import Lakehouse, losing_to_others
from spark_jobs.tables import PIPELINE_RUNS


def add_remark(lakehouse: Lakehouse, dates: Collection[dt.date], remark: str) -> list[dt.date]:
    """Append `remark` to those rows of `dates` that exist and do not have it yet; returns the dates that have a row.

    Raises ConcurrentCommitError.
    """
    recorded = lakehouse.read(PIPELINE_RUNS).where(F.col("event_date").isin([F.lit(day) for day in dates]))
    days = sorted(row.event_date for row in recorded.select("event_date").collect())
    if days:
        name, literals = lakehouse.identifier(PIPELINE_RUNS), ", ".join(f"DATE'{day}'" for day in days)
        with losing_to_others(f"{name} was changed by another run"):
            lakehouse.spark.sql(
                f"UPDATE {name} SET remarks = concat(coalesce(remarks, array()), array(:remark)) "
                f"WHERE event_date IN ({literals}) AND NOT coalesce(array_contains(remarks, :remark), false)",
                args={"remark": remark},
            )
    return days
