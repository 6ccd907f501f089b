"""Where a job runs as a task: a JVM of its own, or the environment's Spark Connect server."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyspark.sql import SparkSession

import config.loader
from spark_jobs import maintain_tables
from tests.altered_settings import write_altered
from tests.unit.airflow_dags import import_with_home

REMOTE = "sc://127.0.0.1:15002"


@pytest.fixture(scope="module")
def spark_job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return import_with_home("airflow_dags.spark_job", tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def remote_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment like `local` that names a Spark Connect server."""
    local = config.loader.environment_file("local")
    monkeypatch.setenv("LAKEHOUSE_ENV", write_altered(tmp_path, local, lambda c: c["spark"].update(remote=REMOTE)))


def test_a_job_has_a_jvm_of_its_own_where_the_environment_names_no_server(spark_job: Any) -> None:
    task = spark_job.spark_task("forget_user", ["--user={{ params.user_id }}"])
    assert (task.task_type, task.task_id, task.max_active_tis_per_dag) == ("SparkSubmitOperator", "forget_user", 1)


@pytest.mark.usefixtures("remote_environment")
def test_a_job_works_in_the_tasks_process_where_the_environment_names_a_server(spark_job: Any) -> None:
    task = spark_job.spark_task("forget_user", ["--user={{ params.user_id }}"], task_id="forget")
    assert (task.task_type, task.task_id, task.max_active_tis_per_dag) == ("ConnectJobOperator", "forget", 1)
    rendered = task.render_template(task.op_args, {"params": {"user_id": "0000700123"}})
    assert (task.python_callable, rendered) == (spark_job.run_job, ["forget_user", ["--user=0000700123"]])
    # A server's address may hold a token: no field of the task, which Airflow stores and shows, has it.
    assert not [name for name in task.template_fields if REMOTE in str(getattr(task, name))]


@pytest.mark.parametrize("code", [0, 1])
def test_a_task_fails_where_its_job_does(spark_job: Any, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    from airflow.sdk.exceptions import AirflowException

    ran: list[list[str]] = []

    def main(argv: list[str]) -> int:
        ran.append(argv)
        return code

    monkeypatch.setattr(maintain_tables, "main", main)
    with pytest.raises(AirflowException, match="maintain_tables ended with 1") if code else nullcontext():
        spark_job.run_job("maintain_tables", ["--flag"])
    assert ran == [["--flag"]]


@pytest.mark.usefixtures("remote_environment")
def test_a_killed_task_interrupts_what_its_session_runs(spark_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = mock.Mock()
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: session)
    spark_job.spark_task("maintain_tables", []).on_kill()
    session.interruptAll.assert_called_once_with()
