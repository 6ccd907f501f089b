"""`pipeline_runs.remarks`: what was done to a date beside its runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from pyspark.sql import functions as F

from spark_jobs.lake.lakehouse import Lakehouse, to_sql
from spark_jobs.lake.tables import PIPELINE_RUNS


def add_remark(lakehouse: Lakehouse, dates: Collection[dt.date], remark: str) -> list[dt.date]:
    """Append `remark` to those rows of `dates` that exist and do not have it yet; returns the dates that have a row.

    Raises ConcurrentCommitError.
    """
    recorded = lakehouse.main.read(PIPELINE_RUNS).where(F.col("event_date").isin([F.lit(day) for day in dates]))
    days = sorted(row.event_date for row in recorded.select("event_date").collect())
    if days:
        literals, text = ", ".join(f"DATE'{day}'" for day in days), to_sql(remark)
        lakehouse.run_sql(
            PIPELINE_RUNS,
            f"UPDATE {{table}} SET remarks = concat(coalesce(remarks, array()), array({text})) "
            f"WHERE event_date IN ({literals}) AND NOT coalesce(array_contains(remarks, {text}), false)",
        )
    return days
