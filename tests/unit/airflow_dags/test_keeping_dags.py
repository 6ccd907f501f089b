"""The DAGs that keep the lake in order: what they run, when, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.loader import PROJECT_ROOT
from spark_jobs import forget_user, maintain_tables
from tests.unit.airflow_dags import import_with_home


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    names = ("forget_user", "maintain_tables")
    return {name: import_with_home(f"airflow_dags.{name}_dag", home).dag for name in names}


def arguments(dag: Any, **params: str) -> list[str]:
    """The job's arguments, as the run renders them."""
    (task,) = dag.tasks
    assert task.task_type == "SparkSubmitOperator"
    assert Path(task.application) == PROJECT_ROOT / "spark_jobs" / f"{dag.dag_id}.py"
    rendered: list[str] = task.render_template(task.application_args, {"params": params})
    return rendered


def test_each_dag_runs_its_job_with_arguments_that_it_understands(dags: dict[str, Any]) -> None:
    for user in ("0000700123", "--help", 'he said "no" {{ 1 }} $HOME'):
        assert forget_user.parse_arguments(arguments(dags["forget_user"], user_id=user)).user == user
    assert maintain_tables.parse_arguments(arguments(dags["maintain_tables"])).output_path is None


def test_forgetting_waits_for_a_user_and_maintenance_for_its_weekday(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    forget, maintain = dags["forget_user"], dags["maintain_tables"]
    assert forget.schedule is None
    for missing in (None, ""):
        with pytest.raises(ParamValidationError):
            forget.params.get_param("user_id").resolve(value=missing)
    assert (maintain.timetable.expression, str(maintain.timetable.timezone)) == ("0 4 * * 0", "UTC")
    assert maintain.catchup is False
    for dag in dags.values():
        assert dag.max_active_runs == 1
        assert dag.doc_md
        assert all(task.retries >= 1 and task.execution_timeout for task in dag.tasks)
