"""Features to the vector that is clustered, beside numpy's own computation of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.segment_preparation import PreparationError, collect_scaled, fit_preparation, prepared_features

DDL = "user_id STRING, bought DOUBLE, rate DOUBLE, seen DOUBLE"


def users(spark: SparkSession, *rows: tuple[Any, Any, Any]) -> DataFrame:
    """bought, rate, how many observations the rate rests on."""
    return spark.createDataFrame([(f"u{n:03}", *map(_double, row)) for n, row in enumerate(rows)], DDL)


def _double(value: Any) -> float | None:
    return None if value is None else float(value)


def scaled(frame: DataFrame, *, logs: tuple[str, ...] = ("bought",), share: float = 0.0, **rates: str) -> Any:
    return collect_scaled(fit_preparation(frame, logs, rates, share).pipeline.transform(frame))


def standardised(values: Any) -> Any:
    values = np.asarray(values, dtype=float)
    return (values - values.mean()) / values.std()


def test_counts_are_logged_and_standardised(spark: SparkSession) -> None:
    frame = users(spark, (0, 0, 1), (1, 0, 1), (3, 0, 1), (80, 0, 1))
    assert scaled(frame)[:, 0] == pytest.approx(standardised(np.log1p([0, 1, 3, 80])))


def test_ends_are_cut_at_the_quantiles_of_training_also_for_later_users(spark: SparkSession) -> None:
    values = list(range(1, 101))
    trained = users(spark, *[(math.expm1(value), 0, 1) for value in values])
    preparation = fit_preparation(trained, ("bought",), {}, 0.05)
    later = preparation.pipeline.transform(users(spark, (0, 0, 1), (math.expm1(50), 0, 1), (math.expm1(400), 0, 1)))
    clipped = np.clip(values, 5, 95)
    expected = (np.array([5, 50, 95]) - clipped.mean()) / clipped.std()
    assert collect_scaled(later)[:, 0] == pytest.approx(expected)


def test_a_rate_is_drawn_to_the_mean_the_more_the_less_it_rests_on(spark: SparkSession) -> None:
    rng = np.random.default_rng(3)
    seen = rng.integers(1, 60, 400)
    true = np.where(rng.random(400) < 0.5, 0.2, 0.6)
    rate = rng.binomial(seen, true) / seen
    found = scaled(users(spark, *zip([0] * 400, rate, seen, strict=True)), logs=(), rate="seen")[:, 0]
    mean = (rate * seen).sum() / seen.sum()
    chance, spread = np.polyfit(1 / seen, (rate - mean) ** 2, 1)
    drawn = mean + (rate - mean) * seen / (seen + chance / spread)
    assert found == pytest.approx(standardised(drawn), abs=1e-6)
    # What it is for: the two kinds of users are told apart better than by the rates themselves.
    assert np.corrcoef(found, true)[0, 1] > np.corrcoef(rate, true)[0, 1] + 0.02


def test_who_has_no_observation_is_the_mean_of_all_users(spark: SparkSession) -> None:
    frame = users(spark, (0, 0.1, 50), (0, 0.9, 50), (0, None, 0), (0, 0.0, 0), (0, 0.2, 40), (0, 0.8, 60))
    found = scaled(frame, logs=(), rate="seen")[:, 0]
    assert found[2] == found[3]
    assert abs(found[2]) < 0.2


def test_who_has_no_observation_is_the_mean_also_where_all_others_have_as_many(spark: SparkSession) -> None:
    frame = users(spark, (0, 0.1, 50), (0, 0.9, 50), (0, None, 0), (0, 0.0, 0))
    assert scaled(frame, logs=(), rate="seen")[:, 0] == pytest.approx([-(2**0.5), 2**0.5, 0.0, 0.0])


def test_constant_and_duplicate_features_and_pure_chance_are_left_out_with_the_reason(spark: SparkSession) -> None:
    rng = np.random.default_rng(4)
    seen = rng.integers(1, 40, 300)
    chance = rng.binomial(seen, 0.5) / seen
    frame = users(spark, *zip(rng.integers(0, 9, 300), chance, seen, strict=True))
    frame = frame.selectExpr("*", "bought AS again", "7D AS same", "if(seen < 20, 1D, 2D) AS jump")
    preparation = fit_preparation(frame, ("bought", "again", "same", "jump"), {"rate": "seen"}, 0.0)
    assert preparation.dropped == {
        "rate": "differs between users by no more than chance",
        "same": "is the same for all users",
        "again": "says what bought says",
    }
    assert preparation.features == preparation.inputs == prepared_features(preparation.pipeline) == ("bought", "jump")


def test_users_who_are_all_equal_leave_no_feature(spark: SparkSession) -> None:
    preparation = fit_preparation(users(spark, *[(3, 0.5, 2)] * 9), ("bought",), {"rate": "seen"}, 0.01)
    assert preparation.features == ()
    assert set(preparation.dropped) == {"bought", "rate"}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_refused_with_the_feature_and_the_users(
    spark: SparkSession, value: float | None
) -> None:
    frame = users(spark, (1, 0, 1), (value, 0, 1), (value, 0, 1))
    with pytest.raises(PreparationError, match=r"null, NaN or infinite: bought of 2 users; build these features again"):
        fit_preparation(frame, ("bought",), {"rate": "seen"}, 0.0)


def test_a_rate_may_be_null_but_not_nan(spark: SparkSession) -> None:
    fit_preparation(users(spark, (1, None, 0), (2, 0.5, 3)), ("bought",), {"rate": "seen"}, 0.0)
    with pytest.raises(PreparationError, match="rate of 1 users"):
        fit_preparation(users(spark, (1, math.nan, 0), (2, 0.5, 3)), ("bought",), {"rate": "seen"}, 0.0)
