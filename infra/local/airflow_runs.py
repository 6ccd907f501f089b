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
PAGE = 100  # Airflow gives no more at once
POLL_SECONDS = 2.0
DAG_TIMEOUT_SECONDS = 120
START_TIMEOUT_SECONDS = 300
CREATE_TIMEOUT_SECONDS = 600  # Airflow answers when it has made the runs of all dates


class RunError(Exception):
    """A run failed or could not be started; the message says which and shows the failing task's last log lines."""


@dataclass(frozen=True)
class DagRun:
    """One run of the DAG; `date` is the UTC date that it processes, the times are those of its last try."""

    run_id: str
    date: dt.date
    state: str
    started: dt.datetime | None
    ended: dt.datetime | None


@dataclass(frozen=True)
class DateRange:
    """What a backfill is asked for: UTC dates, both included, and the configuration of their runs."""

    first: dt.date
    last: dt.date
    conf: dict[str, Any]


@dataclass(frozen=True)
class Backfill:
    """A backfill of Airflow; it is complete when none of its runs is queued or running."""

    id: int
    range: DateRange
    parallel_dates: int
    is_paused: bool
    is_complete: bool


class AirflowApi:
    """The part of Airflow's REST API that a range of runs needs."""

    def __init__(self, layout: Layout) -> None:
        self.url = f"http://{layout.stack.bind_host}:{layout.stack.ports.airflow}"
        self._login = {"username": "admin", "password": layout.credentials.airflow_admin_password}
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands before this machine

    def request(self, method: str, path: str, timeout: float = 60, **arguments: Any) -> Any:
        """Parsed JSON answer. Raises RunError with Airflow's own words, or when it does not answer."""
        try:
            for fresh_token in (False, True):
                if fresh_token or "Authorization" not in self._session.headers:
                    token = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=30)
                    token.raise_for_status()
                    self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
                answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=timeout, **arguments)
                if answer.status_code != requests.codes.unauthorized:
                    break
        except requests.ConnectionError as error:
            raise RunError(
                f"no Airflow answers at {self.url}: `make up` starts it, `make logs SERVICE=airflow-api-server` shows "
                f"why it stopped"
            ) from error
        if not answer.ok:
            raise RunError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def request_all(self, path: str, key: str, query: dict[str, str]) -> list[Any]:
        """What stands under `key` of the answer to GET, over all of its pages."""
        found: list[Any] = []
        while True:
            page = self.request("GET", path, params=query | {"limit": str(PAGE), "offset": str(len(found))})[key]
            found += page
            if len(page) < PAGE:
                return found

    def wait_for_dag(self) -> None:
        """Wait until the DAG processor has read the DAG."""
        deadline = time.monotonic() + DAG_TIMEOUT_SECONDS
        while DAG_ID not in {dag["dag_id"] for dag in self.request("GET", "/dags")["dags"]}:
            if time.monotonic() > deadline:
                errors = self.request("GET", "/importErrors")["import_errors"]
                raise RunError(f"Airflow does not know the DAG {DAG_ID}: {[e['stack_trace'] for e in errors]}")
            time.sleep(POLL_SECONDS)

    def switch_on(self) -> None:
        """Let the scheduler start runs of the DAG."""
        self.request("PATCH", f"/dags/{DAG_ID}", json={"is_paused": False})

    def newest_backfill(self) -> Backfill | None:
        """The last backfill of the DAG that was created: where one is open, it is this one."""
        query = {"dag_id": DAG_ID, "order_by": "-id", "limit": "1"}
        found = self.request("GET", "/backfills", params=query)["backfills"]
        return _parse_backfill(found[0]) if found else None

    def pause_backfill(self, backfill_id: int) -> None:
        """No further run of it starts; those that run go on."""
        self.request("PUT", f"/backfills/{backfill_id}/pause")

    def unpause_backfill(self, backfill_id: int) -> None:
        self.request("PUT", f"/backfills/{backfill_id}/unpause")

    def wait_for_backfills(self) -> None:
        """Wait until no backfill of the DAG is open: Airflow allows one, and closes it up to half a minute late."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (newest := self.newest_backfill()) and not newest.is_complete:
            if time.monotonic() > deadline:
                raise RunError(f"another backfill of {DAG_ID} is running; wait for it or cancel it in {self.url}")
            time.sleep(POLL_SECONDS)

    def create_backfill(self, wanted: DateRange, reprocess_behavior: str = "completed", parallel_dates: int = 1) -> int:
        """Start a run for each date, in order; returns the backfill's id.

        `reprocess_behavior` says which dates that ran before run again: `completed` all, `failed` those that failed.
        """
        body = _backfill_body(wanted, reprocess_behavior) | {"max_active_runs": parallel_dates}
        return int(self.request("POST", "/backfills", json=body, timeout=CREATE_TIMEOUT_SECONDS)["id"])

    def preview_backfill(self, wanted: DateRange, reprocess_behavior: str = "completed") -> list[dt.date]:
        """The dates that `create_backfill` would start a run for; changes nothing."""
        body = _backfill_body(wanted, reprocess_behavior)
        return [_date(run) for run in self.request("POST", "/backfills/dry_run", json=body)["backfills"]]

    def backfill_runs(self, first: dt.date, last: dt.date) -> list[DagRun]:
        """The run of each date that has one, in the order of the dates."""
        query = {
            "logical_date_gte": f"{first}T00:00:00Z",
            "logical_date_lte": f"{last}T00:00:00Z",
            "order_by": "logical_date",
        }
        return [
            DagRun(r["dag_run_id"], _date(r), r["state"], _time(r["start_date"]), _time(r["end_date"]))
            for r in self.request_all(f"/dags/{DAG_ID}/dagRuns", "dag_runs", query)
        ]

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


def _backfill_body(wanted: DateRange, reprocess_behavior: str) -> dict[str, Any]:
    return {
        "dag_id": DAG_ID,
        "from_date": f"{wanted.first}T00:00:00Z",
        "to_date": f"{wanted.last}T00:00:00Z",
        "reprocess_behavior": reprocess_behavior,
        "dag_run_conf": wanted.conf,
    }


def _parse_backfill(answer: dict[str, Any]) -> Backfill:
    first, last = (dt.date.fromisoformat(answer[name][:10]) for name in ("from_date", "to_date"))
    return Backfill(
        id=answer["id"],
        range=DateRange(first, last, answer["dag_run_conf"] or {}),
        parallel_dates=answer["max_active_runs"],
        is_paused=answer["is_paused"],
        is_complete=answer["completed_at"] is not None,
    )


def _date(run: dict[str, Any]) -> dt.date:
    return dt.date.fromisoformat(run["logical_date"][:10])


def _time(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None


def _log_lines(line: Any) -> list[str]:
    """An entry of a task's log as text; an exception's type and message stand apart from its event."""
    if not isinstance(line, dict):
        return [str(line)]
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return [str(line["event"]), *errors]


class Watch:
    """Prints a line for each task that ends in the runs of a range of dates; nothing of the runs in `skipped`."""

    def __init__(self, api: AirflowApi, first: dt.date, last: dt.date, skipped: set[str]) -> None:
        self._api, self._first, self._last = api, first, last
        self._started = time.monotonic()
        self._told, self._ended = set[tuple[str, str]](), set(skipped)

    def look(self) -> list[DagRun]:
        """The run of each date, after a line for each task that has ended since the last look."""
        runs = self._api.backfill_runs(self._first, self._last)
        for run in runs:
            if run.state == "queued" or run.run_id in self._ended:
                continue
            for task, state in self._api.task_states(run.run_id).items():
                if state in ("success", "failed", "upstream_failed") and (run.run_id, task) not in self._told:
                    self._told.add((run.run_id, task))
                    print(f"{time.monotonic() - self._started:6.0f} s  {run.date}  {task:<28} {state}", flush=True)
            if run.state in FINISHED:
                self._ended.add(run.run_id)
        return runs


def run_dates(layout: Layout, first: dt.date, last: dt.date, conf: dict[str, Any]) -> None:
    """Run the DAG for every date of the range and print a line for each task that ends. Raises RunError."""
    api = AirflowApi(layout)
    api.wait_for_dag()
    api.switch_on()
    api.wait_for_backfills()
    earlier = {run.run_id for run in api.backfill_runs(first, last) if run.state in FINISHED}
    api.create_backfill(DateRange(first, last, conf))
    _wait_until_queued(api, first, last, earlier)
    print(f"{api.url}/dags/{DAG_ID}", flush=True)
    watch = Watch(api, first, last, skipped=set())
    while True:
        runs = watch.look()
        if failed := [run for run in runs if run.state == "failed"]:
            raise RunError(explain_failure(api, failed[0], log_lines=40))
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


def explain_failure(api: AirflowApi, run: DagRun, log_lines: int) -> str:
    """Which task of a failed run failed, and the end of its log."""
    failed = [task for task, state in api.task_states(run.run_id).items() if state == "failed"]
    if not failed:
        return f"{run.date}: no task failed; the run was cancelled or marked as failed"
    log = api.task_log(run.run_id, failed[0], log_lines)
    return f"{run.date}: the task {failed[0]} failed; the end of its log:\n{log}"
