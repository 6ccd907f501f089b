"""Trained models: their rows in model_runs, their artifacts, which one is champion of a date, and when one is due.

`<artifact>/pipeline` is the fitted PipelineModel, `<artifact>/model.json` its metadata: the row of model_runs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark.ml import PipelineModel

from config.loader import Training
from spark_jobs.cluster_choice import Candidate
from spark_jobs.errors import JobError
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.tables import LONGEST_WINDOW_DAYS, MODEL_RUNS
from spark_jobs.segment_drift import Baseline
from spark_jobs.segment_identity import Segment
from spark_jobs.segment_preparation import prepared_features

CHAMPION, KEPT, WAITING, REJECTED = "champion", "kept", "waiting", "rejected"


class ModelError(JobError):
    """A model cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class VanishedSegment:
    """A segment of the model before that no cluster is any more."""

    segment_id: int
    segment_name: str


@dataclass(frozen=True)
class TrainedModel:
    """A row of `model_runs`."""

    model_id: str
    trained_on: dt.date
    training_reason: str
    users: int
    settings_hash: str
    k: int
    candidates: tuple[Candidate, ...]
    k_reason: str
    features: tuple[str, ...]
    inputs: tuple[str, ...]
    dropped_features: dict[str, str]
    min_sessions: int
    segments: tuple[Segment, ...]
    vanished_segments: tuple[VanishedSegment, ...]
    compared_with: str | None
    silhouette_gain: float | None
    baseline: Baseline
    artifact: str
    decision: str
    decision_reason: str
    champion_from: dt.date | None

    def to_row(self) -> dict[str, Any]:
        """The columns of model_runs."""
        return asdict(self) | {
            "data_from": self.trained_on - dt.timedelta(days=LONGEST_WINDOW_DAYS - 1),
            "baseline": json.dumps(self.baseline.to_json()),
        }

    def to_text(self) -> str:
        """JSON of the row, as it stands in model.json."""
        return json.dumps(self.to_row() | {"baseline": self.baseline.to_json()}, indent=2, default=str)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TrainedModel:
        """From a row as `Lakehouse.read_rows` gives it."""
        values = {name: value for name, value in row.items() if name != "data_from"}
        return cls(
            **{
                **values,
                "dropped_features": dict(values["dropped_features"]),
                "candidates": tuple(Candidate(**candidate) for candidate in values["candidates"]),
                "features": tuple(values["features"]),
                "inputs": tuple(values["inputs"]),
                "segments": tuple(Segment(**segment) for segment in values["segments"]),
                "vanished_segments": tuple(VanishedSegment(**segment) for segment in values["vanished_segments"]),
                "baseline": Baseline.from_json(json.loads(values["baseline"])),
            }
        )


def read_models(lakehouse: Lakehouse) -> list[TrainedModel]:
    """Every model, in the order of training."""
    models = map(TrainedModel.from_row, lakehouse.read_rows(MODEL_RUNS))
    return sorted(models, key=lambda model: (model.trained_on, model.model_id))


def find_champion(models: Sequence[TrainedModel], date: dt.date, policy: str) -> TrainedModel | None:
    """The model that scores `date`: under `as_of` the champion of that date, under `champion` the newest of all."""
    champions = [m for m in models if m.champion_from and (policy == "champion" or m.champion_from <= date)]
    return max(champions, key=_since, default=None)


def find_predecessor(models: Sequence[TrainedModel], date: dt.date) -> TrainedModel | None:
    """Whose segments a model trained on `date` continues: the champion of the date, else the first one after it."""
    champions = [m for m in models if m.champion_from]
    return find_champion(models, date, "as_of") or min(champions, key=_since, default=None)


def _since(model: TrainedModel) -> tuple[dt.date, dt.date, str]:
    return model.champion_from or dt.date.min, model.trained_on, model.model_id


def find_reason(
    models: Sequence[TrainedModel],
    champion: TrainedModel | None,
    date: dt.date,
    settings_hash: str,
    drift: Sequence[str],
    training: Training,
) -> str | None:
    """Why a model has to be trained on `date`, or None.

    A date that lies before the newest training is judged by the models before it alone, so that doing it again says
    what it said: new settings begin with the newest date. On a date on which a model was trained no other one is,
    unless the settings have changed.
    """
    if champion is None:
        return "first"
    known = [m for m in models if m.trained_on <= date]
    is_newest = len(known) == len(models)
    if is_newest and champion.settings_hash != settings_hash and not _was_judged(known, champion, settings_hash):
        return "settings"
    if any(m.trained_on == date for m in known):
        return None
    last = max(known, key=lambda m: (m.trained_on, m.model_id), default=champion)
    if date - last.trained_on >= dt.timedelta(days=training.every_days):
        return "schedule"
    if drift and last.trained_on <= champion.trained_on:
        return f"drift: {'; '.join(drift)}"
    return None


def _was_judged(models: Sequence[TrainedModel], champion: TrainedModel, settings_hash: str) -> bool:
    """Whether a model with these settings was trained since the champion was, and waits or was turned down."""
    return any(
        m.settings_hash == settings_hash
        and (m.trained_on > champion.trained_on or (m.trained_on == champion.trained_on and m.decision != KEPT))
        for m in models
    )


def find_replaced(models: Sequence[TrainedModel], model: TrainedModel) -> list[TrainedModel]:
    """The champions from the same date on as `model`, a new one, as they are from now on: no champions."""
    return [
        replace(m, decision=KEPT, decision_reason=f"replaced by {model.model_id} on its first date", champion_from=None)
        for m in models
        if model.champion_from and m.champion_from == model.champion_from and m.model_id != model.model_id
    ]


def load_pipeline(model: TrainedModel) -> PipelineModel:
    """The saved pipeline. Raises ModelError when its artifact is missing or reads other features."""
    try:
        pipeline = PipelineModel.load(f"{model.artifact}/pipeline")
    except Exception as error:
        raise ModelError(
            f"model {model.model_id}: {model.artifact} cannot be loaded; restore it, or delete its row of model_runs "
            f"to train anew: {str(error).splitlines()[0]}"
        ) from error
    reads = prepared_features(pipeline)
    if reads != model.features:
        raise ModelError(
            f"model {model.model_id}: its artifact reads {', '.join(reads)}, but model_runs says "
            f"{', '.join(model.features)}; restore the artifact, or delete the row to train anew"
        )
    return pipeline


def save_model(lakehouse: Lakehouse, model: TrainedModel, pipeline: PipelineModel) -> None:
    """Save the artifact, then the row: what stands in model_runs can be loaded."""
    pipeline.write().overwrite().save(f"{model.artifact}/pipeline")
    record_model(lakehouse, model)


def record_model(lakehouse: Lakehouse, model: TrainedModel) -> None:
    """Write the model's metadata and its row of `model_runs`, with the rows of the champions that it replaces, in one
    commit."""
    models = [model, *find_replaced(read_models(lakehouse), model)]
    for each in models:
        lakehouse.write_text(MODEL_RUNS, f"{each.artifact}/model.json", each.to_text())
    rows = [tuple(_plain(each.to_row()[name]) for name in MODEL_RUNS.column_names) for each in models]
    lakehouse.merge_rows(MODEL_RUNS, lakehouse.spark.createDataFrame(rows, MODEL_RUNS.ddl), "model_id")


def decide_on(
    lakehouse: Lakehouse, model_id: str, *, is_approved: bool, champion_from: dt.date, reason: str
) -> TrainedModel:
    """Make a model champion from a date on, or reject it; where it is decided so already, nothing changes.

    Raises ModelError for one that is not there, one that is champion, and one whose segments were not continued from
    those of today's champion.
    """
    models = {model.model_id: model for model in read_models(lakehouse)}
    model = models.get(model_id)
    if model is None:
        known = ", ".join(m.model_id for m in models.values() if m.decision != CHAMPION) or "none"
        raise ModelError(f"model_runs has no model {model_id}; those that are not champion: {known}")
    wanted = CHAMPION if is_approved else REJECTED
    if (model.decision, model.decision_reason) == (wanted, reason):
        return model
    if model.decision == CHAMPION:
        raise ModelError(f"{model_id} is champion already, from {model.champion_from} on")
    champion = find_champion(list(models.values()), champion_from, "as_of")
    if is_approved and champion and model.compared_with != champion.model_id:
        raise ModelError(
            f"{model_id} continues the segments of {model.compared_with}, but {champion.model_id} is champion by now; "
            "train a new one with --train"
        )
    decided = replace(
        model,
        decision=wanted,
        decision_reason=reason,
        champion_from=champion_from if is_approved else None,
    )
    record_model(lakehouse, decided)
    return decided


def _plain(value: Any) -> Any:
    """Lists of plain tuples, as createDataFrame takes them."""
    if isinstance(value, list | tuple):
        return [tuple(item.values()) if isinstance(item, dict) else item for item in value]
    return value
