"""user_features -> user_segments, segment_profiles, segment_transitions, model_runs.

Input: `user_features` of the scored dates (one row per user and snapshot date): those that are asked for, those whose
features were published again since they were scored, and those whose history these change.
Output: for each date one row per user, one per segment and one per move between segments, each partitioned by
`snapshot_date`; `model_runs` gets a row when a model is trained.

A date is scored with its champion: under `model_policy: as_of` the one of that date, under `champion` the newest. Users
stay in the segment of the date before until another is nearer by `min_distance_gain`; with too little history they are
the segment 0. On a date that is asked for a model is trained where there is none, where the settings have changed,
after `every_days`, and where the users have drifted; it takes over where it is better.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack

from pyspark.ml import PipelineModel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

import config
from config.loader import Drift, Segmentation, SegmentWords
from spark_jobs.errors import AuditError, ConcurrentCommitError, JobError
from spark_jobs.forgotten_users import Tombstones, drop_forgotten, raise_if_changed, read_tombstones
from spark_jobs.lake.audit import find_faults
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.notes import DIGESTS, FEATURES_SNAPSHOT, FORCED, LEFT_OUTDATED, RUN_DATE
from spark_jobs.lake.session import persisted
from spark_jobs.lake.tables import (
    LONGEST_WINDOW_DAYS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    USER_FEATURES,
    USER_SEGMENTS,
)
from spark_jobs.lake.views import View
from spark_jobs.model_tracking import track_model
from spark_jobs.outdated_segments import (
    digest_segments,
    find_outdated_histories,
    find_outdated_segments,
    read_noted_digest,
)
from spark_jobs.segment_drift import find_drift
from spark_jobs.segment_identity import NEW_USERS
from spark_jobs.segment_models import (
    KEPT,
    ModelError,
    TrainedModel,
    decide_on,
    find_champion,
    find_predecessor,
    find_reason,
    find_replaced,
    load_pipeline,
    read_models,
    save_model,
)
from spark_jobs.segment_preparation import PreparationError
from spark_jobs.segment_profiles import profile_segments
from spark_jobs.segment_training import (
    TooFewUsersError,
    compare_clusters,
    continue_segments,
    decide,
    distance_to_centroid,
    hash_settings,
    measure_gain,
    train_model,
)

DAY = dt.timedelta(days=1)
HISTORY = "sessions_sum_30d"  # of this feature `min_sessions` is the least that a user needs
SINCE = "days_since"  # features of this name are null where it never happened
SCORED = (SEGMENT_TRANSITIONS, SEGMENT_PROFILES, USER_SEGMENTS)
Fitted = tuple[TrainedModel, PipelineModel]


class SegmentationError(JobError):
    """The features cannot be segmented; the message says why and what to do."""


def add_previous(features: DataFrame, before: DataFrame) -> DataFrame:
    """Adds `previous_segment_id` and `previous_since` from the user_segments of the date before, null where none is."""
    previous = before.select(
        "user_id", F.col("segment_id").alias("previous_segment_id"), F.col("segment_since").alias("previous_since")
    )
    return features.join(previous, "user_id", "left")


def add_since(scored: DataFrame) -> DataFrame:
    """Puts `segment_since` in the place of `previous_since`."""
    stayed = F.col("segment_id") == F.col("previous_segment_id")
    since = F.when(stayed, F.col("previous_since")).otherwise(F.col("snapshot_date"))
    return scored.withColumn("segment_since", since).drop("previous_since")


def score_users(features: DataFrame, fitted: Fitted | None, words: SegmentWords, min_distance_gain: float) -> DataFrame:
    """Adds `segment_id`, `segment_name`, `distance_to_centroid` and `model_id` to user_features with
    `previous_segment_id`; and `nearest_segment_id` and `nearest_distance`, as if there were no day before.

    Without a model everybody is new.
    """
    new_name = words.new_users.name or "new"
    if fitted is None:
        return features.select(
            "*",
            F.lit(NEW_USERS).alias("segment_id"),
            F.lit(new_name).alias("segment_name"),
            F.lit(None).cast("double").alias("distance_to_centroid"),
            F.lit(None).cast("string").alias("model_id"),
            F.lit(NEW_USERS).alias("nearest_segment_id"),
            F.lit(None).cast("double").alias("nearest_distance"),
        )
    model, pipeline = fitted
    ordered = sorted(model.segments, key=lambda segment: segment.cluster)
    overrides = {segment_id: own.name for segment_id, own in words.overrides.items() if own.name}
    ids = F.array(*[F.lit(s.segment_id) for s in ordered])
    names = F.array(*[F.lit(overrides.get(s.segment_id, s.segment_name)) for s in ordered])
    is_known = F.col(HISTORY) >= model.min_sessions
    clustered = pipeline.transform(features).withColumn("kept", keep_cluster(fitted, min_distance_gain))
    kept, nearest = F.col("kept"), F.col("cluster")
    return clustered.select(
        *features.columns,
        F.when(is_known, F.element_at(ids, kept + 1)).otherwise(NEW_USERS).alias("segment_id"),
        F.when(is_known, F.element_at(names, kept + 1)).otherwise(new_name).alias("segment_name"),
        F.when(is_known, distance_to_centroid(pipeline, kept)).alias("distance_to_centroid"),
        F.lit(model.model_id).alias("model_id"),
        F.when(is_known, F.element_at(ids, nearest + 1)).otherwise(NEW_USERS).alias("nearest_segment_id"),
        F.when(is_known, distance_to_centroid(pipeline, nearest)).alias("nearest_distance"),
    )


def keep_cluster(fitted: Fitted, min_distance_gain: float) -> Column:
    """The cluster of `previous_segment_id`, unless the nearest, `cluster`, is nearer by `min_distance_gain`, or the
    model has no such segment: who lies between two does not change every day."""
    model, pipeline = fitted
    clusters = F.create_map(*[F.lit(number) for s in model.segments for number in (s.segment_id, s.cluster)])
    previous, nearest = F.try_element_at(clusters, F.col("previous_segment_id")), F.col("cluster")
    enough = (1 - min_distance_gain) * distance_to_centroid(pipeline, previous)
    stays = distance_to_centroid(pipeline, nearest) >= enough
    return F.when(stays, previous).otherwise(nearest)


def count_transitions(segments: DataFrame, before: DataFrame, date: dt.date) -> DataFrame:
    """One row per from-segment x to-segment, in the columns of `segment_transitions`."""
    was = before.select("user_id", F.col("segment_id").alias("from_segment_id"))
    now = segments.select("user_id", F.col("segment_id").alias("to_segment_id"))
    moves = was.join(now, "user_id", "full").groupBy("from_segment_id", "to_segment_id")
    return moves.agg(F.count("*").alias("users")).withColumn("snapshot_date", F.lit(date))


def count_values(view: View, rows: DataFrame, date: dt.date, names: Sequence[str]) -> Mapping[str, int]:
    """`users`, and for each column `null …` and `bad …`, the users whose value is none, or is NaN or infinite.

    From the statistics of the files; Spark counts `rows` where these tell of a bad value, or do not tell.
    """
    if counted := view.count_nulls(USER_FEATURES, date, names):
        users, nulls = counted
        nulls |= {name: 0 for name in names if name.startswith(SINCE)}  # `rows` have a number there
        return {"users": users, **{f"null {n}": nulls[n] for n in names}, **{f"bad {n}": 0 for n in names}}
    checks = {"users": F.count("*")}
    checks |= {f"null {name}": F.count_if(F.col(name).isNull()) for name in names}
    checks |= {f"bad {name}": F.count_if(F.isnan(name) | (F.abs(name) == float("inf"))) for name in names}
    return rows.agg(*[count.alias(name) for name, count in checks.items()]).collect()[0].asDict()


def read_features(view: View, tombstones: Tombstones, date: dt.date, features: Collection[str]) -> DataFrame:
    """user_id, snapshot_date, HISTORY and `features` as doubles, for one date, without users who were forgotten.

    Days since what never happened are as many as the longest window has. A feature that may be null and is for every
    user, as prices are of a source without any, is told. Raises SegmentationError for features that user_features does
    not have, or that it has not for this date, and for values that are no finite numbers.
    """
    columns = {column.name: column for column in USER_FEATURES.columns}
    if unknown := sorted(set(features) - set(columns)):
        raise SegmentationError(f"user_features has no column {', '.join(unknown)}; see segmentation in pipeline.yaml")
    users = view.read_dates(USER_FEATURES, date, date).transform(drop_forgotten, tombstones)
    named = sorted({*features, HISTORY})
    values = {name: F.col(name).cast("double") for name in named}
    values |= {n: F.coalesce(values[n], F.lit(float(LONGEST_WINDOW_DAYS))) for n in named if n.startswith(SINCE)}
    rows = users.select("user_id", "snapshot_date", *[value.alias(name) for name, value in values.items()])
    found = count_values(view, rows, date, named)
    build = f"spark-submit spark_jobs/transform_clickstream.py --start-date {date} builds it again"
    if old := [name for name in named if found[f"null {name}"] and not columns[name].is_nullable]:
        raise SegmentationError(
            f"user_features {date}: {', '.join(old)} has no value: the date was built before there was such a column; "
            f"{build}"
        )
    if bad := [f"{name} of {found[f'bad {name}']:,} users" for name in named if found[f"bad {name}"]]:
        raise SegmentationError(f"user_features {date}: NaN or infinite: {', '.join(bad)}; {build}")
    for name in named:
        if 0 < found["users"] == found[f"null {name}"]:
            print(f"{date}: {name} has no value for any user: all of them count as average in it", file=sys.stderr)
    return rows


@dataclasses.dataclass(frozen=True)
class Basis:
    """By what a date is scored, read before anything is computed.

    `fitted` is the champion of the date, `history` the digest of the segments of the day before.
    """

    date: dt.date
    tombstones: Tombstones
    models: tuple[TrainedModel, ...]
    fitted: Fitted | None
    history: str

    @property
    def champion(self) -> TrainedModel | None:
        return self.fitted[0] if self.fitted else None


@dataclasses.dataclass(frozen=True)
class Trained:
    """A new model, not saved yet, and whether it scores the date that it was trained on."""

    fitted: Fitted
    takes_over: bool


@dataclasses.dataclass(frozen=True)
class Segmented:
    """The model that has scored a date, the one that was trained on it, and the users of each segment."""

    fitted: Fitted | None
    trained: Trained | None
    sizes: dict[str, int]


# -- decide -----------------------------------------------------------------------------------------------------------


def read_basis(lakehouse: Lakehouse, date: dt.date, loaded: dict[str, PipelineModel]) -> Basis:
    """`loaded` is that of `load_once`. Raises ModelError."""
    tombstones, models = read_tombstones(lakehouse), read_models(lakehouse)
    champion = find_champion(models, date, lakehouse.settings.pipeline.segmentation.model_policy)
    return Basis(
        date=date,
        tombstones=tombstones,
        models=tuple(models),
        fitted=(champion, load_once(champion, loaded)) if champion else None,
        history=read_noted_digest(lakehouse, date - DAY),
    )


def find_training_reason(
    basis: Basis, scored: DataFrame, segmentation: Segmentation, *, must_train: bool
) -> str | None:
    """Why a model has to be trained on the date, or None; `scored` is what the champion says of its users."""
    champion, settings_hash = basis.champion, hash_settings(segmentation)
    drift = find_user_drift(champion, scored, segmentation.drift) if champion else []
    reason = find_reason(basis.models, champion, basis.date, settings_hash, drift, segmentation.training)
    if reason is None and champion and must_train:
        return "asked" if champion.settings_hash == settings_hash else "settings"
    return reason


def find_user_drift(champion: TrainedModel, scored: DataFrame, limits: Drift) -> list[str]:
    """How the users who have a segment differ from those that the champion was trained on."""
    # As in training, where nobody has a day before.
    nearest = {"segment_id": F.col("nearest_segment_id"), "distance_to_centroid": F.col("nearest_distance")}
    known = scored.where(F.col("segment_id") != NEW_USERS).withColumns(nearest)
    return find_drift(known, champion.baseline, limits)


# -- compute ----------------------------------------------------------------------------------------------------------


def score_date(view: View, basis: Basis, fitted: Fitted | None, before: DataFrame) -> DataFrame:
    """user_segments of one date with the features that the model reads; `before` is that of the date before.

    Raises SegmentationError.
    """
    settings, words = view.lakehouse.settings.pipeline.segmentation, view.lakehouse.settings.segment_words
    names = fitted[0].inputs if fitted else settings.features
    features = add_previous(read_features(view, basis.tombstones, basis.date, names), before)
    return add_since(score_users(features, fitted, words, settings.min_distance_gain))


def train_if_due(view: View, basis: Basis, scored: DataFrame, *, must_train: bool) -> Trained | None:
    """A model of the date's users, if one is due; `scored` is what the champion says of them.

    None as well where there are too few users for a model, and where it is one that was decided on already.
    Raises SegmentationError, ModelError.
    """
    settings = view.lakehouse.settings.pipeline.segmentation
    reason = find_training_reason(basis, scored, settings, must_train=must_train)
    if reason is None:
        return None
    predecessor = find_predecessor(basis.models, basis.date)
    columns = {*settings.features, *settings.rate_features.values(), *(predecessor.inputs if predecessor else ())}
    features = read_features(view, basis.tombstones, basis.date, columns)
    with persisted(features.where(F.col(HISTORY) >= settings.min_sessions)) as known:
        fitted = fit_model(view.lakehouse, basis, known, reason)
        return judge_model(view.lakehouse, basis, known, fitted, predecessor) if fitted else None


def fit_model(lakehouse: Lakehouse, basis: Basis, known: DataFrame, reason: str) -> Fitted | None:
    """A model of the users with enough history; None, and told, where none comes about or it was decided on already.

    Raises SegmentationError.
    """
    settings, date = lakehouse.settings.pipeline.segmentation, basis.date
    try:
        model, pipeline = train_model(known, date, reason, settings, lakehouse.models_path)
    except PreparationError as error:
        raise SegmentationError(f"user_features {date}: {error}") from error
    except TooFewUsersError as error:
        new_users = lakehouse.settings.segment_words.new_users.name
        remains = f"{basis.champion.model_id} goes on" if basis.champion else f"all are {new_users} until there are"
        print(f"{date}: no model was trained: {error}; {remains}", file=sys.stderr)
        return None
    earlier = next((other for other in basis.models if other.model_id == model.model_id), None)
    if earlier and earlier.decision != KEPT:
        print(f"{date}: {model.model_id} was trained before: {earlier.decision_reason}", file=sys.stderr)
        return None
    return model, pipeline


def judge_model(
    lakehouse: Lakehouse, basis: Basis, known: DataFrame, fitted: Fitted, predecessor: TrainedModel | None
) -> Trained:
    """The model with its clusters as segments, those of `predecessor` continued, and what becomes of it."""
    settings, words = lakehouse.settings.pipeline.segmentation, lakehouse.settings.segment_words
    model, pipeline = fitted
    comparison = None
    if predecessor:
        is_champion = basis.fitted is not None and basis.fitted[0].model_id == predecessor.model_id
        before = basis.fitted[1] if basis.fitted and is_champion else load_pipeline(predecessor)
        model = dataclasses.replace(model, silhouette_gain=measure_gain(known, pipeline, before))
        comparison = compare_clusters(known, pipeline, before)
    others = [other for other in basis.models if other.model_id != model.model_id]
    used_ids = [segment.segment_id for other in others for segment in other.segments]
    clustered = pipeline.transform(known)
    model = continue_segments(model, clustered, predecessor, comparison, used_ids, words.names, settings)
    model = decide(model, settings.training)
    replaced = {other.model_id for other in find_replaced(others, model)}
    remaining = [other for other in others if other.model_id not in replaced]
    chosen = find_champion([*remaining, model], basis.date, settings.model_policy)
    return Trained((model, pipeline), takes_over=chosen is model)


def draft_segments(draft: Draft, basis: Basis, *, may_train: bool, must_train: bool) -> Segmented:
    """Score the date, where it is due after training, into the draft of every table.

    Raises SegmentationError, ModelError.
    """
    lakehouse, date, fitted, trained = draft.lakehouse, basis.date, basis.fitted, None
    before = draft.read_dates(USER_SEGMENTS, date - DAY, date - DAY)
    with ExitStack() as caches:
        scored = caches.enter_context(persisted(score_date(draft, basis, fitted, before)))
        if must_train or may_train:
            trained = train_if_due(draft, basis, scored, must_train=must_train)
        if trained and trained.takes_over:
            fitted = trained.fitted
            scored = caches.enter_context(persisted(score_date(draft, basis, fitted, before)))
        rule_names = {segment.segment_id: segment.segment_name for segment in fitted[0].segments} if fitted else {}
        names = fitted[0].features if fitted else lakehouse.settings.pipeline.segmentation.features
        moves = count_transitions(scored, before, date).select(*SEGMENT_TRANSITIONS.column_names)
        draft.replace_rows(SEGMENT_TRANSITIONS, moves.collect(), [date])
        profiles = profile_segments(scored, names, lakehouse.settings.segment_words, rule_names)
        draft.replace_rows(SEGMENT_PROFILES, profiles, [date])
        draft.replace_dates(USER_SEGMENTS, scored, [date])
    sizes = Counter[str]()
    for profile in profiles:
        sizes[profile.segment_name] += profile.users
    return Segmented(fitted, trained, dict(sizes))


# -- publish ----------------------------------------------------------------------------------------------------------


def raise_if_overtaken(draft: Draft, basis: Basis) -> None:
    """Raise ConcurrentCommitError where anything has changed on which the draft rests."""
    lakehouse, date = draft.lakehouse, basis.date
    raise_if_changed(lakehouse, basis.tombstones)
    policy = lakehouse.settings.pipeline.segmentation.model_policy
    now = find_champion(read_models(lakehouse), date, policy)
    if (now and now.model_id) != (basis.champion and basis.champion.model_id):
        raise ConcurrentCommitError(f"the champion of {date} has changed meanwhile")
    if read_noted_digest(lakehouse, date - DAY) != basis.history:
        raise ConcurrentCommitError(f"the segments of {date - DAY} have changed meanwhile")
    for table in SCORED:
        draft.raise_if_changed(table, date - DAY, date)


def keep_model(lakehouse: Lakehouse, fitted: Fitted) -> None:
    """Save and track a trained model, and say what becomes of it."""
    model, pipeline = fitted
    save_model(lakehouse, model, pipeline)
    track_model(model, lakehouse.settings)
    print(
        f"{model.trained_on}: trained {model.model_id} ({model.training_reason}), {model.decision}: "
        f"{model.decision_reason}",
        file=sys.stderr,
    )


def publish_segments(draft: Draft, basis: Basis, notes: dict[str, str]) -> None:
    """One commit for each table, `user_segments` last: by it the next run sees whether the date is done.

    Raises ConcurrentCommitError where somebody changes the date or the one before in the second since
    `raise_if_overtaken`. Then transitions and profiles may be those of the draft already, and the next run of the date
    replaces them: its segments are the old ones, which do not fit the features, or the date before, any more.
    """
    digests = {basis.date: (digest_segments(draft, basis.date), basis.history)}
    for table in SCORED:
        draft.publish(table, basis.date - DAY, basis.date, notes | DIGESTS.write(digests))


def load_once(model: TrainedModel, loaded: dict[str, PipelineModel]) -> PipelineModel:
    """The model's pipeline out of `loaded`, by its id, which holds the last one. Raises ModelError."""
    if model.model_id not in loaded:
        loaded.clear()
        loaded[model.model_id] = load_pipeline(model)
    return loaded[model.model_id]


def segment_dates(
    lakehouse: Lakehouse,
    asked: Collection[dt.date],
    *,
    is_forced: bool = False,
    must_train: bool = False,
    loaded: dict[str, PipelineModel] | None = None,
) -> Iterator[dict[str, object]]:
    """Score the dates that are asked for, the outdated ones, and those whose history these change; in order.

    Hands out a report for each; `loaded` is that of `load_once`. What is wrong with a date that is not asked for is
    told and stops no other; `is_forced` and `must_train` are not meant for it. Raises SegmentationError, ModelError,
    AuditError, ConcurrentCommitError.
    """
    # Before anything is read: what is published from now on makes all of its dates outdated again.
    features_snapshot = lakehouse.ensure_snapshot(USER_FEATURES)
    left: list[dt.date] = []
    loaded = {} if loaded is None else loaded
    pending = {*asked, *find_outdated_segments(lakehouse), *find_outdated_histories(lakehouse)}
    done = set[dt.date]()
    while pending:
        date = min(pending)
        done.add(date)
        is_asked = date in asked
        try:
            yield segment_date(
                lakehouse,
                date,
                features_snapshot,
                loaded,
                is_asked=is_asked,
                is_forced=is_forced and is_asked,
                must_train=must_train and is_asked,
                left_outdated=left,
            )
        except (AuditError, SegmentationError, ModelError) as error:
            if is_asked:
                raise
            left.append(date)
            print(f"{date} keeps its segments, which are older than its features: {error}", file=sys.stderr)
        pending = (pending | find_outdated_histories(lakehouse)) - done


def segment_date(
    lakehouse: Lakehouse,
    date: dt.date,
    features_snapshot: int,
    loaded: dict[str, PipelineModel],
    *,
    is_asked: bool = True,
    is_forced: bool = False,
    must_train: bool = False,
    left_outdated: Sequence[dt.date] = (),
) -> dict[str, object]:
    """Score one date, where it is asked for after training a model that is due; replaces the date's partitions.

    `features_snapshot`, of user_features or an older one, and `left_outdated` are noted in the snapshots, with digests
    of the segments of the date and of the one before, see outdated_segments; `loaded` is that of `load_once`. A model
    that was trained is recorded before the segments, whatever becomes of it. Raises SegmentationError, ModelError,
    AuditError, and ConcurrentCommitError where another run has changed the date or the one before meanwhile, a person
    the champion, or a user was forgotten: nothing is published then, nor is the model, but for what `publish_segments`
    says of its last second.
    """
    settings = lakehouse.settings.pipeline
    with Draft(lakehouse, SCORED) as draft, draft.explain_expiry():
        basis = read_basis(lakehouse, date, loaded)
        is_past = settings.segmentation.model_policy == "champion" and was_trained_after(basis.champion, date)
        segmented = draft_segments(draft, basis, may_train=is_asked and not is_past, must_train=must_train)
        faults = find_faults(draft, settings.audit)
        raise_if_overtaken(draft, basis)
        if faults and not is_forced:
            raise AuditError("; ".join(faults))
        if segmented.trained:
            keep_model(lakehouse, segmented.trained.fitted)
        notes = (
            lakehouse.describe_job()
            | RUN_DATE.write(date)
            | FEATURES_SNAPSHOT.write(features_snapshot)
            | FORCED.write(faults)
            | LEFT_OUTDATED.write(list(left_outdated))
        )
        publish_segments(draft, basis, notes)
    model_id = segmented.fitted[0].model_id if segmented.fitted else None
    return {"date": str(date), "model": model_id, "segments": segmented.sizes}


def was_trained_after(model: TrainedModel | None, date: dt.date) -> bool:
    return model is not None and model.trained_on > date


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
    parser.add_argument(
        "--num-clusters",
        type=parse_clusters,
        help="a number, or auto: trains a model by it; later dates go by pipeline.yaml",
    )
    parser.add_argument("--train", action="store_true", help="train a model on each date, though none is due")
    parser.add_argument(
        "--needs-approval",
        action=argparse.BooleanOptionalAction,
        help="a model that would take over waits for a person; default: pipeline.yaml",
    )
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument(
        "--approve", metavar="MODEL", help="make a model champion from --start-date on, instead of segmenting"
    )
    decision.add_argument("--reject", metavar="MODEL", help="never use a model that waits, instead of segmenting")
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
    existing = lakehouse.main.list_dates(USER_FEATURES)
    if not existing:
        raise SegmentationError("user_features is empty; run transform_clickstream first")
    start = args.start_date or existing[-1]
    end = args.end_date or start
    if end < start:
        raise SegmentationError(
            f"--end-date {end} lies before {'--start-date' if args.start_date else 'the newest'} {start}"
        )
    asked = {start + n * DAY for n in range((end - start).days + 1)}
    if missing := sorted(asked - set(existing)):
        raise SegmentationError(f"user_features has no users on {missing[0]}; run transform_clickstream for it first")
    return sorted(asked)


def settle(lakehouse: Lakehouse, args: argparse.Namespace) -> None:
    """Approve or reject a model; an approved one scores from --start-date on, by default what is not scored yet."""
    scored = lakehouse.main.list_dates(USER_SEGMENTS)
    if not args.start_date and not scored:
        raise SegmentationError("user_segments is empty: nothing was trained yet that could be approved or rejected")
    since = args.start_date or scored[-1] + DAY
    model = decide_on(
        lakehouse,
        args.approve or args.reject,
        is_approved=bool(args.approve),
        champion_from=since,
        reason="approved by a person" if args.approve else "rejected by a person",
    )
    print(json.dumps({"model": model.model_id, "decision": model.decision, "champion_from": str(model.champion_from)}))


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    settings = config.load()
    segmentation = settings.pipeline.segmentation
    if args.num_clusters is not None:
        segmentation = dataclasses.replace(segmentation, num_clusters=args.num_clusters)
    if args.needs_approval is not None:
        training = dataclasses.replace(segmentation.training, needs_approval=args.needs_approval)
        segmentation = dataclasses.replace(segmentation, training=training)
    settings = dataclasses.replace(settings, pipeline=dataclasses.replace(settings.pipeline, segmentation=segmentation))
    must_train = args.train or args.num_clusters is not None
    paths = {"input_path": args.features_path, "output_path": args.output_path, "inputs": (USER_FEATURES,)}
    with open_lakehouse("user_segmentation_ml", settings, **paths) as lakehouse:
        if args.approve or args.reject:
            settle(lakehouse, args)
            return 0
        dates = choose_dates(args, lakehouse)
        for report in segment_dates(lakehouse, dates, is_forced=args.force, must_train=must_train):
            print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
