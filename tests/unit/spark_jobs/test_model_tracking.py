"""Trained models in MLflow: what a run holds, when there is none, and a server that is away."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import config
from config.loader import PROJECT_ROOT, Settings
from spark_jobs import model_tracking
from spark_jobs.cluster_choice import Candidate
from spark_jobs.model_tracking import MLFLOW_VARIABLES, track_model
from spark_jobs.segment_drift import Baseline
from spark_jobs.segment_identity import Segment
from spark_jobs.segment_models import TrainedModel

MODEL = TrainedModel(
    model_id="kmeans-2025-04-01-k3-0a1b2c3d",
    trained_on=date(2025, 4, 1),
    training_reason="schedule",
    users=1200,
    settings_hash="0a1b2c3d",
    k=3,
    candidates=(
        Candidate(k=2, silhouette=0.5, inertia=900.0, inertia_gain=None, stability=1.0, smallest_share=0.4),
        Candidate(k=3, silhouette=0.75, inertia=400.0, inertia_gain=0.5, stability=0.875, smallest_share=0.25),
        Candidate(k=4, silhouette=0.625, inertia=380.0, inertia_gain=0.05, stability=0.5, smallest_share=0.01),
    ),
    k_reason="the highest silhouette",
    features=("events_sum_30d", "search_rate_30d"),
    inputs=("events_sum_30d", "search_rate_30d", "clicks_sum_30d"),
    dropped_features={},
    min_sessions=3,
    segments=(Segment(0, 1, "buyers"), Segment(1, 2, "Käufer"), Segment(2, 3, "segment 3")),
    vanished_segments=(),
    compared_with="kmeans-2025-03-25-k3-0a1b2c3d",
    silhouette_gain=0.03125,
    baseline=Baseline({"events_sum_30d": [1.0]}, {"events_sum_30d": [0.5, 0.5]}, {1: 0.5}, 0.9),
    artifact="s3://bucket/models/kmeans-2025-04-01-k3-0a1b2c3d",
    decision="waiting",
    decision_reason="+0.031 of silhouette",
    champion_from=None,
)


@pytest.fixture(autouse=True)
def _variables() -> Iterator[None]:
    """The variables of MLflow are those that the job sets, and go with the test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_VARIABLES:
            patch.setenv(name, "")  # so that undoing takes away what the job sets
            del os.environ[name]
        yield


def settings_with(uri: str | None) -> Settings:
    settings = config.load("local")
    environment = dataclasses.replace(settings.environment, mlflow_tracking_uri=uri)
    segmentation = dataclasses.replace(
        settings.pipeline.segmentation,
        num_clusters="auto",
        seed=5,
        num_seeds=4,
        max_iterations=30,
        winsorised_share=0.01,
    )
    pipeline = dataclasses.replace(settings.pipeline, segmentation=segmentation)
    return dataclasses.replace(settings, environment=environment, pipeline=pipeline)


def read_runs(folder: Path) -> tuple[Any, list[Any]]:
    """A client of the store, and all runs of the experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name(config.load("local").paths.database)
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


def test_a_run_holds_parameters_scores_of_every_k_the_row_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track_model(MODEL, settings_with(str(tmp_path / "mlflow")))
    assert capsys.readouterr().err == ""
    client, (run,) = read_runs(tmp_path / "mlflow")
    assert (run.info.run_name, run.info.status) == (MODEL.model_id, "FINISHED")
    assert run.data.params == {
        "k": "3",
        "features": "events_sum_30d, search_rate_30d",
        "settings_hash": "0a1b2c3d",
        "min_sessions": "3",
        "num_clusters": "auto",
        "seed": "5",
        "num_seeds": "4",
        "max_iterations": "30",
        "winsorised_share": "0.01",
        "trained_on": "2025-04-01",
        "training_reason": "schedule",
    }
    chosen = {name: value for name, value in run.data.metrics.items() if not name.startswith("candidate_")}
    assert chosen == {
        "users": 1200.0,
        "silhouette_gain": 0.03125,
        "silhouette": 0.75,
        "inertia": 400.0,
        "inertia_gain": 0.5,
        "stability": 0.875,
        "smallest_share": 0.25,
    }
    by_k = {
        name: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
        if name.startswith("candidate_")
    }
    assert by_k == {
        "candidate_silhouette": {2: 0.5, 3: 0.75, 4: 0.625},
        "candidate_inertia": {2: 900.0, 3: 400.0, 4: 380.0},
        "candidate_inertia_gain": {3: 0.5, 4: 0.05},
        "candidate_stability": {2: 1.0, 3: 0.875, 4: 0.5},
        "candidate_smallest_share": {2: 0.4, 3: 0.25, 4: 0.01},
    }
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert sorted(file.name for file in folder.iterdir()) == ["candidates.html", "model.json"]
    row = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (row["model_id"], row["data_from"], row["decision"]) == (MODEL.model_id, "2025-03-03", "waiting")
    assert [segment["segment_name"] for segment in row["segments"]] == ["buyers", "Käufer", "segment 3"]
    assert row["baseline"]["distance_mean"] == 0.9
    chart = (folder / "candidates.html").read_text(encoding="utf-8")
    assert "silhouette" in chart
    assert "stability" in chart
    assert '<script src="http' not in chart  # it shows without a network


def test_training_the_same_model_again_goes_on_with_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_with(str(tmp_path / "mlflow"))
    track_model(MODEL, settings)
    again = dataclasses.replace(MODEL, training_reason="settings", users=1300, decision="champion")
    track_model(again, settings)
    other = dataclasses.replace(MODEL, model_id="kmeans-2025-04-01-k4-0a1b2c3d", silhouette_gain=None)
    track_model(other, settings)
    assert capsys.readouterr().err == ""
    _, runs = read_runs(tmp_path / "mlflow")
    by_name = {run.info.run_name: run for run in runs}
    assert sorted(run.info.run_name for run in runs) == [MODEL.model_id, other.model_id]
    run = by_name[MODEL.model_id]
    assert run.data.metrics["users"] == 1300.0
    # MLflow keeps the first value of a parameter.
    assert (run.data.params["training_reason"], run.data.tags["training_reason"]) == ("schedule", "settings")
    assert "k" not in run.data.tags
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert json.loads((artifacts / "model.json").read_text(encoding="utf-8"))["decision"] == "champion"
    assert "silhouette_gain" not in by_name[other.model_id].data.metrics


def test_a_relative_folder_lies_below_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_tracking, "PROJECT_ROOT", tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    track_model(MODEL, settings_with("kept here/mlflow"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]
    _, runs = read_runs(tmp_path / "project" / "kept here" / "mlflow")
    assert len(runs) == 1


def test_without_a_uri_nothing_is_tracked_and_mlflow_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.unit.spark_jobs.test_model_tracking import MODEL, settings_with, track_model; "
        "track_model(MODEL, settings_with(None)); print('mlflow' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEHOUSE")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.stdout.strip(), result.returncode) == ("False", 0), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_is_told_in_one_line_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens: refused, and nobody else can take it meanwhile
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        track_model(MODEL, settings_with(uri))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{MODEL.model_id} is not tracked at {uri} (mlflow_tracking_uri of the environment")
    assert "refused" in line


def test_mlflow_neither_phones_home_nor_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    track_model(MODEL, settings_with("http://127.0.0.1:9"))
    understood: Any = importlib.import_module("mlflow.environment_variables")
    assert understood.MLFLOW_DISABLE_TELEMETRY.get() is True
    assert understood.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() <= 2
    assert understood.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get() <= 1
    assert understood.MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 60  # who has said otherwise is heard


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    track_model(MODEL, settings_with(str(tmp_path / "file" / "mlflow")))
    assert f"is not tracked at {tmp_path}/file/mlflow (mlflow_tracking_uri" in capsys.readouterr().err
