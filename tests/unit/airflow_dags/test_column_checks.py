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


@pytest.fixture
def warning(checks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The check that only warns of many quarantined records; `holds` says what Athena answers."""

    def make(holds: int) -> Any:
        settings = config.load("local")
        built = {task.task_id: task for task in checks.build_column_checks(settings.paths, settings.pipeline.checks)}
        task = built["warn_raw_events"]
        monkeypatch.setattr(type(task), "get_db_hook", lambda _: Hook([("few_are_quarantined", holds)]))
        return task

    return make


def test_an_implausible_date_skips_the_check_and_names_it(checks: ModuleType, warning: Any) -> None:
    told = TaskInstance()
    with pytest.raises(checks.AirflowSkipException, match="few_are_quarantined"):
        warning(holds=0).execute({"ti": told})
    assert told.told == {"warnings": ["few_are_quarantined"]}


def test_a_plausible_date_says_nothing(warning: Any) -> None:
    told = TaskInstance()
    warning(holds=1).execute({"ti": told})
    assert told.told == {}


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
