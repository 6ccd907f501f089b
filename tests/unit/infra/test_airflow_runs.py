"""A range of runs against doubles of Airflow's REST API: no socket is opened."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import requests
import responses

from infra.local import airflow_runs
from infra.local.airflow_runs import AirflowApi, DateRange, RunError, run_dates
from infra.local.layout import Layout
from tests.unit.infra.airflow_double import API, DAG, ROOT, calls, dag_runs, tasks

FIRST, LAST = dt.date(2025, 4, 1), dt.date(2025, 4, 2)


def test_an_expired_token_is_replaced_and_the_request_repeated(airflow: responses.RequestsMock, layout: Layout) -> None:
    airflow.post(f"{ROOT}/auth/token", json={"access_token": "second"})
    airflow.get(f"{API}/version", json={"version": "a"})
    airflow.get(f"{API}/version", status=401, json={"detail": "expired"})
    airflow.get(f"{API}/version", json={"version": "b"})
    api = AirflowApi(layout)
    assert [api.request("GET", "/version"), api.request("GET", "/version")] == [{"version": "a"}, {"version": "b"}]
    seen = [request.headers["Authorization"] for request in calls(airflow, "GET", f"{API}/version")]
    assert seen == ["Bearer first", "Bearer first", "Bearer second"]
    logins = [json.loads(request.body) for request in calls(airflow, "POST", f"{ROOT}/auth/token")]
    assert logins == [{"username": "admin", "password": layout.credentials.airflow_admin_password}] * 2


def test_a_token_that_is_refused_again_ends_in_an_error_not_in_a_loop(
    airflow: responses.RequestsMock, layout: Layout
) -> None:
    airflow.get(f"{API}/version", status=401, json={"detail": "Invalid JWT token"})
    with pytest.raises(RunError, match=r"Airflow refused GET /version: 401 .*Invalid JWT token"):
        AirflowApi(layout).request("GET", "/version")
    assert len(calls(airflow, "GET", f"{API}/version")) == 2


def test_a_refusal_is_told_in_airflows_own_words(airflow: responses.RequestsMock, layout: Layout) -> None:
    airflow.replace("POST", f"{API}/backfills", status=409, json={"detail": "There is another running backfill"})
    with pytest.raises(RunError, match=r"^Airflow refused POST /backfills: 409 .*There is another running backfill"):
        AirflowApi(layout).create_backfill(DateRange(FIRST, LAST, {}))


def test_a_dag_that_cannot_be_imported_is_told_with_its_stack_trace(
    airflow: responses.RequestsMock, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_runs, "DAG_TIMEOUT_SECONDS", -1)
    airflow.replace("GET", f"{API}/dags", json={"dags": [{"dag_id": "other"}]})
    airflow.get(f"{API}/importErrors", json={"import_errors": [{"stack_trace": "ConfigError: no such port"}]})
    with pytest.raises(RunError, match=r"does not know the DAG clickstream_pipeline: .*ConfigError: no such port"):
        AirflowApi(layout).wait_for_dag()
    assert calls(airflow, "PATCH", DAG) == []


def test_a_backfill_asks_for_every_date_in_order_and_repeats_those_that_ran(
    airflow: responses.RequestsMock, layout: Layout
) -> None:
    assert AirflowApi(layout).create_backfill(DateRange(FIRST, LAST, {"event_source": "replay"})) == 7
    assert json.loads(calls(airflow, "POST", f"{API}/backfills")[0].body) == {
        "dag_id": "clickstream_pipeline",
        "from_date": "2025-04-01T00:00:00Z",
        "to_date": "2025-04-02T00:00:00Z",
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
        "dag_run_conf": {"event_source": "replay"},
    }


def test_what_stands_on_several_pages_is_read_to_the_end(airflow: responses.RequestsMock, layout: Layout) -> None:
    runs = dag_runs(*["queued"] * 130)["dag_runs"]
    for offset in (0, 100):
        page = [responses.matchers.query_param_matcher({"offset": str(offset)}, strict_match=False)]
        airflow.get(f"{DAG}/dagRuns", json={"dag_runs": runs[offset : offset + 100]}, match=page)
    found = AirflowApi(layout).backfill_runs(FIRST, dt.date(2025, 8, 8))
    assert [run.date for run in found] == [FIRST + dt.timedelta(days=n) for n in range(130)]


def test_an_airflow_that_does_not_run_is_told_with_the_remedy(airflow: responses.RequestsMock, layout: Layout) -> None:
    airflow.replace("POST", f"{ROOT}/auth/token", body=requests.ConnectionError("refused"))
    with pytest.raises(RunError, match=r"^no Airflow answers at http://127.0.0.1:8080: `make up` starts it"):
        AirflowApi(layout).wait_for_dag()


def test_each_task_that_ends_is_printed_once_in_the_order_of_their_starts(
    airflow: responses.RequestsMock, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    for states in [(), ("queued", "queued"), ("running", "queued"), ("running", "queued"), ("success", "running")]:
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success", "success"))
    one, two = (f"{DAG}/dagRuns/backfill__2025-04-0{number}/taskInstances" for number in (1, 2))
    airflow.get(one, json=tasks(land="success", check="running"))
    airflow.get(one, json=tasks(land="success", check="success", replay="skipped"))
    airflow.get(two, json=tasks(land="running", check=None))
    airflow.get(two, json=tasks(land="success", check="success"))
    run_dates(layout, FIRST, LAST, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{ROOT}/dags/clickstream_pipeline"
    assert [line.split()[2:] for line in lines[1:]] == [
        ["2025-04-01", "land", "success"],
        ["2025-04-01", "check", "success"],
        ["2025-04-02", "land", "success"],
        ["2025-04-02", "check", "success"],
    ]
    assert json.loads(calls(airflow, "PATCH", DAG)[0].body) == {"is_paused": False}


def test_the_state_of_an_earlier_run_of_the_date_is_not_taken_for_the_new_one(
    airflow: responses.RequestsMock, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in ("failed", "failed", "queued", "running", "success"):
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(state))
    airflow.get(f"{DAG}/dagRuns/backfill__2025-04-01/taskInstances", json=tasks(land="success"))
    run_dates(layout, FIRST, FIRST, {})
    assert [line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["2025-04-01", "land", "success"]
    ]


def test_a_failed_task_is_named_with_the_end_of_its_log_and_the_exception_behind_it(
    airflow: responses.RequestsMock, layout: Layout
) -> None:
    for states in [(), ("running",), ("failed",)]:
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    instances = f"{DAG}/dagRuns/backfill__2025-04-01/taskInstances"
    airflow.get(instances, json=tasks(land="success", check_landing="failed", transform="upstream_failed"))
    airflow.get(f"{instances}/check_landing", json={"try_number": 3})
    content = [
        *[f"line {number}" for number in range(1, 50)],
        {
            "event": "Task failed with exception",
            "error_detail": [{"exc_type": "AirflowFailException", "exc_value": "2025-04-01: 3 lost"}],
        },
        {"event": "the end", "error_detail": None},
    ]
    airflow.get(f"{instances}/check_landing/logs/3", json={"content": content})
    with pytest.raises(RunError) as error:
        run_dates(layout, FIRST, FIRST, {})
    first, *log = str(error.value).splitlines()
    assert first == "2025-04-01: the task check_landing failed; the end of its log:"
    assert log == [
        *[f"line {number}" for number in range(13, 50)],
        "Task failed with exception",
        "AirflowFailException: 2025-04-01: 3 lost",
        "the end",
    ]
