"""Real data sets whose results others have published: our code comes to the same."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from spark_jobs.cluster_choice import fit_candidates
from spark_jobs.feature_windows import build_features
from spark_jobs.lake.tables import DAILY_SUMS, USER_DAILY_ACTIVITY
from tests.real_data import DATA_DIR, MISSING

pytestmark = pytest.mark.skipif(not DATA_DIR.exists(), reason=MISSING)

END_OF_CALIBRATION = date(1997, 9, 30)


def test_the_350_customers_fall_into_the_published_four_clusters(spark: SparkSession) -> None:
    """Silhouette 0.94096, clusters of 117, 116, 59 and 58: spend in dollars beside items, so that spend decides.

    The published clustering standardises nothing: compared are our clustering and its scores, not the preparation.
    """
    file = DATA_DIR / "ecommerce_customer_350" / "E-commerceCustomerBehavior-Sheet1.csv"
    customers = spark.read.option("header", True).csv(str(file))
    columns = ["Total Spend", "Items Purchased"]
    values = customers.selectExpr(*[f"CAST(`{name}` AS DOUBLE) AS `{name}`" for name in columns]).coalesce(1)
    vectors = VectorAssembler(inputCols=columns, outputCol="scaled").transform(values)
    found, model = fit_candidates(vectors, (4,), (1, 2, 3), 40, 1000)[4]
    assert round(found.silhouette, 5) == 0.94096
    assert sorted(model.summary.clusterSizes, reverse=True) == [117, 116, 59, 58]


def test_recency_frequency_and_age_of_cdnow_are_those_that_lifetimes_publishes(
    spark: SparkSession,
) -> None:
    """frequency: dates with a purchase after the first; recency: weeks from the first to the last; T: to the end."""
    spent: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for line in (DATA_DIR / "cdnow" / "CDNOW_sample.txt").read_text(encoding="utf-8").splitlines():
        if line.strip():
            _, customer, day, _, dollars = line.split()
            if (bought_on := datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()) <= END_OF_CALIBRATION:
                spent[str(int(customer))][bought_on] += Decimal(dollars)
    rows = [daily_row(customer, day, dollars) for customer, days in spent.items() for day, dollars in days.items()]
    daily = spark.createDataFrame(rows, USER_DAILY_ACTIVITY.ddl)
    since_the_first = (END_OF_CALIBRATION - date(1997, 1, 1)).days + 1
    features = build_features(daily, [END_OF_CALIBRATION], longest_window_days=since_the_first).persist()
    assert features.where("days_since_last_purchase <> days_since_last_event").isEmpty()  # every event is a purchase
    ours = {
        row.user_id: (
            row.active_days_count_30d - 1,
            round((row.days_since_first_event_30d + 1 - row.days_since_last_event) / 7, 2),
            round(row.days_since_first_event_30d / 7, 2),
        )
        for row in features.collect()
    }
    with (DATA_DIR / "cdnow" / "cdnow_customers_summary.csv").open(encoding="utf-8") as file:
        published = {
            row["ID"]: (int(row["frequency"]), float(row["recency"]), float(row["T"])) for row in csv.DictReader(file)
        }
    assert len(published) == 2357
    assert ours == published
    # Money is that of 30 days whatever the longest window: by the file's own last column.
    month = END_OF_CALIBRATION - timedelta(days=30)
    revenue = {row.user_id: row.revenue_sum_30d for row in features.collect()}
    assert revenue == pytest.approx(
        {customer: float(sum(d for day, d in days.items() if day > month)) for customer, days in spent.items()}
    )


def daily_row(customer: str, day: date, dollars: Decimal) -> tuple[Any, ...]:
    """One purchase at midnight that begins the day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    values: dict[str, Any] = {column.name: 0 for column in DAILY_SUMS} | {
        "user_id": customer, "events": 1, "sessions": 1, "purchases": 1, "revenue": dollars, "event_date": day,
        "last_event_time": midnight, "last_purchase_time": midnight, "session_parts": [0], "categories": [],
    }  # fmt: skip
    return tuple(values[name] for name in USER_DAILY_ACTIVITY.column_names)
