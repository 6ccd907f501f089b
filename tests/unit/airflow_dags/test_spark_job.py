"""Where a job runs as a task: a JVM of its own, or the environment's Spark Connect server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import config.loader
from spark_jobs import maintain_tables
from tests.unit.airflow_dags import import_with_home

REMOTE = "sc://127.0.0.1:15002"


@pytest.fixture(scope="module")
def spark_job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return import_with_home("airflow_dags.spark_job", tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def remote_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment like `local` that names a Spark Connect server."""
    content = yaml.safe_load(config.loader.environment_file("local").read_text(encoding="utf-8"))
    content["spark"]["remote"] = REMOTE
    file = tmp_path / "remote.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_ENV", str(file))


def test_a_job_has_a_jvm_of_its_own_where_the_environment_names_no_server(spark_job: Any) -> None:
    task = spark_job.submit("forget_user", ["--user={{ params.user_id }}"])
    assert (task.task_type, task.task_id, task.max_active_tis_per_dag) == ("SparkSubmitOperator", "forget_user", 1)


@pytest.mark.usefixtures("remote_environment")
def test_a_job_works_on_the_server_that_the_environment_names(spark_job: Any) -> None:
    task = spark_job.submit("forget_user", ["--user={{ params.user_id }}"], task_id="forget")
    assert (task.task_type, task.task_id, task.max_active_tis_per_dag) == ("PySparkOperator", "forget", 1)
    assert task.config_kwargs == {"spark.remote": REMOTE}
    rendered = task.render_template(task.op_args, {"params": {"user_id": "0000700123"}})
    assert (task.python_callable, rendered) == (spark_job.run_job, ["forget_user", ["--user=0000700123"]])


@pytest.mark.parametrize("code", [0, 1])
def test_a_task_fails_where_its_job_does(spark_job: Any, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    from airflow.sdk.exceptions import AirflowException

    ran: list[list[str]] = []

    def main(argv: list[str]) -> int:
        ran.append(argv)
        return code

    monkeypatch.setattr(maintain_tables, "main", main)
    session = SimpleNamespace(session_id="a session")
    if code:
        with pytest.raises(AirflowException, match="maintain_tables ended with 1"):
            spark_job.run_job("maintain_tables", ["--flag"], session)
    else:
        spark_job.run_job("maintain_tables", ["--flag"], session)
    assert ran == [["--flag"]]
