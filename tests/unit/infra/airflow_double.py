"""A double of Airflow's REST API for `responses`: what it answers, and what it was asked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import responses

ROOT = "http://127.0.0.1:8080"
API = f"{ROOT}/api/v2"
DAG = f"{API}/dags/clickstream_pipeline"


def dag_runs(*states: str) -> dict[str, Any]:
    """One run for each date from the first of April on."""
    days = [dt.date(2025, 4, 1) + dt.timedelta(days=n) for n in range(len(states))]
    return {
        "dag_runs": [
            {
                "dag_run_id": f"backfill__{day}",
                "logical_date": f"{day}T00:00:00Z",
                "state": state,
                "start_date": None,
                "end_date": None,
            }
            for day, state in zip(days, states, strict=True)
        ]
    }


def tasks(**states: str | None) -> dict[str, Any]:
    """Task instances that started a minute after each other, given latest first; without a state: not started."""
    instances = [
        {"task_id": name, "state": state, "start_date": f"2025-04-03T00:0{number}:00Z" if state else None}
        for number, (name, state) in enumerate(states.items())
    ]
    return {"task_instances": instances[::-1]}


def calls(airflow: responses.RequestsMock, method: str, address: str) -> list[Any]:
    return [
        call.request
        for call in airflow.calls
        if call.request.method == method and str(call.request.url).partition("?")[0] == address
    ]
