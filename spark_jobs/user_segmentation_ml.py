"""user_features -> user_segments, segment_profiles, segment_transitions, model_runs.

Input: `user_features` of the scored dates (one row per user and snapshot date): those that are asked for, those whose
features were published again since they were scored, and those whose history leaves out one that is asked for.
Output: for each date one row per user, one per segment and one per move between segments, each partitioned by
`snapshot_date`; `model_runs` gets a row when a model is trained.

A date is scored with its champion: under `model_policy: as_of` the newest champion trained on that date or before,
under `champion` the newest of all. Where there is none, one is trained on the date's features. Features are log-scaled
or shares, standardised, and the preparation is saved with the K-Means model as one PipelineModel.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import hashlib
import json
import math
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyspark.ml import Estimator, Pipeline, PipelineModel, Transformer
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.ml.feature import SQLTransformer, StandardScaler, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

import config
from config.loader import NameRule, Segmentation
from spark_jobs.audit import AuditError, find_faults
from spark_jobs.draft import Draft
from spark_jobs.failures import explain_failures
from spark_jobs.forgotten_users import drop_forgotten, read_tombstones, stop_if_changed
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.outdated_segments import find_followers, find_outdated_segments
from spark_jobs.tables import (
    LONGEST_WINDOW_DAYS,
    MODEL_RUNS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    USER_FEATURES,
    USER_SEGMENTS,
)

DAY = dt.timedelta(days=1)
DISTINCTIVE_FEATURES = 3
USERS_IN_ONE_PARTITION = 200_000
SCORED = (SEGMENT_TRANSITIONS, SEGMENT_PROFILES, USER_SEGMENTS)


class SegmentationError(Exception):
    """The features cannot be segmented; the message says why and what to do."""


@dataclass(frozen=True)
class KScore:
    """How well k clusters fit: silhouette (-1..1), inertia (sum of squares), the smallest cluster's share of users."""

    k: int
    silhouette: float
    inertia: float
    smallest_share: float


@dataclass(frozen=True)
class Segment:
    """Which segment a cluster of K-Means is."""

    cluster: int
    segment_id: int
    segment_name: str


@dataclass(frozen=True)
class TrainedModel:
    """A row of `model_runs`."""

    model_id: str
    trained_on: dt.date
    k: int
    features: tuple[str, ...]
    segments: tuple[Segment, ...]
    artifact: str


def build_preparation(
    log_features: tuple[str, ...], share_features: tuple[str, ...]
) -> list[Estimator[Any] | Transformer]:
    """Pipeline stages from columns of user_features to the standardised vector `scaled`."""
    logs = ", ".join(f"log1p(CAST({name} AS DOUBLE)) AS prepared_{name}" for name in log_features)
    shares = ", ".join(f"CAST({name} AS DOUBLE) AS prepared_{name}" for name in share_features)
    prepare = SQLTransformer(statement=f"SELECT *, {', '.join(part for part in (logs, shares) if part)} FROM __THIS__")
    names = [f"prepared_{name}" for name in (*log_features, *share_features)]
    assemble = VectorAssembler(inputCols=names, outputCol="prepared")
    return [prepare, assemble, StandardScaler(inputCol="prepared", outputCol="scaled", withMean=True, withStd=True)]


def fit_candidates(
    scaled: DataFrame, ks: tuple[int, ...], seed: int, max_iterations: int
) -> list[tuple[KScore, KMeansModel]]:
    """K-Means for each k on the column `scaled`, with its scores."""
    users = scaled.count()
    evaluator = ClusteringEvaluator(featuresCol="scaled", predictionCol="cluster")
    fitted = []
    for k in ks:
        model = KMeans(
            k=k, seed=seed, maxIter=max_iterations, initSteps=5, featuresCol="scaled", predictionCol="cluster"
        ).fit(scaled)
        sizes = model.summary.clusterSizes
        silhouette = evaluator.evaluate(model.transform(scaled)) if len([size for size in sizes if size]) > 1 else 0.0
        fitted.append((KScore(k, silhouette, model.summary.trainingCost, min(sizes) / users), model))
    return fitted


def choose_k(scores: list[KScore]) -> tuple[int, str]:
    """The k with the best silhouette, the smaller one of equals, and the reason in words."""
    if len(scores) == 1:
        return scores[0].k, "fixed by num_clusters"
    best = max(scores, key=lambda score: (score.silhouette, -score.k))
    return best.k, f"best silhouette ({best.silhouette:.3f}) of k = {', '.join(str(score.k) for score in scores)}"


def name_segments(deviations: dict[int, dict[str, float]], rules: tuple[NameRule, ...]) -> dict[int, str]:
    """Segment id -> name: rule by rule, the segment that meets it most clearly; what is left is `segment <id>`.

    `deviations` gives each segment's features in standard deviations from the mean of all users.
    """
    names: dict[int, str] = {}
    for rule in rules:
        margins = {segment: _margin(features, rule) for segment, features in deviations.items() if segment not in names}
        fitting = {segment: margin for segment, margin in margins.items() if margin > 0}
        if fitting:
            names[max(fitting, key=lambda segment: (fitting[segment], -segment))] = rule.name
    return {segment: names.get(segment, f"segment {segment}") for segment in deviations}


def _margin(features: dict[str, float], rule: NameRule) -> float:
    """By how many standard deviations a segment clears the rule's tightest condition; negative: it does not."""
    margins = []
    for feature, condition in rule.when.items():
        bound = float(condition[1:])
        margins.append(features[feature] - bound if condition[0] == ">" else bound - features[feature])
    return min(margins)


def score_users(features: DataFrame, pipeline: PipelineModel, model: TrainedModel) -> DataFrame:
    """Adds `segment_id`, `segment_name`, `distance_to_centroid` and `model_id` to user_features."""
    centroids = cast(KMeansModel, pipeline.stages[-1]).clusterCenters()
    by_cluster = F.array(*[F.array(*[F.lit(float(x)) for x in centroid]) for centroid in centroids])
    ids = F.array(*[F.lit(s.segment_id) for s in sorted(model.segments, key=lambda s: s.cluster)])
    names = F.array(*[F.lit(s.segment_name) for s in sorted(model.segments, key=lambda s: s.cluster)])
    squares = F.zip_with(
        vector_to_array(F.col("scaled")), F.element_at(by_cluster, F.col("cluster") + 1), lambda x, c: (x - c) * (x - c)
    )
    scored = pipeline.transform(features)
    return scored.select(
        *features.columns,
        F.element_at(ids, F.col("cluster") + 1).alias("segment_id"),
        F.element_at(names, F.col("cluster") + 1).alias("segment_name"),
        F.sqrt(F.aggregate(squares, F.lit(0.0), lambda total, square: total + square)).alias("distance_to_centroid"),
        F.lit(model.model_id).alias("model_id"),
    )


def add_history(scored: DataFrame, before: DataFrame) -> DataFrame:
    """Adds `previous_segment_id` and `segment_since` from the user_segments of the date before."""
    previous = before.select(
        "user_id", F.col("segment_id").alias("previous_segment_id"), F.col("segment_since").alias("since")
    )
    stayed = F.col("segment_id") == F.col("previous_segment_id")
    return scored.join(previous, "user_id", "left").withColumn(
        "segment_since", F.when(stayed, F.col("since")).otherwise(F.col("snapshot_date"))
    )


def profile_segments(scored: DataFrame, features: tuple[str, ...]) -> DataFrame:
    """One row per segment, in the columns of `segment_profiles`, from the scored users of one date."""
    # Rounded: the last digits of a sum of doubles depend on the order of the rows.
    means = [F.round(F.avg(name), 9).alias(f"mean_{name}") for name in features]
    overall = [
        f for name in features for f in (F.avg(name).alias(f"all_{name}"), F.stddev_pop(name).alias(f"std_{name}"))
    ]
    profiles = scored.groupBy("segment_id", "segment_name", "model_id", "snapshot_date").agg(
        F.count("*").alias("users"), *means
    )
    profiles = profiles.crossJoin(F.broadcast(scored.agg(F.count("*").alias("all_users"), *overall)))
    deviations = F.array(
        *[F.struct(F.lit(name).alias("feature"), _deviation(name).alias("standard_deviations")) for name in features]
    )
    by_size = F.sort_array(
        F.transform(
            deviations, lambda d: F.struct(F.abs(d["standard_deviations"]), d["feature"], d["standard_deviations"])
        ),
        asc=False,
    )
    return profiles.select(
        "segment_id",
        "segment_name",
        "users",
        (F.col("users") / F.col("all_users")).alias("users_share"),
        F.create_map(*[c for name in features for c in (F.lit(name), F.col(f"mean_{name}"))]).alias("centroid"),
        F.transform(
            F.slice(by_size, 1, DISTINCTIVE_FEATURES),
            lambda d: F.struct(d["feature"].alias("feature"), d["standard_deviations"].alias("standard_deviations")),
        ).alias("distinctive_features"),
        "model_id",
        "snapshot_date",
    )


def _deviation(name: str) -> Column:
    spread = F.col(f"std_{name}")
    return F.round(F.when(spread > 0, (F.col(f"mean_{name}") - F.col(f"all_{name}")) / spread).otherwise(0.0), 9)


def count_transitions(segments: DataFrame, before: DataFrame, date: dt.date) -> DataFrame:
    """One row per from-segment x to-segment, in the columns of `segment_transitions`."""
    was = before.select("user_id", F.col("segment_id").alias("from_segment_id"))
    now = segments.select("user_id", F.col("segment_id").alias("to_segment_id"))
    moves = was.join(now, "user_id", "full").groupBy("from_segment_id", "to_segment_id")
    return moves.agg(F.count("*").alias("users")).withColumn("snapshot_date", F.lit(date))


def read_features(lakehouse: Lakehouse, date: dt.date, features: tuple[str, ...]) -> DataFrame:
    """user_id, snapshot_date and `features` as doubles, for one date, without users who were forgotten.

    Unknown features are named in the error.
    """
    if unknown := sorted(set(features) - set(USER_FEATURES.column_names)):
        raise SegmentationError(f"user_features has no column {', '.join(unknown)}; see segmentation in pipeline.yaml")
    columns = [F.col(name).cast("double").alias(name) for name in features]
    users = lakehouse.read_dates(USER_FEATURES, date, date).transform(drop_forgotten, read_tombstones(lakehouse))
    return users.select("user_id", "snapshot_date", *columns)


def find_champion(lakehouse: Lakehouse, date: dt.date, policy: str) -> TrainedModel | None:
    """The model that scores `date`, or None before the first training."""
    runs = lakehouse.read(MODEL_RUNS).where("is_champion")
    if policy == "as_of":
        runs = runs.where(F.col("trained_on") <= F.lit(date))
    newest = runs.orderBy(F.desc("trained_on"), F.desc("model_id")).limit(1).collect()
    if not newest:
        return None
    row = newest[0]
    segments = tuple(Segment(s.cluster, s.segment_id, s.segment_name) for s in row.segments)
    return TrainedModel(row.model_id, row.trained_on, row.k, tuple(row.features), segments, row.artifact)


def train_champion(
    lakehouse: Lakehouse, features: DataFrame, date: dt.date, settings: Segmentation
) -> tuple[TrainedModel, PipelineModel]:
    """Fit, save and record a model on the features of one date. Raises SegmentationError for too few users."""
    ks = settings.candidate_clusters if settings.num_clusters == "auto" else (int(settings.num_clusters),)
    users = features.count()
    if users < 2 * max(ks):
        raise SegmentationError(f"{date}: {users} users are too few for {max(ks)} clusters; process the date first")
    features = put_in_order(features, users)
    preparation = Pipeline(stages=build_preparation(settings.log_features, settings.share_features)).fit(features)
    prepared = preparation.transform(features).select("scaled", *features.columns).persist()
    candidates = fit_candidates(prepared.select("scaled"), ks, settings.seed, settings.max_iterations)
    k, reason = choose_k([score for score, _ in candidates])
    clusters = next(model for score, model in candidates if score.k == k)
    names = settings.log_features + settings.share_features
    described = describe_clusters(clusters.transform(prepared), names, settings)
    prepared.unpersist()
    signature = json.dumps([str(date), k, names, settings.seed, settings.max_iterations])
    model_id = f"kmeans-{date}-k{k}-{hashlib.sha256(signature.encode()).hexdigest()[:8]}"
    model = TrainedModel(model_id, date, k, names, described, f"{lakehouse.models_path}/{model_id}")
    pipeline = PipelineModel(stages=[*preparation.stages, clusters])
    pipeline.write().overwrite().save(model.artifact)
    record_model(lakehouse, model, users, [score for score, _ in candidates], reason)
    return model, pipeline


def put_in_order(features: DataFrame, users: int) -> DataFrame:
    """The same rows in the same partitions and order, wherever they come from: sums of doubles depend on it, and
    centroids on them. Only one partition makes them equal to the last digit; many users are worth more cores than that.
    """
    partitions = 1 if users <= USERS_IN_ONE_PARTITION else math.ceil(users / USERS_IN_ONE_PARTITION)
    return features.repartition(partitions, "user_id").sortWithinPartitions("user_id")


def describe_clusters(clustered: DataFrame, features: tuple[str, ...], settings: Segmentation) -> tuple[Segment, ...]:
    """Number the clusters by size, largest first, and name them by the rules of the configuration."""
    aggregates = [F.avg(name).alias(f"mean_{name}") for name in features]
    rows = clustered.groupBy("cluster").agg(F.count("*").alias("users"), *aggregates).collect()
    overall = clustered.agg(
        *[f(name).alias(f"{f.__name__}_{name}") for name in features for f in (F.avg, F.stddev_pop)]
    )
    totals = overall.collect()[0]
    ordered = sorted(rows, key=lambda row: (-row.users, row.cluster))
    deviations = {
        number: {
            name: (row[f"mean_{name}"] - totals[f"avg_{name}"]) / totals[f"stddev_pop_{name}"]
            if totals[f"stddev_pop_{name}"] > 0
            else 0.0
            for name in features
        }
        for number, row in enumerate(ordered, start=1)
    }
    names = name_segments(deviations, settings.names) | settings.name_overrides
    return tuple(Segment(row.cluster, number, names[number]) for number, row in enumerate(ordered, start=1))


def record_model(lakehouse: Lakehouse, model: TrainedModel, users: int, scores: list[KScore], reason: str) -> None:
    """Write the model's row of `model_runs`, replacing one of the same id."""
    row = {
        "model_id": model.model_id,
        "trained_on": model.trained_on,
        "data_from": model.trained_on - (LONGEST_WINDOW_DAYS - 1) * DAY,
        "users": users,
        "k": model.k,
        "k_scores": [dataclasses.astuple(score) for score in scores],
        "k_reason": reason,
        "features": list(model.features),
        "segments": [dataclasses.astuple(segment) for segment in model.segments],
        "artifact": model.artifact,
        "is_champion": True,
    }
    frame = lakehouse.spark.createDataFrame([tuple(row[name] for name in MODEL_RUNS.column_names)], MODEL_RUNS.ddl)
    lakehouse.merge_rows(MODEL_RUNS, frame, "model_id")


def load_model(model: TrainedModel) -> PipelineModel:
    """The saved pipeline. Raises SegmentationError when its artifact is missing or reads other features."""
    try:
        pipeline = PipelineModel.load(model.artifact)
    except Exception as error:
        raise SegmentationError(
            f"model {model.model_id}: {model.artifact} cannot be loaded; restore it, or delete its row of model_runs "
            f"to train anew: {str(error).splitlines()[0]}"
        ) from error
    reads = tuple(name.removeprefix("prepared_") for name in cast(VectorAssembler, pipeline.stages[1]).getInputCols())
    if reads != model.features:
        raise SegmentationError(f"model {model.model_id} reads {reads}, but model_runs says {model.features}")
    return pipeline


def segment_dates(
    lakehouse: Lakehouse, asked: Collection[dt.date], settings: Segmentation, *, is_forced: bool = False
) -> Iterator[dict[str, object]]:
    """Score the dates that are asked for, the outdated ones, and those that follow from one that is new; in order.

    Hands out a report for each. What is wrong with a date that is not asked for is told and stops no other; `is_forced`
    is not meant for it. Raises SegmentationError, AuditError, ConcurrentCommitError.
    """
    # Before anything is read: what is published from now on makes all of its dates outdated again.
    features_snapshot = lakehouse.start_history(USER_FEATURES)
    left: list[str] = []
    for date in sorted({*asked, *find_outdated_segments(lakehouse), *find_followers(lakehouse, asked)}):
        is_asked = date in asked
        try:
            yield segment_date(
                lakehouse, date, settings, features_snapshot, is_forced=is_forced and is_asked, left_outdated=left
            )
        except (AuditError, SegmentationError) as error:
            if is_asked:
                raise
            left.append(str(date))
            print(f"{date} keeps its segments, which are older than its features: {error}", file=sys.stderr)


def segment_date(
    lakehouse: Lakehouse,
    date: dt.date,
    settings: Segmentation,
    features_snapshot: int,
    *,
    is_forced: bool = False,
    left_outdated: Sequence[str] = (),
) -> dict[str, object]:
    """Score one date, training a model where there is no champion; replaces the date's partitions.

    `features_snapshot`, of user_features or an older one, and `left_outdated` are noted in the snapshots.
    Raises SegmentationError, AuditError, and ConcurrentCommitError where another run has changed the date or the one
    before meanwhile, or has forgotten a user; nothing is published then.
    """
    tombstones = read_tombstones(lakehouse)
    model = find_champion(lakehouse, date, settings.model_policy)
    names = model.features if model else settings.log_features + settings.share_features
    features = read_features(lakehouse, date, names).persist()
    if model:
        pipeline = load_model(model)
    else:
        model, pipeline = train_champion(lakehouse, features, date, settings)
    scored = score_users(features, pipeline, model).persist()
    before = lakehouse.read_dates(USER_SEGMENTS, date - DAY, date - DAY)
    segments = add_history(scored, before)
    with Draft(lakehouse, SCORED) as draft:
        draft.replace_dates(SEGMENT_TRANSITIONS, count_transitions(scored, before, date), [date])
        draft.replace_dates(SEGMENT_PROFILES, profile_segments(scored, names), [date])
        draft.replace_dates(USER_SEGMENTS, segments, [date])
        faults = find_faults(draft, lakehouse.settings.pipeline.audit)
        stop_if_changed(lakehouse, tombstones)
        if faults and not is_forced:
            raise AuditError("; ".join(faults))
        summary = lakehouse.job_summary(
            run_date=str(date), features_snapshot=features_snapshot, forced=faults, left_outdated=left_outdated
        )
        for table in SCORED:
            draft.publish(table, date - DAY, date, summary)
    sizes = {row.segment_name: row["count"] for row in scored.groupBy("segment_name").count().collect()}
    scored.unpersist()
    features.unpersist()
    return {"date": str(date), "model": model.model_id, "segments": sizes}


def parse_clusters(text: str) -> int | str:
    """`auto` or a whole number of at least 2."""
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number of at least 2")
    return int(text)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="user_segmentation_ml.py",
        description="Segment the users of user_features with K-Means. Snapshots whose features were published again "
        "since they were scored are scored again as well.",
    )
    parser.add_argument(
        "--start-date", type=dt.date.fromisoformat, help="first snapshot, YYYY-MM-DD; default: the newest"
    )
    parser.add_argument("--end-date", type=dt.date.fromisoformat, help="last snapshot, included; default: --start-date")
    parser.add_argument("--num-clusters", type=parse_clusters, help="a number, or auto; default: pipeline.yaml")
    parser.add_argument("--features-path", help="folder of Iceberg tables that holds user_features, instead of Glue")
    parser.add_argument("--output-path", help="folder of Iceberg tables and models to write, instead of Glue")
    parser.add_argument(
        "--force",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="publish also what the audit finds fault with",
    )
    return parser.parse_args(argv)


def choose_dates(args: argparse.Namespace, lakehouse: Lakehouse) -> list[dt.date]:
    """The snapshots that are asked for, ascending. Raises SegmentationError where there are no features."""
    existing = lakehouse.partition_dates(USER_FEATURES)
    if not existing:
        raise SegmentationError("user_features is empty; run transform_clickstream first")
    start = args.start_date or existing[-1]
    end = args.end_date or start
    asked = {start + n * DAY for n in range((end - start).days + 1)}
    if missing := sorted(asked - set(existing)):
        raise SegmentationError(f"user_features has no users on {missing[0]}; run transform_clickstream for it first")
    return sorted(asked)


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    settings = config.load()
    segmentation = settings.pipeline.segmentation
    if args.num_clusters is not None:
        segmentation = dataclasses.replace(segmentation, num_clusters=args.num_clusters)
    paths = {"input_path": args.features_path, "output_path": args.output_path, "inputs": (USER_FEATURES,)}
    with Lakehouse("user_segmentation_ml", settings, **paths) as lakehouse:
        lakehouse.create_tables()
        try:
            for report in segment_dates(lakehouse, choose_dates(args, lakehouse), segmentation, is_forced=args.force):
                print(json.dumps(report))
        except SegmentationError as error:
            print(f"user_segmentation_ml: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
