"""A trained model as a run of MLflow: its parameters, the scores of every k that was tried, its row, a chart of them.

The experiment is the Glue database, the run is the model: training the same model again goes on with its run. What has
been decided about it since stands in `model_runs`.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from config.loader import PROJECT_ROOT, Segmentation, Settings
from spark_jobs.segment_models import TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reads them when it is imported and when it asks; what the environment says already stays.
MLFLOW_VARIABLES = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder is enough here: MLflow merely adds no features to it any more
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Without them a server that does not answer holds the job for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
}
SCORES = ("silhouette", "inertia", "inertia_gain", "stability", "smallest_share")


def track_model(model: TrainedModel, settings: Settings) -> None:
    """Log the model to `mlflow_tracking_uri`: a server, or a folder, a relative one below the project; null: nowhere.

    The model is saved without it: what fails here is told on stderr and stops nothing.
    """
    uri = settings.environment.mlflow_tracking_uri
    if uri is None:
        return
    for name, value in MLFLOW_VARIABLES.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient  # seconds: only who trains a model waits for it

        client = MlflowClient(tracking_uri=uri if "://" in uri else (PROJECT_ROOT / uri).as_uri())
        log_model(client, model, settings.pipeline.segmentation, settings.paths.database)
    except Exception as error:  # of MLflow, of its HTTP client, of the file system, of the store of the artifacts
        reason = " ".join(str(error).split()) or repr(error)
        print(
            f"{model.model_id} is not tracked at {uri} (mlflow_tracking_uri of the environment): {reason}",
            file=sys.stderr,
        )


def log_model(client: MlflowClient, model: TrainedModel, settings: Segmentation, experiment: str) -> None:
    """Log everything about the model to its run, which is made where there is none."""
    from mlflow.entities import Metric, Param, RunTag

    from spark_jobs.segment_charts import draw_candidates

    known = client.get_experiment_by_name(experiment)
    experiment_id = known.experiment_id if known else client.create_experiment(experiment)
    runs = client.search_runs([experiment_id], f"attributes.run_name = '{model.model_id}'", max_results=1)
    run = runs[0] if runs else client.create_run(experiment_id, run_name=model.model_id)
    now = int(time.time() * 1000)
    parameters, logged = describe_parameters(model, settings), run.data.params
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now, step) for name, value, step in list_metrics(model)],
        params=[Param(name, value) for name, value in parameters.items() if name not in logged],
        # A parameter cannot be changed: what another training says is a tag of the same name.
        tags=[RunTag(name, value) for name, value in parameters.items() if logged.get(name, value) != value],
    )
    client.log_text(run.info.run_id, model.to_text(), "model.json")
    client.log_text(
        run.info.run_id, draw_candidates([asdict(c) for c in model.candidates], model.k).to_html(), "candidates.html"
    )
    client.set_terminated(run.info.run_id)


def describe_parameters(model: TrainedModel, settings: Segmentation) -> dict[str, str]:
    """What the model was trained with; `model.json` has the rest."""
    return {
        "k": str(model.k),
        "features": ", ".join(model.features),
        "settings_hash": model.settings_hash,
        "min_sessions": str(model.min_sessions),
        "num_clusters": str(settings.num_clusters),
        "seed": str(settings.seed),
        "num_seeds": str(settings.num_seeds),
        "max_iterations": str(settings.max_iterations),
        "winsorised_share": str(settings.winsorised_share),
        "trained_on": str(model.trained_on),
        "training_reason": model.training_reason,
    }


def list_metrics(model: TrainedModel) -> list[tuple[str, float, int]]:
    """Name, value and step. `candidate_<score>` has a step for each k, `<score>` is that of the k that was chosen."""
    metrics: list[tuple[str, float | None, int]] = [
        ("users", model.users, 0),
        ("silhouette_gain", model.silhouette_gain, 0),
    ]
    for candidate in model.candidates:
        for score in SCORES:
            metrics.append((f"candidate_{score}", getattr(candidate, score), candidate.k))
            if candidate.k == model.k:
                metrics.append((score, getattr(candidate, score), 0))
    return [(name, float(value), step) for name, value, step in metrics if value is not None]
