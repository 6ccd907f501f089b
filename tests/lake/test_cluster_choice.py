"""How many clusters: the rule by hand, the scores beside scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.metrics import silhouette_score  # type: ignore[import-untyped]

from config.loader import ClusterChoice
from spark_jobs.cluster_choice import Candidate, choose_candidate, fit_candidates

CHOICE = ClusterChoice(
    candidates=(2, 3, 4), min_smallest_share=0.05, min_stability=0.8, min_inertia_gain=0.1, silhouette_tolerance=0.02,
    sample_users=1000,
)  # fmt: skip


def candidate(k: int, silhouette: float, **changes: Any) -> Candidate:
    values = {"inertia": 10.0, "inertia_gain": 0.3, "stability": 1.0, "smallest_share": 0.1}
    return Candidate(k=k, silhouette=silhouette, **{**values, **changes})


def test_a_single_k_is_taken_and_judged_like_others() -> None:
    assert choose_candidate([candidate(5, 0.4)], CHOICE)[1] == "silhouette 0.400, best of k = 5"
    chosen, reason = choose_candidate([candidate(5, -0.2, stability=0.1)], CHOICE)
    assert (chosen.k, reason.startswith("none of k = 5 has")) == (5, True)


def test_the_best_silhouette_wins_and_the_reason_says_so() -> None:
    chosen, reason = choose_candidate([candidate(3, 0.41), candidate(4, 0.62), candidate(5, 0.5)], CHOICE)
    assert (chosen.k, reason) == (4, "silhouette 0.620, best of k = 3, 4, 5")


def test_of_about_equal_silhouettes_the_largest_k_that_still_saves_inertia_wins() -> None:
    near = [candidate(3, 0.505), candidate(4, 0.51), candidate(5, 0.50), candidate(6, 0.50, inertia_gain=0.05)]
    chosen, reason = choose_candidate(near, CHOICE)
    assert (chosen.k, "the largest that saves 10% of the inertia" in reason) == (5, True)


def test_unstable_clusters_and_tiny_ones_are_left_out_and_named() -> None:
    tried = [candidate(3, 0.4), candidate(4, 0.9, stability=0.5), candidate(5, 0.8, smallest_share=0.01)]
    chosen, reason = choose_candidate(tried, CHOICE)
    assert (chosen.k, reason.endswith("not stable or with a cluster too small: 4, 5")) == (3, True)


def test_where_none_is_good_enough_the_most_stable_one_is_taken() -> None:
    tried = [candidate(3, 0.4, stability=0.3), candidate(4, 0.3, stability=0.6)]
    chosen, reason = choose_candidate(tried, CHOICE)
    assert (chosen.k, reason.startswith("none of k = 3, 4 has")) == (4, True)


def blobs(spark: SparkSession) -> tuple[Any, DataFrame]:
    """Three groups on a plane, 60 + 30 + 10 points."""
    rng = np.random.default_rng(1)
    centers = np.repeat([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], [60, 30, 10], axis=0)
    points = centers + rng.normal(size=centers.shape)
    frame = spark.createDataFrame([(row.tolist(),) for row in points], "x ARRAY<DOUBLE>")
    return points, frame.coalesce(1).select(array_to_vector(F.col("x")).alias("scaled"))


def test_scores_are_those_of_scikit_learn(spark: SparkSession) -> None:
    points, frame = blobs(spark)
    fitted = fit_candidates(frame, (3, 2, 4), (1, 2, 3), 40, 1000)
    assert list(fitted) == [2, 3, 4]
    reference = {k: KMeans(k, n_init=20, random_state=0).fit(points) for k in (2, 3, 4)}
    for k in (2, 3):
        found = fitted[k][0]
        assert found.inertia == pytest.approx(reference[k].inertia_)
        # MLlib's silhouette is the squared Euclidean one.
        assert found.silhouette == pytest.approx(silhouette_score(points, reference[k].labels_, metric="sqeuclidean"))
    assert fitted[3][0].smallest_share == pytest.approx(0.1)
    assert fitted[3][0].stability == 1.0
    assert fitted[4][0].stability < 0.9
    assert fitted[3][0].inertia_gain == pytest.approx(1 - reference[3].inertia_ / reference[2].inertia_)
    assert choose_candidate([found for found, _ in fitted.values()], CHOICE)[0].k == 3


def test_the_same_seeds_give_the_same_centroids(spark: SparkSession) -> None:
    _, frame = blobs(spark)
    first, again = (fit_candidates(frame, (4,), (5, 6), 40, 1000)[4][1].clusterCenters() for _ in range(2))
    assert np.array_equal(first, again)
