"""K-Means for every k that may be chosen, from several seeds, and the choice by evidence.

- silhouette (squared Euclidean, as MLlib computes it): how much nearer users are to their cluster than to the next one
- inertia: the sum of squared distances; the gain of k is the share of the inertia of the k before that it saves (elbow)
- stability: the mean adjusted Rand index (Hubert and Arabie 1985) between the best seed's clusters and the others'
- smallest share: the smallest cluster's share of the users
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from config.loader import ClusterChoice
from spark_jobs.segment_preparation import collect_scaled

INIT_STEPS = 5  # of K-Means||; with MLlib's own two even clear groups are missed from some seeds


@dataclass(frozen=True)
class Candidate:
    """Scores of one k; `stability` is 1 where there is one seed only."""

    k: int
    silhouette: float
    inertia: float
    inertia_gain: float | None
    stability: float
    smallest_share: float


def fit_candidates(
    prepared: DataFrame,
    ks: Sequence[int],
    seeds: Sequence[int],
    max_iterations: int,
    sample_users: int,
    parallel_fits: int = 1,
) -> dict[int, tuple[Candidate, KMeansModel]]:
    """For each k the best of the seeds by inertia on the column `scaled`, with its scores.

    `prepared` is cached by the caller; each of `parallel_fits` at a time holds a copy of its vectors. Stability is
    measured on `sample_users` at most.
    """
    scaled = prepared.select("scaled")
    users = scaled.count()
    share = min(1.0, sample_users / users)
    sample = collect_scaled(scaled if share == 1 else scaled.sample(share, seed=seeds[0]))
    evaluator = ClusteringEvaluator(featuresCol="scaled", predictionCol="cluster")
    fitted: dict[int, tuple[Candidate, KMeansModel]] = {}
    inertia_before: float | None = None
    with ThreadPoolExecutor(parallel_fits) as pool:
        fits = {k: [pool.submit(fit_clusters, scaled, k, seed, max_iterations) for seed in seeds] for k in sorted(ks)}
    for k, futures in fits.items():
        models = [future.result() for future in futures]
        best = min(models, key=lambda model: model.summary.trainingCost)
        inertia = best.summary.trainingCost
        sizes = [size for size in best.summary.clusterSizes if size]
        fitted[k] = (
            Candidate(
                k=k,
                silhouette=evaluator.evaluate(best.transform(scaled)) if len(sizes) > 1 else 0.0,
                inertia=inertia,
                inertia_gain=1 - inertia / inertia_before if inertia_before else None,
                stability=measure_stability(sample, best, [model for model in models if model is not best]),
                smallest_share=min(sizes) / users if len(sizes) == k else 0.0,
            ),
            best,
        )
        inertia_before = inertia
    return fitted


def fit_clusters(scaled: DataFrame, k: int, seed: int, max_iterations: int) -> KMeansModel:
    """K-Means|| on the column `scaled`; adds `cluster`. The same for the same rows in the same partitions."""
    # Of a frame that is cached itself MLlib keeps no vectors: it would check and convert them again in every iteration.
    vectors = scaled.select(F.col("scaled").alias("vector"))
    kmeans = KMeans(
        k=k, seed=seed, maxIter=max_iterations, initSteps=INIT_STEPS, featuresCol="vector", predictionCol="cluster"
    )
    return kmeans.fit(vectors).setFeaturesCol("scaled")


def measure_stability(sample: npt.NDArray[np.float64], best: KMeansModel, others: Sequence[KMeansModel]) -> float:
    """Mean adjusted Rand index between the clusters of `best` and those of each other model."""
    labels = nearest_centroids(sample, best)
    indices = [adjusted_rand_score(labels, nearest_centroids(sample, model)) for model in others]
    return float(np.mean(indices)) if indices else 1.0


def nearest_centroids(vectors: npt.NDArray[np.float64], model: KMeansModel) -> npt.NDArray[np.int64]:
    """The cluster of each vector."""
    centroids = np.array(model.clusterCenters())
    # |x - c|^2 without |x|^2, which is the same for every centroid.
    return np.asarray(np.argmin((centroids**2).sum(axis=1) - 2 * vectors @ centroids.T, axis=1))


def choose_candidate(candidates: Sequence[Candidate], choice: ClusterChoice) -> tuple[Candidate, str]:
    """The k to take, and the reason in words.

    Of the candidates without a cluster that is too small and with clusters that other seeds find again: among those
    whose silhouette is near the best one, the largest k that still saves enough inertia. Where none is good enough, the
    most stable one.
    """
    tried = f"k = {', '.join(str(candidate.k) for candidate in candidates)}"
    good = [
        c for c in candidates if c.smallest_share >= choice.min_smallest_share and c.stability >= choice.min_stability
    ]
    if not good:
        stable = max(candidates, key=lambda c: (c.stability, c.silhouette, -c.k))
        return stable, (
            f"none of {tried} has only clusters of {choice.min_smallest_share:.0%} and a stability of "
            f"{choice.min_stability:.2f}; the most stable one ({stable.stability:.2f})"
        )
    best = max(good, key=lambda c: (c.silhouette, -c.k))
    near = [c for c in good if c.silhouette >= best.silhouette - choice.silhouette_tolerance]
    saving = [c for c in near if c.inertia_gain is None or c.inertia_gain >= choice.min_inertia_gain]
    chosen = max(saving, key=lambda c: c.k) if saving else best
    reason = f"silhouette {chosen.silhouette:.3f}, best of {tried}"
    if chosen is not best:
        reason = (
            f"silhouette {chosen.silhouette:.3f}, near the best of {tried} ({best.silhouette:.3f} of {best.k}), and "
            f"the largest that saves {choice.min_inertia_gain:.0%} of the inertia"
        )
    left_out = [str(c.k) for c in candidates if c not in good]
    if left_out:
        reason += f"; not stable or with a cluster too small: {', '.join(left_out)}"
    return chosen, reason
