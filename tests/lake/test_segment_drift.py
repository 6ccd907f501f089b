"""When the users of a date are not those of training any more."""

from __future__ import annotations

import dataclasses
import math

import pytest
from pyspark.sql import DataFrame, SparkSession

from config.loader import Drift
from spark_jobs.segment_drift import Baseline, find_drift, measure_baseline, population_stability_index

LIMITS = Drift(max_feature_index=0.25, max_segment_share_change=0.1, max_distance_ratio=1.2)


def users(spark: SparkSession, values: list[float], *, segments: int = 2, distance: float = 1.0) -> DataFrame:
    rows = [(value, number % segments + 1, distance) for number, value in enumerate(values)]
    return spark.createDataFrame(rows, "bought DOUBLE, segment_id INT, distance_to_centroid DOUBLE")


def test_the_index_is_that_of_the_formula() -> None:
    # (0.5 - 0.25) ln 2 + (0.5 - 0.75) ln (2/3)
    expected = 0.25 * math.log(2) - 0.25 * math.log(2 / 3)
    assert population_stability_index([0.25, 0.75], [0.5, 0.5]) == pytest.approx(expected)
    assert population_stability_index([0.2, 0.8], [0.2, 0.8]) == 0
    assert math.isfinite(population_stability_index([0.0, 1.0], [0.5, 0.5]))


def test_the_baseline_has_a_tenth_in_each_bin_and_survives_json(spark: SparkSession) -> None:
    baseline = measure_baseline(users(spark, [float(n) for n in range(1, 101)], distance=3.0), ["bought"])
    assert baseline.edges == {"bought": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]}
    assert baseline.shares["bought"] == pytest.approx([0.1] * 10)
    assert (baseline.segment_shares, baseline.distance_mean) == ({1: 0.5, 2: 0.5}, 3.0)
    assert Baseline.from_json(baseline.to_json()) == baseline


def test_equal_values_share_a_bin(spark: SparkSession) -> None:
    baseline = measure_baseline(users(spark, [0.0] * 70 + [5.0] * 30), ["bought"])
    assert baseline.edges["bought"] == [0.0, 5.0]
    assert baseline.shares["bought"] == pytest.approx([0.7, 0.3, 0.0])


def test_the_same_users_and_other_users_alike_do_not_drift(spark: SparkSession) -> None:
    baseline = measure_baseline(users(spark, [float(n) for n in range(100)]), ["bought"])
    assert find_drift(users(spark, [float(n) for n in range(100)]), baseline, LIMITS) == []
    assert find_drift(users(spark, [n + 0.5 for n in range(0, 98, 2)]), baseline, LIMITS) == []


def test_each_limit_is_named_with_its_number(spark: SparkSession) -> None:
    values = [float(n) for n in range(100)]
    baseline = measure_baseline(users(spark, values), ["bought"])
    (moved,) = find_drift(users(spark, [value + 40 for value in values]), baseline, LIMITS)
    assert moved.startswith("bought has a stability index of ")
    split = find_drift(users(spark, values, segments=4), baseline, LIMITS)
    assert split == [
        f"segment {n} has 25.0% of the users instead of {then}"
        for n, then in [(1, "50.0%"), (2, "50.0%"), (3, "0.0%"), (4, "0.0%")]
    ]
    at_the_centroids = dataclasses.replace(baseline, distance_mean=0.0)
    assert find_drift(users(spark, values), at_the_centroids, LIMITS) == []
    assert find_drift(users(spark, values, distance=1.3), baseline, LIMITS) == [
        "users are 1.30 times as far from their centroids"
    ]
