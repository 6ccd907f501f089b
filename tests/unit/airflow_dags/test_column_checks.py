"""The checks by Athena: which there are, and what becomes of one that only warns."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

import config
from config.loader import EVENT_SCHEMA_FILE
from tests.unit.airflow_dags import import_with_home


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return import_with_home("airflow_dags.column_checks", tmp_path_factory.mktemp("airflow"))


class TaskInstance:
    """What a task tells the tasks after it."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.told[key] = value


class Hook:
    """Athena's answer: check name and whether it holds."""

    def __init__(self, answer: list[tuple[str, int]]) -> None:
        self.answer = answer

    def get_records(self, sql: str) -> list[tuple[str, int]]:
        assert "count_if" in sql
        return self.answer


def run_warning(checks: ModuleType, monkeypatch: pytest.MonkeyPatch, holds: int) -> dict[str, Any]:
    settings = config.load("local")
    built = {task.task_id: task for task in checks.build_column_checks(settings.paths, settings.pipeline.checks)}
    task = built["warn_raw_events"]
    monkeypatch.setattr(type(task), "get_db_hook", lambda _: Hook([("few_are_quarantined", holds)]))
    told = TaskInstance()
    try:
        task.execute({"ti": told})
    except checks.AirflowSkipException as skipped:
        assert "few_are_quarantined" in str(skipped)
        return told.told | {"skipped": True}
    return told.told


def test_an_implausible_date_skips_the_check_and_names_it(checks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_warning(checks, monkeypatch, holds=0) == {"warnings": ["few_are_quarantined"], "skipped": True}
    assert run_warning(checks, monkeypatch, holds=1) == {}


def test_the_accepted_event_types_are_those_of_the_schema(checks: ModuleType) -> None:
    schema = json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))
    accepted = checks.FAIL_ROWS["events"]["accepted_event_types"]
    assert accepted == "event_type IN ({})".format(
        ", ".join(f"'{kind}'" for kind in schema["properties"]["event_type"]["enum"])
    )


def test_every_check_is_bounded_to_the_date_of_the_run(checks: ModuleType) -> None:
    settings = config.load("local")
    for task in checks.build_column_checks(settings.paths, settings.pipeline.checks):
        assert task.partition_clause.endswith("_date = DATE '{{ data_interval_start | ds }}'"), task.task_id
        assert task.sql.count("WHERE") >= 1
