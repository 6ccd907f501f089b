"""A layout of a stack that never starts, for rendering needs neither ports nor Java, and a double of its Airflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses

import config
from infra.local import airflow_runs
from infra.local.credentials import generate
from infra.local.layout import Layout
from tests.unit.infra.airflow_double import API, DAG, ROOT


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    settings = config.load("local")
    assert settings.environment.stack is not None
    stack = dataclasses.replace(settings.environment.stack, state_dir=str(tmp_path / "state 100%"))
    return Layout(
        settings=settings,
        stack=stack,
        environment_name="local",
        credentials=generate(),
        java_home=Path("/java"),
    )


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    """Answers in the order in which they are registered; the last one of an address is repeated."""
    monkeypatch.setattr(airflow_runs, "POLL_SECONDS", 0.0)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as double:
        double.post(f"{ROOT}/auth/token", json={"access_token": "first"})
        double.get(f"{API}/dags", json={"dags": [{"dag_id": "other"}, {"dag_id": "clickstream_pipeline"}]})
        double.patch(DAG, json={})
        double.post(f"{API}/backfills", json={"id": 7})
        double.get(f"{API}/backfills", json={"backfills": []})
        yield double
