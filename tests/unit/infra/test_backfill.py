"""`make backfill` against a double of Airflow's REST API: what it plans, asks for and says; no socket is opened."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import pytest
import responses

from data_generator.command_line import EXIT_FAILED
from infra.local import backfill
from infra.local.airflow_runs import FINISHED, AirflowApi, DagRun, DateRange, RunError
from infra.local.backfill import OptionError, Plan, check_dates, estimate_seconds_left, make_plan, run_plan
from infra.local.layout import Layout
from tests.unit.infra.airflow_double import API, DAG, ROOT, calls, dag_runs, tasks

FIRST, SECOND, THIRD = (dt.date(2025, 4, day) for day in (1, 2, 3))
CONF = {"event_source": "generator", "events": 1500}
WANTED = DateRange(FIRST, THIRD, CONF)
OPTIONS = ["--from-date", "2025-04-01", "--to-date", "2025-04-03", "--source", "generator", "--events", "1500"]
NOW = dt.datetime(2025, 4, 10, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def command_layout(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The layout that the command opens."""
    monkeypatch.setattr(backfill, "open_layout", lambda: layout)
    return layout


def backfills(**changes: Any) -> dict[str, Any]:
    """Airflow's list with backfill 7: of the wanted range, running, except for `changes`."""
    seven = {
        "id": 7,
        "from_date": "2025-04-01T00:00:00Z",
        "to_date": "2025-04-03T00:00:00Z",
        "dag_run_conf": CONF,
        "max_active_runs": 2,
        "is_paused": False,
        "completed_at": None,
    }
    return {"backfills": [seven | changes]}


def preview(*days: str) -> dict[str, Any]:
    return {"backfills": [{"logical_date": f"{day}T00:00:00Z"} for day in days]}


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2025-04-03", "2025-04-01", "FROM=2025-04-03 is after TO=2025-04-01"),
        ("2018-12-31", "2025-04-01", "2018-12-31 is before 2019-01-01, schedule.start_date in"),
        ("2025-04-01", "2026-01-01", "2026-01-01 is after 2025-12-31, schedule.end_date in"),
        ("2025-04-01", "2025-04-10", "2025-04-10 is not over yet in UTC; the last date that can run is 2025-04-09"),
    ],
    ids=["turned round", "before the schedule", "after the schedule", "today"],
)
def test_dates_that_the_dag_has_no_runs_for_are_refused_with_the_reason(
    layout: Layout, first: str, last: str, message: str
) -> None:
    schedule = layout.settings.pipeline.schedule
    with pytest.raises(OptionError, match=message):
        check_dates(dt.date.fromisoformat(first), dt.date.fromisoformat(last), schedule, NOW)


def test_yesterday_and_the_borders_of_the_schedule_can_run(layout: Layout) -> None:
    schedule = layout.settings.pipeline.schedule
    check_dates(dt.date(2019, 1, 1), dt.date(2025, 4, 9), schedule, NOW)
    check_dates(dt.date(2025, 12, 31), dt.date(2025, 12, 31), schedule, dt.datetime(2026, 1, 1, 1, tzinfo=dt.UTC))


@pytest.mark.usefixtures("command_layout")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from-date", "2025-04-05", "--to-date", "2025-04-04"], "FROM=2025-04-05 is after"),
        ([*OPTIONS, "--replay-file", "/no/such.csv"], "/no/such.csv is not a file; give a CSV"),
        (["--from-date", "2025-04-01", "--to-date", "2025-04-01", "--source", "replay"], "say which file to replay"),
    ],
)
def test_wrong_options_are_told_before_anything_is_asked_of_airflow(
    airflow: responses.RequestsMock, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert backfill.main(options) == 2
    assert capsys.readouterr().err.startswith(f"backfill: {message}")
    assert len(airflow.calls) == 0


@pytest.mark.usefixtures("command_layout")
def test_what_is_no_date_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        backfill.main(["--from-date", "2025-04-31", "--to-date", "2025-05-01"])
    assert error.value.code == 2
    assert "--from-date: '2025-04-31' is not a date like 2025-04-01" in capsys.readouterr().err


@pytest.mark.usefixtures("command_layout")
def test_without_a_stack_the_command_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    with responses.RequestsMock():  # knows no address: every connection is refused
        assert backfill.main(OPTIONS) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("backfill: no Airflow answers at http://127.0.0.1:8080: `make up`")


@pytest.mark.parametrize(
    ("newest", "states", "reprocess", "dates"),
    [
        ({"backfills": []}, (), "completed", 3),
        (backfills(completed_at="2025-04-09T00:00:00Z"), ("success", "success", "success"), "completed", 3),
        (backfills(completed_at="2025-04-09T00:00:00Z"), ("success", "failed", "success"), "failed", 1),
        (
            backfills(completed_at="2025-04-09T00:00:00Z", dag_run_conf=CONF | {"force": True}),
            ("success", "failed", "success"),
            "failed",
            1,
        ),
        (
            backfills(completed_at="2025-04-09T00:00:00Z", dag_run_conf=CONF | {"events": 7}),
            ("success", "failed", "success"),
            "completed",
            3,
        ),
        (
            backfills(completed_at="2025-04-09T00:00:00Z", to_date="2025-04-02T00:00:00Z"),
            ("success", "failed", "success"),
            "completed",
            3,
        ),
    ],
    ids=["never", "after success", "after a failure", "of a forced one", "of another conf", "of another range"],
)
def test_a_new_backfill_runs_every_date_again_or_only_what_failed_in_the_same_one(
    airflow: responses.RequestsMock,
    layout: Layout,
    newest: dict[str, Any],
    states: tuple[str, ...],
    reprocess: str,
    dates: int,
) -> None:
    airflow.replace("GET", f"{API}/backfills", json=newest)
    airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    days = ["2025-04-02"] if dates == 1 else ["2025-04-01", "2025-04-02", "2025-04-03"]
    airflow.post(f"{API}/backfills/dry_run", json=preview(*days))
    plan = make_plan(AirflowApi(layout), WANTED)
    assert plan == Plan(None, reprocess, tuple(map(dt.date.fromisoformat, days)))
    assert json.loads(calls(airflow, "POST", f"{API}/backfills/dry_run")[0].body) == {
        "dag_id": "clickstream_pipeline",
        "from_date": "2025-04-01T00:00:00Z",
        "to_date": "2025-04-03T00:00:00Z",
        "reprocess_behavior": reprocess,
        "dag_run_conf": CONF,
    }
    assert calls(airflow, "POST", f"{API}/backfills") == []


@pytest.mark.parametrize(("is_paused", "word"), [(True, "paused"), (False, "running")])
def test_the_same_command_goes_on_with_the_open_backfill_and_what_is_not_done_in_it(
    airflow: responses.RequestsMock,
    layout: Layout,
    capsys: pytest.CaptureFixture[str],
    is_paused: bool,
    word: str,
) -> None:
    airflow.replace("GET", f"{API}/backfills", json=backfills(is_paused=is_paused))
    airflow.put(f"{API}/backfills/7/unpause", json={})
    for states in [("success", "running", "queued")] * 2 + [("success", "success", "success")]:
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    airflow.get(f"{DAG}/dagRuns/backfill__2025-04-02/taskInstances", json=tasks(land="success"))
    airflow.get(f"{DAG}/dagRuns/backfill__2025-04-03/taskInstances", json=tasks(land="success"))
    api = AirflowApi(layout)
    plan = make_plan(api, WANTED)
    assert plan.dates == (SECOND, THIRD)
    assert plan.describe(WANTED).endswith(f"2 dates to run; goes on with backfill 7, which is {word}")
    assert [run.state for run in run_plan(layout, api, WANTED, plan)] == ["success"] * 3
    assert len(calls(airflow, "PUT", f"{API}/backfills/7/unpause")) == (1 if is_paused else 0)
    assert calls(airflow, "POST", f"{API}/backfills") == []
    printed = capsys.readouterr().out
    assert "2025-04-02  land" in printed
    assert "2025-04-01  land" not in printed


def test_another_open_backfill_is_named_with_both_ways_out(airflow: responses.RequestsMock, layout: Layout) -> None:
    other = backfills(from_date="2025-03-01T00:00:00Z", to_date="2025-03-31T00:00:00Z", is_paused=True)
    airflow.replace("GET", f"{API}/backfills", json=other)
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success", "queued"))
    with pytest.raises(RunError) as error:
        make_plan(AirflowApi(layout), WANTED)
    message = str(error.value)
    assert message.startswith(
        "backfill 7 of 2025-03-01 to 2025-03-31 with {'event_source': 'generator', 'events': 1500}"
    )
    assert "is paused" in message
    assert "(make backfill FROM=2025-03-01 TO=2025-03-31 SOURCE=generator EVENTS=1500)" in message
    assert f"cancel it at {ROOT}/dags/clickstream_pipeline/backfills" in message


def test_an_open_backfill_whose_runs_have_ended_is_waited_for(airflow: responses.RequestsMock, layout: Layout) -> None:
    other = {"to_date": "2025-04-01T00:00:00Z"}
    airflow.replace("GET", f"{API}/backfills", json=backfills(**other))
    airflow.get(f"{API}/backfills", json=backfills(**other))
    airflow.get(f"{API}/backfills", json=backfills(**other, completed_at="2025-04-09T00:00:00Z"))
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success"))
    airflow.post(f"{API}/backfills/dry_run", json=preview("2025-04-01"))
    assert make_plan(AirflowApi(layout), WANTED) == Plan(None, "completed", (FIRST,))


def test_a_date_that_runs_without_a_backfill_is_named(airflow: responses.RequestsMock, layout: Layout) -> None:
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success", "running"))
    with pytest.raises(RunError, match=r"^2025-04-02 is running outside of a backfill \(backfill__2025-04-02\)"):
        make_plan(AirflowApi(layout), WANTED)


def test_a_new_backfill_asks_for_as_many_parallel_dates_as_configured(
    airflow: responses.RequestsMock, layout: Layout
) -> None:
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success", "success", "success"))
    run_plan(layout, AirflowApi(layout), WANTED, Plan(None, "failed", ()))
    body = json.loads(calls(airflow, "POST", f"{API}/backfills")[0].body)
    assert (body["reprocess_behavior"], body["dag_run_conf"]) == ("failed", CONF)
    assert body["max_active_runs"] == layout.settings.pipeline.schedule.parallel_dates


@pytest.mark.parametrize(
    ("options", "conf"),
    [
        ([], {}),
        (["--force"], {"force": True}),
        (["--source", "generator", "--events", "1500"], {"event_source": "generator", "events": 1500}),
    ],
)
def test_the_runs_get_what_the_options_say_and_nothing_else(
    airflow: responses.RequestsMock, command_layout: Layout, options: list[str], conf: Mapping[str, Any]
) -> None:
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("failed"))
    airflow.get(f"{DAG}/dagRuns/backfill__2025-04-01/taskInstances", json=tasks(land=None))
    airflow.post(f"{API}/backfills/dry_run", json=preview("2025-04-01"))
    assert command_layout
    assert backfill.main(["--from-date", "2025-04-01", "--to-date", "2025-04-01", *options]) == EXIT_FAILED
    assert json.loads(calls(airflow, "POST", f"{API}/backfills")[0].body)["dag_run_conf"] == conf


@pytest.mark.usefixtures("command_layout")
def test_a_failed_date_stops_no_other_and_is_named_with_task_and_log(
    airflow: responses.RequestsMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = []
    monkeypatch.setattr(backfill, "print_report", lambda _, first, last: reported.append((first, last)))
    airflow.post(f"{API}/backfills/dry_run", json=preview("2025-04-01", "2025-04-02", "2025-04-03"))
    for states in [(), (), ("failed", "running", "queued"), ("failed", "success", "failed")]:
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    one, two, three = (f"{DAG}/dagRuns/backfill__2025-04-0{number}/taskInstances" for number in (1, 2, 3))
    airflow.get(one, json=tasks(publish="success", land="failed", check="upstream_failed"))
    airflow.get(two, json=tasks(land="success"))
    airflow.get(three, json=tasks(land=None))
    airflow.get(f"{one}/land", json={"try_number": 3})
    airflow.get(f"{one}/land/logs/3", json={"content": [*map(str, range(20)), {"event": "no broker answers"}]})
    assert backfill.main(OPTIONS) == EXIT_FAILED
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if "dates are" in line] == [
        "0 of 3 dates are done, 1 failed; the first date will tell how long the others take",
        "1 of 3 dates are done, 2 failed",
    ]
    assert reported == [(FIRST, THIRD)]
    assert err.splitlines() == [
        "2025-04-01: the task land failed; the end of its log:",
        *map(str, range(11, 20)),
        "no broker answers",
        "2025-04-03: no task failed; the run was cancelled or marked as failed",
        "backfill: 2 of 3 dates failed: 2025-04-01, 2025-04-03; mend the cause, then the same command runs them again",
    ]


@pytest.mark.usefixtures("command_layout")
def test_ctrl_c_pauses_the_backfill_and_says_how_it_goes_on(
    airflow: responses.RequestsMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", press)
    airflow.get(f"{API}/backfills", json=backfills())
    airflow.post(f"{API}/backfills/dry_run", json=preview("2025-04-01", "2025-04-02", "2025-04-03"))
    airflow.put(f"{API}/backfills/7/pause", json={})
    for states in [(), (), ("running", "queued", "queued")]:
        airflow.get(f"{DAG}/dagRuns", json=dag_runs(*states))
    airflow.get(f"{DAG}/dagRuns/backfill__2025-04-01/taskInstances", json=tasks(land="running"))
    assert backfill.main(OPTIONS) == 130
    assert len(calls(airflow, "PUT", f"{API}/backfills/7/pause")) == 1
    assert capsys.readouterr().err == (
        "backfill: backfill 7 is paused: 2025-04-01 goes on to the end, no other date starts; the same command goes "
        "on: make backfill FROM=2025-04-01 TO=2025-04-03 SOURCE=generator EVENTS=1500\n"
    )


def test_ctrl_c_before_the_start_pauses_nothing(airflow: responses.RequestsMock, layout: Layout) -> None:
    airflow.replace("GET", f"{API}/backfills", json=backfills(dag_run_conf={}))
    assert backfill.pause(AirflowApi(layout), WANTED) == "interrupted; no date was started"


def test_a_backfill_that_somebody_else_paused_is_not_waited_for(
    airflow: responses.RequestsMock, layout: Layout
) -> None:
    airflow.replace("GET", f"{API}/backfills", json=backfills(is_paused=True))
    airflow.get(f"{DAG}/dagRuns", json=dag_runs("success", "queued", "queued"))
    with pytest.raises(RunError, match="backfill 7 was paused by somebody else; the same command lets it go on"):
        backfill.follow(AirflowApi(layout), WANTED, skipped={"backfill__2025-04-01"}, parallel_dates=2)


def run(day: int, state: str, minutes: float = 0) -> DagRun:
    """A run that took `minutes`, or that began as long before NOW."""
    length = dt.timedelta(minutes=minutes)
    started = None if state == "queued" else NOW - length
    return DagRun(f"{day}", dt.date(2025, 4, day), state, started, NOW if state in FINISHED else None)


@pytest.mark.parametrize(
    ("runs", "parallel_dates", "minutes"),
    [
        ([run(1, "running", 5), run(2, "queued")], 1, None),
        ([run(1, "failed", 1), run(2, "queued")], 1, None),
        ([run(1, "success", 2), run(2, "queued"), run(3, "queued")], 1, 4),
        ([run(1, "success", 2), run(2, "queued"), run(3, "queued")], 2, 2),
        ([run(1, "success", 2), run(2, "running", 0.5), run(3, "queued")], 2, 1.75),
        ([run(1, "success", 2), run(2, "running", 0.5)], 2, 1.5),
        ([run(1, "success", 2), run(2, "running", 9), run(3, "queued")], 1, 2),
        ([run(1, "success", 1), run(2, "success", 3), run(3, "success", 9), run(4, "queued")], 1, 3),
        ([run(1, "success", 2)], 2, None),
    ],
    ids=["nothing done", "only a failure", "in turn", "two at once", "begun", "the last", "overdue", "median", "end"],
)
def test_the_estimate_follows_from_the_dates_that_succeeded(
    runs: list[DagRun], parallel_dates: int, minutes: float | None
) -> None:
    seconds = estimate_seconds_left(runs, NOW, parallel_dates)
    assert seconds == (None if minutes is None else minutes * 60)
