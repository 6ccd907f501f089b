"""Runs of the daily DAG over a range of dates, started and followed through Airflow's REST API."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import requests

from infra.local.layout import Layout

DAG_ID = "clickstream_pipeline"
FINISHED = ("success", "failed")
POLL_SECONDS = 2.0
DAG_TIMEOUT_SECONDS = 120
START_TIMEOUT_SECONDS = 300


class RunError(Exception):
    """A run failed or could not be started; the message says which and shows the failing task's last log lines."""


@dataclass(frozen=True)
class DagRun:
    """One run of the DAG; `date` is the UTC date that it processes."""

    run_id: str
    date: dt.date
    state: str


class AirflowApi:
    """The part of Airflow's REST API that a range of runs needs."""

    def __init__(self, layout: Layout) -> None:
        self.url = f"http://{layout.stack.bind_host}:{layout.stack.ports.airflow}"
        self._login = {"username": "admin", "password": layout.credentials.airflow_admin_password}
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands before this machine

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Parsed JSON answer. Raises RunError with Airflow's own words."""
        for fresh_token in (False, True):
            if fresh_token or "Authorization" not in self._session.headers:
                token = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=30)
                token.raise_for_status()
                self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=60, **arguments)
            if answer.status_code != requests.codes.unauthorized:
                break
        if not answer.ok:
            raise RunError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def wait_for_dag(self) -> None:
        """Wait until the DAG processor has read the DAG, and switch it on."""
        deadline = time.monotonic() + DAG_TIMEOUT_SECONDS
        while DAG_ID not in {dag["dag_id"] for dag in self.request("GET", "/dags")["dags"]}:
            if time.monotonic() > deadline:
                errors = self.request("GET", "/importErrors")["import_errors"]
                raise RunError(f"Airflow does not know the DAG {DAG_ID}: {[e['stack_trace'] for e in errors]}")
            time.sleep(POLL_SECONDS)
        self.request("PATCH", f"/dags/{DAG_ID}", json={"is_paused": False})

    def wait_for_backfills(self) -> None:
        """Wait until no backfill of the DAG is open: Airflow allows one, and closes it up to half a minute late."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        query = {"dag_id": DAG_ID, "limit": "1000"}
        while any(b["completed_at"] is None for b in self.request("GET", "/backfills", params=query)["backfills"]):
            if time.monotonic() > deadline:
                raise RunError(f"another backfill of {DAG_ID} is running; wait for it or cancel it in {self.url}")
            time.sleep(POLL_SECONDS)

    def create_backfill(self, first: dt.date, last: dt.date, conf: dict[str, Any]) -> int:
        """Start one run for each date, in order, dates that ran before included; returns the backfill's id."""
        body = {
            "dag_id": DAG_ID,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "reprocess_behavior": "completed",
            "max_active_runs": 1,
            "dag_run_conf": conf,
        }
        return int(self.request("POST", "/backfills", json=body)["id"])

    def backfill_runs(self, first: dt.date, last: dt.date) -> list[DagRun]:
        """The newest run of each date, in the order of the dates."""
        query = {
            "logical_date_gte": f"{first}T00:00:00Z",
            "logical_date_lte": f"{last}T00:00:00Z",
            "order_by": "logical_date",
            "limit": "1000",
        }
        runs = self.request("GET", f"/dags/{DAG_ID}/dagRuns", params=query)["dag_runs"]
        return [DagRun(r["dag_run_id"], dt.date.fromisoformat(r["logical_date"][:10]), r["state"]) for r in runs]

    def task_states(self, run_id: str) -> dict[str, str | None]:
        """State of each task of a run, in the order in which they started."""
        tasks = self.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params={"limit": "100"})
        started = sorted(tasks["task_instances"], key=lambda task: task["start_date"] or "9999")
        return {task["task_id"]: task["state"] for task in started}

    def task_log(self, run_id: str, task_id: str, last_lines: int) -> str:
        """The end of the log of a task's last try."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}"
        tries = self.request("GET", path)["try_number"]
        content = self.request("GET", f"{path}/logs/{tries}", params={"full_content": "true"})["content"]
        lines = [text for line in content for text in _log_lines(line)]
        return "\n".join(lines[-last_lines:])


def _log_lines(line: Any) -> list[str]:
    """An entry of a task's log as text; an exception's type and message stand apart from its event."""
    if not isinstance(line, dict):
        return [str(line)]
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return [str(line["event"]), *errors]


def run_dates(layout: Layout, first: dt.date, last: dt.date, conf: dict[str, Any]) -> None:
    """Run the DAG for every date of the range and print a line for each task that ends. Raises RunError."""
    api = AirflowApi(layout)
    api.wait_for_dag()
    api.wait_for_backfills()
    earlier = {run.run_id for run in api.backfill_runs(first, last) if run.state in FINISHED}
    api.create_backfill(first, last, conf)
    _wait_until_queued(api, first, last, earlier)
    print(f"{api.url}/dags/{DAG_ID}", flush=True)
    started, reported = time.monotonic(), set[tuple[str, str]]()
    while True:
        runs = api.backfill_runs(first, last)
        for run in runs:
            if run.state == "queued":
                continue
            for task, state in api.task_states(run.run_id).items():
                if state in ("success", "failed", "upstream_failed") and (run.run_id, task) not in reported:
                    reported.add((run.run_id, task))
                    print(f"{time.monotonic() - started:6.0f} s  {run.date}  {task:<28} {state}", flush=True)
        if failed := [run for run in runs if run.state == "failed"]:
            raise RunError(_explain(api, failed[0]))
        if runs and all(run.state == "success" for run in runs):
            api.wait_for_backfills()
            return
        time.sleep(POLL_SECONDS)


def _wait_until_queued(api: AirflowApi, first: dt.date, last: dt.date, earlier: set[str]) -> None:
    """A backfill resets the runs that exist: until it has, their old state must not be taken for the new one."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        runs = api.backfill_runs(first, last)
        if runs and not (earlier & {run.run_id for run in runs if run.state in FINISHED}):
            return
        if time.monotonic() > deadline:
            raise RunError(f"Airflow did not start the runs from {first} to {last}; is the scheduler up? (make status)")
        time.sleep(POLL_SECONDS)


def _explain(api: AirflowApi, run: DagRun) -> str:
    failed = [task for task, state in api.task_states(run.run_id).items() if state == "failed"]
    task = failed[0] if failed else "unknown"
    log = api.task_log(run.run_id, task, last_lines=40) if failed else ""
    return f"{run.date}: the task {task} failed; the end of its log:\n{log}"
