"""The command behind `make run`."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from infra.local import run_pipeline
from infra.local.airflow_runs import RunError
from infra.local.layout import Layout

THREE_DATES = (dt.date(2025, 4, 1), dt.date(2025, 4, 3))


def test_without_arguments_the_three_dates_of_the_readme_run_as_configured(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(run_pipeline, "open_layout", lambda: layout)
    monkeypatch.setattr(run_pipeline, "run_dates", lambda _, *arguments: asked.append(arguments))
    monkeypatch.setattr(run_pipeline, "print_report", lambda _, *dates: asked.append(dates))
    assert run_pipeline.main([]) == 0
    assert asked == [(*THREE_DATES, {"event_source": "generator"}), THREE_DATES]
    assert layout.credentials.airflow_admin_password in capsys.readouterr().out


def test_a_run_that_fails_is_told_in_a_line(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RunError("2025-04-01: the task check_landing failed")

    monkeypatch.setattr(run_pipeline, "open_layout", lambda: layout)
    monkeypatch.setattr(run_pipeline, "run_dates", fail)
    assert run_pipeline.main(["--events", "10"]) == 1
    assert capsys.readouterr().err == "run_pipeline: 2025-04-01: the task check_landing failed\n"
