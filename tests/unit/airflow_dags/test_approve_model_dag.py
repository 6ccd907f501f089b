"""A person's approval: the DAG that asks and does what is answered, and the daily run that has it ask."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from config.loader import CONFIG_DIR, PROJECT_ROOT
from spark_jobs import user_segmentation_ml
from tests.altered_settings import write_altered
from tests.unit.airflow_dags import import_with_home

MODEL = "kmeans-2025-04-01-k4-0a1b2c3d"


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return import_with_home("airflow_dags.approve_model_dag", tmp_path_factory.mktemp("airflow")).dag


def rendered(dag: Any, task_id: str, field: str, model_id: str = MODEL) -> Any:
    task = dag.get_task(task_id)
    return task.render_template(getattr(task, field), {"params": {"model_id": model_id}})


def test_a_person_is_asked_before_the_model_is_approved_or_rejected(dag: Any) -> None:
    followed_by = {task.task_id: (task.task_type, task.downstream_task_ids) for task in dag.tasks}
    # The operator skips what follows it directly when the answer is Reject: `reject` must not.
    assert followed_by == {
        "ask": ("ApprovalOperator", {"approve"}),
        "approve": ("SparkSubmitOperator", {"reject", "settled"}),
        "reject": ("SparkSubmitOperator", {"settled"}),
        "settled": ("EmptyOperator", set()),
    }
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
    assert rules == {
        "ask": "all_success",
        "approve": "all_success",
        "reject": "all_skipped",
        "settled": "none_failed_min_one_success",
    }
    assert dag.get_task("ask").ignore_downstream_trigger_rules is False


def test_the_question_names_the_model_and_where_to_look(dag: Any) -> None:
    assert rendered(dag, "ask", "subject") == f"Does {MODEL} become champion?"
    body = rendered(dag, "ask", "body")
    assert f"FROM clickstream.model_runs WHERE model_id = '{MODEL}'" in body
    assert "MLflow" in body
    assert "`make segments`" in body
    assert "{" not in body


def test_nobody_answers_for_a_week_then_the_task_fails_once_and_decides_nothing(dag: Any) -> None:
    ask = dag.get_task("ask")
    assert (ask.response_timeout, ask.defaults, ask.retries) == (dt.timedelta(days=7), None, 0)


@pytest.mark.parametrize("model_id", [MODEL, "--force", 'he said "no" {{ 1 }}'])
def test_the_job_understands_the_answer(dag: Any, model_id: str) -> None:
    for task_id in ("approve", "reject"):
        assert Path(dag.get_task(task_id).application) == PROJECT_ROOT / "spark_jobs" / "user_segmentation_ml.py"
        arguments = user_segmentation_ml.parse_arguments(rendered(dag, task_id, "application_args", model_id))
        other = {"approve": "reject", "reject": "approve"}[task_id]
        assert (getattr(arguments, task_id), getattr(arguments, other), arguments.start_date) == (model_id, None, None)


def test_it_runs_only_when_triggered_with_a_model(dag: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    assert dag.schedule is None
    assert dag.is_paused_upon_creation is False  # nobody would see the question
    assert dag.doc_md
    assert dag.max_active_runs > 1  # a question that waits for a week holds up no other
    for missing in (None, ""):
        with pytest.raises(ParamValidationError):
            dag.params.get_param("model_id").resolve(value=missing)


def test_the_daily_run_asks_once_about_each_waiting_model_and_is_recorded_if_none_does(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    daily = import_with_home("airflow_dags.clickstream_pipeline_dag", tmp_path_factory.mktemp("airflow")).dag
    find, ask, record = (daily.get_task(name) for name in ("find_waiting_models", "ask_for_approval", "record_run"))
    assert (find.upstream_task_ids, find.trigger_rule.value) == ({"check_segments"}, "all_success")
    assert "find_waiting_models" in ask.upstream_task_ids
    assert (ask.is_mapped, ask.trigger_rule.value) == (True, "all_success")
    asked = {name: ask.partial_kwargs[name] for name in ("trigger_dag_id", "skip_when_already_exists")}
    assert asked == {"trigger_dag_id": "approve_model", "skip_when_already_exists": True}
    assert "wait_for_completion" not in ask.partial_kwargs
    # Skipped where no model waits, and where a run of that name exists.
    assert "ask_for_approval" in record.upstream_task_ids
    assert record.trigger_rule.value == "none_failed"


@pytest.mark.parametrize("needs_approval", [True, False])
def test_the_setting_is_the_default_of_the_daily_runs_parameter(tmp_path: Path, needs_approval: bool) -> None:
    def alter(pipeline: dict[str, Any]) -> None:
        pipeline["segmentation"]["training"]["needs_approval"] = needs_approval

    code = (
        "from airflow_dags.clickstream_pipeline_dag import dag; param = dag.params.get_param('needs_approval'); "
        "print(param.value, param.schema['type'])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "LAKEHOUSE"))}
    altered = write_altered(tmp_path, CONFIG_DIR / "pipeline.yaml", alter)
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=environment | {"AIRFLOW_HOME": str(tmp_path), "LAKEHOUSE_PIPELINE": altered},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == f"{needs_approval} boolean"


def test_each_waiting_model_is_one_run_named_by_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("airflow")
    daily: ModuleType = import_with_home("airflow_dags.clickstream_pipeline_dag", home)
    audit = import_with_home("airflow_dags.run_audit", home)
    waiting = {dt.date(2025, 4, 1): [MODEL, "other"]}
    monkeypatch.setattr(audit, "find_waiting_models", waiting.__getitem__)
    assert daily.find_waiting_models.function("2025-04-01") == [
        {"trigger_run_id": MODEL, "conf": {"model_id": MODEL}},
        {"trigger_run_id": "other", "conf": {"model_id": "other"}},
    ]
