"""The daily DAG as Airflow parses it: its chain, its arguments rendered for a date, and what stands in its folder."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from config.loader import CONFIG_DIR, PROJECT_ROOT
from spark_jobs import land_raw_events, transform_clickstream, user_segmentation_ml
from tests.unit.airflow_dags import import_with_home

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAGS = PROJECT_ROOT / "airflow_dags"
CHAIN = [
    ["publish_events.choose_source"],
    ["publish_events.generator", "publish_events.replay", "publish_events.external"],
    ["land_raw_events"],
    ["check_landing"],
    ["transform_clickstream"],
    ["check_transform"],
    [
        "check_columns.fail_events_columns",
        "check_columns.fail_user_features_columns",
        "check_columns.fail_events_rows",
        "check_columns.fail_sessions_rows",
        "check_columns.warn_raw_events",
        "check_columns.warn_events",
    ],
    ["wait_for_earlier_dates"],
    ["user_segmentation_ml"],
    ["check_segments"],
    ["create_views.quarantined_events", "create_views.segments_current", "find_waiting_models"],
    ["ask_for_approval"],
    ["record_run"],
    ["record_failure"],
]
CHECK_AFTER = {
    "land_raw_events": "check_landing",
    "transform_clickstream": "check_transform",
    "user_segmentation_ml": "check_segments",
}


@pytest.fixture(scope="module")
def dag_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module: building a DAG needs no database."""
    return import_with_home("airflow_dags.clickstream_pipeline_dag", tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def dag(dag_module: ModuleType) -> DAG:
    found: DAG = dag_module.dag
    return found


RETURNED = {
    "check_landing": {"rebuild_dates": ["2025-03-30", "2025-04-02"]},
    "check_transform": {"rebuilt_dates": ["2025-03-30"]},
}


class XComs:
    """The task instance of a template: what the checks before it returned."""

    def xcom_pull(self, task_ids: str, **_: Any) -> dict[str, list[str]]:
        return RETURNED[task_ids]


def rendered(dag: DAG, task_id: str, field: str, **params: Any) -> Any:
    """A field of a task as the run of the first of April 2025 sees it; its other dates are all different."""
    task = dag.get_task(task_id)
    accepted = {"accept_gap": True, "accept_new_topic": False, "needs_approval": True}
    context: Any = {
        "data_interval_start": dt.datetime(2025, 4, 1, tzinfo=dt.UTC),
        "data_interval_end": dt.datetime(2025, 4, 2, tzinfo=dt.UTC),
        "logical_date": dt.datetime(2025, 4, 3, tzinfo=dt.UTC),
        "ds": "2025-04-03",
        "run_id": "backfill__1",
        "ti": XComs(),
        "params": {"event_source": "replay", "replay_file": "/data/2019 Oct.csv.gz", "events": 500, "force": True}
        | accepted
        | params,
    }
    return task.render_template(getattr(task, field), context)


def test_the_tasks_form_one_chain_in_the_order_of_the_data(dag: DAG) -> None:
    assert sorted(dag.task_ids) == sorted(task for step in CHAIN for task in step)
    for before, after in itertools.pairwise(CHAIN):
        for task in after:
            assert set(before) <= dag.get_task(task).upstream_task_ids, task
    for number, step in enumerate(CHAIN):
        earlier = {task for done in CHAIN[:number] for task in done}
        for task in step:
            assert dag.get_task(task).upstream_task_ids <= earlier, task


def test_every_spark_job_runs_its_own_file_and_only_its_check_follows(dag: DAG) -> None:
    jobs = {task.task_id: task for task in dag.tasks if task.task_type == "SparkSubmitOperator"}
    assert set(jobs) == set(CHECK_AFTER)
    for name, job in jobs.items():
        assert job.downstream_task_ids == {CHECK_AFTER[name]}
        assert Path(rendered(dag, name, "application")) == PROJECT_ROOT / "spark_jobs" / f"{name}.py"
        assert Path(rendered(dag, name, "application")).is_file()


def test_retries_and_timeouts_come_from_the_shared_arguments_on_every_task(dag: DAG, dag_module: ModuleType) -> None:
    shared = dag_module.DEFAULT_ARGUMENTS
    assert shared["retries"] >= 1
    waits = [shared["retry_delay"] * shared["retry_exponential_backoff"] ** retry for retry in range(shared["retries"])]
    assert waits == sorted(set(waits))
    assert sum(waits, dt.timedelta()) >= dt.timedelta(minutes=1)
    assert waits[-1] <= shared["max_retry_delay"]
    assert shared["execution_timeout"] > dt.timedelta()
    assert dag.default_args == shared
    for task in dag.tasks:
        assert {name: getattr(task, name) for name in shared} == shared, task.task_id


def test_one_run_a_day_has_the_utc_date_as_its_interval_and_nothing_is_caught_up(dag: DAG) -> None:
    from airflow.sdk import CronDataIntervalTimetable

    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("0 0 * * *", "UTC")
    assert dag.catchup is False
    assert dag.start_date is not None
    assert dag.start_date.utcoffset() == dt.timedelta()
    assert dag.start_date.time() == dt.time()


def test_as_many_dates_overlap_as_the_configuration_says_but_a_job_takes_one_at_a_time(tmp_path: Path) -> None:
    content = yaml.safe_load((CONFIG_DIR / "pipeline.yaml").read_text(encoding="utf-8"))
    content["schedule"]["parallel_dates"] = 3
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    code = (
        "from airflow_dags.clickstream_pipeline_dag import dag; print(dag.max_active_runs, "
        "*[dag.get_task(t).max_active_tis_per_dag for t in ('transform_clickstream', 'user_segmentation_ml')])"
    )
    assert printed_by(code, tmp_path, LAKEHOUSE_PIPELINE=str(file)) == "3 1 1"


@dataclass(frozen=True)
class EarlierRun:
    """The task instance of a sensor: the newest earlier run that Airflow says is running."""

    logical_date: dt.datetime | None

    def get_previous_dagrun(self, state: str) -> EarlierRun | None:
        assert state == "running"
        return self if self.logical_date else None


@pytest.mark.parametrize(
    ("running", "may_go_on"),
    [
        (None, True),
        (dt.datetime(2025, 3, 31, tzinfo=dt.UTC), False),
        (dt.datetime(2025, 3, 3, tzinfo=dt.UTC), False),
        (dt.datetime(2025, 3, 2, tzinfo=dt.UTC), True),
    ],
    ids=["none", "the date before", "29 dates before: in the window", "30 dates before"],
)
def test_segments_wait_for_the_earlier_dates_of_their_window_that_are_running(
    dag: DAG, running: dt.datetime | None, may_go_on: bool
) -> None:
    sensor: Any = dag.get_task("wait_for_earlier_dates")
    assert sensor.downstream_task_ids == {"user_segmentation_ml"}
    assert sensor.mode == "reschedule"  # a waiting date holds no worker that the earlier one needs
    logical_date = dt.datetime(2025, 4, 1, tzinfo=dt.UTC)
    assert sensor.python_callable(ti=EarlierRun(running), logical_date=logical_date) is may_go_on


def test_each_choice_of_the_event_source_is_a_task_that_the_branch_can_take(dag: DAG) -> None:
    param = dag.params.get_param("event_source")
    assert param.schema["enum"] == ["generator", "replay", "external"]
    branch: Any = dag.get_task("publish_events.choose_source")
    taken = {branch.python_callable(source) for source in param.schema["enum"]}
    assert taken == branch.downstream_task_ids
    assert rendered(dag, "publish_events.choose_source", "op_args") == ("replay",)


def test_landing_runs_although_two_of_the_three_sources_are_skipped(dag: DAG) -> None:
    assert dag.get_task("land_raw_events").trigger_rule == "none_failed_min_one_success"
    others: dict[str, set[str]] = {}
    for task in dag.tasks:
        if task.task_id != "land_raw_events":
            others.setdefault(task.trigger_rule.value, set()).add(task.task_id)
    # A check that only warns is skipped, and so is what asks for approval where no model waits.
    assert others.pop("none_failed") == {"wait_for_earlier_dates", "record_run"}
    assert others.pop("one_failed") == {"record_failure"}
    assert set(others) == {"all_success"}


def test_landings_wait_for_each_other_and_leave_nothing_out_unless_asked(dag: DAG) -> None:
    assert {task.task_id for task in dag.tasks if task.pool == "landing"} == {"land_raw_events"}
    assert dag.doc_md is not None
    assert "airflow pools set landing 1" in dag.doc_md
    assert [dag.params.get_param(name).value for name in ("accept_gap", "accept_new_topic")] == [False, False]


def test_every_task_gets_the_start_of_its_data_interval(dag: DAG) -> None:
    assert rendered(dag, "publish_events.generator", "bash_command").endswith(
        f"&& exec {sys.executable} -m data_generator.event_producer --date 2025-04-01 --events 500"
    )
    assert rendered(dag, "publish_events.replay", "bash_command").endswith(
        f"&& exec {sys.executable} -m data_generator.dataset_replay '/data/2019 Oct.csv.gz' --date 2025-04-01"
    )
    for check in ("check_landing", "check_transform", "check_segments", "record_run"):
        assert rendered(dag, check, "op_args")[0] == "2025-04-01", check
    assert rendered(dag, "check_transform", "op_args")[1] == RETURNED["check_landing"]
    returned = (RETURNED["check_landing"], RETURNED["check_transform"])
    assert rendered(dag, "record_run", "op_args")[1:] == ("backfill__1", *returned)


def test_each_job_understands_the_arguments_that_its_task_gives_it(dag: DAG) -> None:
    first = dt.date(2025, 4, 1)
    land = land_raw_events.parse_arguments(rendered(dag, "land_raw_events", "application_args"))
    assert land.run_date in (first, str(first))
    assert (land.accept_gap, land.accept_new_topic) == (True, False)
    transform = transform_clickstream.parse_arguments(rendered(dag, "transform_clickstream", "application_args"))
    assert (transform.start_date, transform.late_dates) in [
        (first, "2025-03-30,2025-04-02"),
        (first, [dt.date(2025, 3, 30), dt.date(2025, 4, 2)]),
    ]
    segment = user_segmentation_ml.parse_arguments(rendered(dag, "user_segmentation_ml", "application_args"))
    assert (segment.start_date, segment.needs_approval) == (first, True)
    not_asked = rendered(dag, "user_segmentation_ml", "application_args", needs_approval=False)
    assert user_segmentation_ml.parse_arguments(not_asked).needs_approval is False
    assert user_segmentation_ml.parse_arguments([]).needs_approval is None
    assert (transform.force, segment.force) == (True, True)


def test_the_dag_explains_itself(dag: DAG, dag_module: ModuleType) -> None:
    assert dag.doc_md is not None
    assert dag.doc_md.strip() == (dag_module.__doc__ or "").strip()
    for word in ("Schedule", "Inputs", "Outputs", "rerun is safe", "When it fails"):
        assert word in dag.doc_md


def printed_by(code: str, home: Path, **variables: str) -> str:
    """The last line that a new Python process prints, in an empty Airflow home: not in the Airflow of the caller."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "LAKEHOUSE"))}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=environment | {"AIRFLOW_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.splitlines()[-1]


def test_parsing_the_dag_imports_neither_spark_nor_pandas_nor_the_jobs(tmp_path: Path) -> None:
    code = (
        "import sys; from airflow_dags.clickstream_pipeline_dag import dag; print(dag.dag_id, sorted("
        "{name.partition('.')[0] for name in sys.modules} & {'pyspark', 'pandas', 'pyarrow', 'spark_jobs'}))"
    )
    assert printed_by(code, tmp_path) == "clickstream_pipeline []"


def defines_a_dag(file: Path) -> bool:
    """Calls `DAG(...)` or decorates with `dag`."""
    names = {
        node.id if isinstance(node, ast.Name) else node.attr
        for tree in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for node in ([tree.func] if isinstance(tree, ast.Call) else getattr(tree, "decorator_list", []))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    return bool(names & {"DAG", "dag"})


def test_dags_stand_in_files_named_for_it_and_airflow_parses_no_other(dag_module: ModuleType) -> None:
    from airflow.utils.file import find_dag_file_paths

    assert dag_module.__file__ is not None
    files = {file.name for file in DAGS.rglob("*.py") if file.name != "__init__.py"}
    with_dag = {file.name for file in DAGS.rglob("*.py") if defines_a_dag(file)}
    assert {"clickstream_pipeline_dag.py"} <= with_dag
    assert with_dag == {name for name in files if name.endswith("_dag.py")}
    parsed = {Path(path).name for path in find_dag_file_paths(str(DAGS), safe_mode=False)}
    assert "run_audit.py" in files - parsed
    assert parsed - {"__init__.py"} == with_dag
