"""Train a model on the users of one date, say which segments its clusters are, and whether it becomes champion."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import cast

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.clustering import KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from config.loader import NameRule, Segmentation, Training
from spark_jobs.cluster_choice import Candidate, choose_candidate, fit_candidates
from spark_jobs.errors import JobError
from spark_jobs.lake.session import persisted
from spark_jobs.segment_drift import measure_baseline
from spark_jobs.segment_identity import Comparison, Segment, match_clusters, name_segments, number_segments
from spark_jobs.segment_models import CHAMPION, KEPT, WAITING, TrainedModel, VanishedSegment
from spark_jobs.segment_preparation import Preparation, fit_preparation
from spark_jobs.segment_profiles import describe_groups

USERS_PER_PARTITION = 200_000
PARALLEL_FITS = 4  # of one partition: small jobs, one after the other in each fit, leave cores idle
USERS_PER_CLUSTER = 2


class TooFewUsersError(JobError):
    """These users cannot be clustered; the message says why."""


def hash_settings(settings: Segmentation) -> str:
    """Of everything that the clusters depend on; when a model is trained, and how it is named, is not among it."""
    named = ("num_clusters", "choice", "seed", "num_seeds", "max_iterations", "min_sessions", "winsorised_share",
             "log_features", "rate_features")  # fmt: skip
    values = asdict(settings)
    return hashlib.sha256(json.dumps({name: values[name] for name in named}).encode()).hexdigest()[:8]


def train_model(
    features: DataFrame, date: dt.date, reason: str, settings: Segmentation, models_path: str
) -> tuple[TrainedModel, PipelineModel]:
    """Fit on users with enough history, one row each. Its clusters are no segments yet, and nothing is decided.

    The same users in whatever order give the same centroids; more than USERS_PER_PARTITION, but for the last digits.
    Raises TooFewUsersError, PreparationError.
    """
    users = features.count()
    ks = choose_ks(users, settings)
    with persisted(put_in_order(features, users)) as ordered:
        preparation = prepare(ordered, date, users, settings)
        candidates, fitted = fit(preparation.pipeline.transform(ordered).select("scaled"), ks, users, settings)
        chosen, k_reason = explain_k(candidates, ks, settings)
        pipeline = PipelineModel(stages=[*preparation.pipeline.stages, fitted[chosen.k]])
        baseline = measure_baseline(add_clusters(ordered, pipeline), preparation.features)
    settings_hash = hash_settings(settings)
    model_id = f"kmeans-{date}-k{chosen.k}-{settings_hash}"
    clusters = tuple(Segment(cluster, 0, "") for cluster in range(len(fitted[chosen.k].clusterCenters())))
    return TrainedModel(
        model_id=model_id,
        trained_on=date,
        training_reason=reason,
        users=users,
        settings_hash=settings_hash,
        k=chosen.k,
        candidates=tuple(candidates),
        k_reason=k_reason,
        features=preparation.features,
        inputs=preparation.inputs,
        dropped_features=preparation.dropped,
        min_sessions=settings.min_sessions,
        segments=clusters,
        vanished_segments=(),
        compared_with=None,
        silhouette_gain=None,
        baseline=baseline,
        artifact=f"{models_path}/{model_id}",
        decision=KEPT,
        decision_reason="",
        champion_from=None,
    ), pipeline


def prepare(users_in_order: DataFrame, date: dt.date, users: int, settings: Segmentation) -> Preparation:
    """The fitted preparation; what it leaves out is told. Raises TooFewUsersError where nothing is left."""
    preparation = fit_preparation(
        users_in_order, settings.log_features, settings.rate_features, settings.winsorised_share
    )
    for name, why in preparation.dropped.items():
        print(f"{date}: {name} is left out: it {why}", file=sys.stderr)
    if not preparation.features:
        raise TooFewUsersError(f"the {users} users with enough history are all equal")
    return preparation


def fit(
    prepared: DataFrame, ks: Sequence[int], users: int, settings: Segmentation
) -> tuple[list[Candidate], dict[int, KMeansModel]]:
    """The scores of each k, and its best clusters."""
    seeds = [settings.seed + number for number in range(settings.num_seeds)]
    parallel_fits = max(1, PARALLEL_FITS // count_partitions(users))
    with persisted(prepared) as vectors:
        fitted = fit_candidates(
            vectors, ks, seeds, settings.max_iterations, settings.choice.sample_users, parallel_fits
        )
    return [candidate for candidate, _ in fitted.values()], {k: model for k, (_, model) in fitted.items()}


def explain_k(candidates: Sequence[Candidate], ks: Sequence[int], settings: Segmentation) -> tuple[Candidate, str]:
    """The candidate to take, and why it is this one and no other."""
    chosen, reason = choose_candidate(candidates, settings.choice)
    if settings.num_clusters != "auto":
        return chosen, "fixed by num_clusters"
    if too_many := [str(k) for k in settings.choice.candidates if k not in ks]:
        reason += f"; too few users for k = {', '.join(too_many)}"
    return chosen, reason


def choose_ks(users: int, settings: Segmentation) -> tuple[int, ...]:
    """The ks to try. Raises TooFewUsersError where there are not two users for a cluster of the smallest of them."""
    ks = settings.choice.candidates if settings.num_clusters == "auto" else (settings.num_clusters,)
    possible = tuple(k for k in ks if users >= USERS_PER_CLUSTER * k)
    if not possible:
        raise TooFewUsersError(
            f"{users} users with {settings.min_sessions} sessions or more are too few for {min(ks)} clusters"
        )
    return possible


def put_in_order(features: DataFrame, users: int) -> DataFrame:
    """The same rows in the same partitions and order, wherever they come from: sums of doubles depend on it, and
    centroids on them. Only one partition makes them equal to the last digit; many users are worth more cores than that.
    """
    return features.repartition(count_partitions(users), "user_id").sortWithinPartitions("user_id")


def count_partitions(users: int) -> int:
    return math.ceil(users / USERS_PER_PARTITION)


def add_clusters(features: DataFrame, pipeline: PipelineModel) -> DataFrame:
    """Adds `scaled`, `cluster` (also as `segment_id`) and `distance_to_centroid` to prepared users."""
    clustered = pipeline.transform(features)
    return clustered.withColumn("distance_to_centroid", distance_to_centroid(pipeline, F.col("cluster"))).withColumn(
        "segment_id", F.col("cluster")
    )


def distance_to_centroid(pipeline: PipelineModel, cluster: Column) -> Column:
    """Euclidean, from `scaled` to the centroid of `cluster`; null where that is null."""
    centroids = cast(KMeansModel, pipeline.stages[-1]).clusterCenters()
    by_cluster = F.array(*[F.array(*[F.lit(float(x)) for x in centroid]) for centroid in centroids])
    squares = F.zip_with(
        vector_to_array(F.col("scaled")), F.element_at(by_cluster, cluster + 1), lambda x, c: (x - c) * (x - c)
    )
    return F.sqrt(F.aggregate(squares, F.lit(0.0), lambda total, square: total + square))


def continue_segments(
    model: TrainedModel,
    clusters: DataFrame,
    before: TrainedModel | None,
    comparison: Comparison | None,
    used_ids: Sequence[int],
    rules: Sequence[NameRule],
    settings: Segmentation,
) -> TrainedModel:
    """The model with its clusters as segments: those that it shares with `before`, and new ones.

    `clusters` has the training users with `cluster` and the features in their own units.
    """
    kept: dict[int, Segment] = {}
    if before and comparison:
        old = {segment.cluster: segment for segment in before.segments}
        kept = {new: old[was] for new, was in match_clusters(comparison, settings.identity).items()}
    groups, _ = describe_groups(clusters, ["cluster"], model.features)
    # A cluster may be empty: it is a segment nevertheless, for users of later dates.
    sizes = {segment.cluster: 0 for segment in model.segments} | {group.key.cluster: group.users for group in groups}
    ids = number_segments(sizes, {cluster: segment.segment_id for cluster, segment in kept.items()}, used_ids)
    taken = {segment.segment_id: segment.segment_name for segment in kept.values()}
    deviations: dict[int, dict[str, float]] = {ids[cluster]: {} for cluster in sizes}
    deviations |= {ids[group.key.cluster]: group.deviations for group in groups}
    names = name_segments(deviations, rules, taken)
    going_on = {segment.segment_id for segment in kept.values()}
    gone = [segment for segment in (before.segments if before else ()) if segment.segment_id not in going_on]
    shares = {ids[cluster]: share for cluster, share in model.baseline.segment_shares.items()}
    return replace(
        model,
        segments=tuple(Segment(cluster, ids[cluster], names[ids[cluster]]) for cluster in sorted(sizes)),
        vanished_segments=tuple(VanishedSegment(segment.segment_id, segment.segment_name) for segment in gone),
        compared_with=before.model_id if before else None,
        baseline=replace(model.baseline, segment_shares=shares),
    )


def compare_clusters(features: DataFrame, pipeline: PipelineModel, before: PipelineModel) -> Comparison:
    """The clusters of two models over the same users, in the space of the one before."""
    both = before.transform(features).select(
        *features.columns, F.col("scaled").alias("scaled_before"), F.col("cluster").alias("cluster_before")
    )
    both = pipeline.transform(both)
    rows = both.groupBy("cluster").agg(Summarizer.mean(F.col("scaled_before")).alias("centroid")).collect()
    centroids_before = np.array(cast(KMeansModel, before.stages[-1]).clusterCenters())
    k = len(cast(KMeansModel, pipeline.stages[-1]).clusterCenters())
    centroids = np.full((k, centroids_before.shape[1]), np.nan)
    for row in rows:
        centroids[row.cluster] = row.centroid.toArray()
    members = np.zeros((k, len(centroids_before)), dtype=np.int64)
    for row in both.groupBy("cluster", "cluster_before").count().collect():
        members[row.cluster, row.cluster_before] = row["count"]
    return Comparison(centroids, centroids_before, members)


def measure_gain(features: DataFrame, pipeline: PipelineModel, before: PipelineModel) -> float:
    """Silhouette of the model's clusters less that of the clusters of the one before, over the same users, both in the
    space of the model: what a user gains by it today."""
    both = before.transform(features).select(*features.columns, F.col("cluster").alias("cluster_before"))
    silhouettes = []
    with persisted(pipeline.transform(both).select("scaled", "cluster", "cluster_before")) as clustered:
        for column in ("cluster", "cluster_before"):
            is_split = clustered.select(column).distinct().count() > 1
            evaluator = ClusteringEvaluator(featuresCol="scaled", predictionCol=column)
            silhouettes.append(evaluator.evaluate(clustered) if is_split else 0.0)
    return float(silhouettes[0] - silhouettes[1])


def decide(model: TrainedModel, training: Training) -> TrainedModel:
    """The model with what becomes of it: champion from its date on, kept, or waiting for a person.

    The first one takes over. A later one does where a person has changed the settings, or where it is better by
    `min_silhouette_gain`, if nobody has to approve it.
    """
    if model.training_reason == "first":
        return replace(model, decision=CHAMPION, decision_reason="the first", champion_from=model.trained_on)
    reason = f"{model.silhouette_gain or 0.0:+.3f} of silhouette against {model.compared_with}"
    if model.training_reason == "settings":
        reason = f"the settings have changed; {reason}"
    elif (model.silhouette_gain or 0.0) < training.min_silhouette_gain:
        return replace(model, decision=KEPT, decision_reason=f"{reason}; {training.min_silhouette_gain:.3f} is asked")
    if training.needs_approval:
        return replace(model, decision=WAITING, decision_reason=f"{reason}; a person has to approve it")
    return replace(model, decision=CHAMPION, decision_reason=reason, champion_from=model.trained_on)
