"""Airflow on PostgreSQL with its LocalExecutor: API server and UI, scheduler, DAG processor, triggerer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests

from infra.local.airflow_runs import AirflowApi
from infra.local.credentials import write_private
from infra.local.environment import airflow_version, service_environment
from infra.local.layout import VENV, Layout
from infra.local.service import Service, run_logged

AIRFLOW = str(VENV / "bin" / "airflow")
SCHEDULER = (str(VENV / "bin" / "python"), "-m", "infra.local.airflow_scheduler")


def airflow_services(layout: Layout) -> tuple[Service, ...]:
    """The log servers of scheduler and triggerer listen on every interface; the API server reads the files itself."""
    port = layout.stack.ports.airflow
    return (
        Service(
            name="airflow-api-server",
            command=(AIRFLOW, "api-server"),
            ports={"airflow": port},
            depends_on=("postgres",),
            prepare=lambda: prepare_airflow(layout),
            is_ready=lambda _: _health(layout) is not None,
            after_ready=lambda: create_landing_pool(layout),
        ),
        _with_heartbeat(layout, "airflow-scheduler", "scheduler", (*SCHEDULER, "--skip-serve-logs")),
        _with_heartbeat(layout, "airflow-dag-processor", "dag_processor", (AIRFLOW, "dag-processor")),
        _with_heartbeat(layout, "airflow-triggerer", "triggerer", (AIRFLOW, "triggerer", "--skip-serve-logs")),
    )


def prepare_airflow(layout: Layout) -> None:
    """The login of the UI and, once for each version of Airflow, the tables of its database."""
    home = layout.airflow_home
    write_private(home / "passwords.json", json.dumps({"admin": layout.credentials.airflow_admin_password}) + "\n")
    migrated = home / "migrated-to"
    if migrated.exists() and migrated.read_text(encoding="utf-8") == airflow_version():
        return
    run_logged((AIRFLOW, "db", "migrate"), layout.logs / "airflow-migrate.log", service_environment(layout, os.environ))
    migrated.write_text(airflow_version(), encoding="utf-8")


def create_landing_pool(layout: Layout) -> None:
    """The pool in which landings wait for each other; one that exists stays as it is."""
    api, name = AirflowApi(layout), layout.settings.pipeline.landing.pool
    if name not in {pool["name"] for pool in api.request("GET", "/pools")["pools"]}:
        described = {"name": name, "slots": 1, "include_deferred": False, "description": "one landing at a time"}
        api.request("POST", "/pools", json=described)


def _with_heartbeat(layout: Layout, name: str, component: str, command: tuple[str, ...]) -> Service:
    return Service(
        name=name,
        command=command,
        depends_on=("postgres",),
        is_ready=_beats_since(layout, component),
        stop_seconds=60,
    )


def _beats_since(layout: Layout, component: str) -> Callable[[datetime], bool]:
    def is_ready(started_at: datetime) -> bool:
        health = (_health(layout) or {}).get(component) or {}
        heartbeat = str(health.get(f"latest_{component}_heartbeat"))
        return health.get("status") == "healthy" and datetime.fromisoformat(heartbeat) >= started_at

    return is_ready


def _health(layout: Layout) -> dict[str, Any] | None:
    url = f"http://{layout.stack.bind_host}:{layout.stack.ports.airflow}/api/v2/monitor/health"
    try:
        answer = requests.get(url, timeout=3, proxies={"http": ""})
        return dict(answer.json()) if answer.ok else None
    except requests.RequestException:
        return None
