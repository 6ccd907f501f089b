"""`make backfill` over three dates, two at a time; its dry run before any run of the lake is in test_empty_lake.

One story, a fixture for each part: the second date is on the topic with other parameters, so that its run fails;
Ctrl-C when the first is published; the same command, killed with -9 and given again; the same command after mending.
"""

from __future__ import annotations

import datetime as dt
import signal
from pathlib import Path
from typing import Any

import boto3
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.local.airflow_runs import DAG_ID, AirflowApi, DagRun
from tests.running_stack import Ended, Running, RunningStack, wait_until

EVENTS = 1_500
FIRST, SECOND, THIRD = DATES = [dt.date(2025, 2, day) for day in (10, 11, 12)]
COMMAND = ("make", "backfill", f"FROM={FIRST}", f"TO={THIRD}", "SOURCE=generator", f"EVENTS={EVENTS}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


def run(stack: RunningStack, folder: Path, *command: str) -> Ended:
    return Running(stack, folder, command).end()


def runs(stack: RunningStack) -> dict[dt.date, DagRun]:
    return {run.date: run for run in AirflowApi(stack.layout).backfill_runs(FIRST, THIRD)}


def task_times(stack: RunningStack, date: dt.date, task: str) -> tuple[str, str]:
    found = AirflowApi(stack.layout).request(
        "GET", f"/dags/{DAG_ID}/dagRuns/{runs(stack)[date].run_id}/taskInstances/{task}"
    )
    return found["start_date"], found["end_date"]


def rows(stack: RunningStack, table: str, row_filter: str) -> list[dict[str, Any]]:
    loaded = stack.open_lake().load_table((stack.settings.paths.database, table))
    found: list[dict[str, Any]] = loaded.scan(row_filter=row_filter).to_arrow().to_pylist()
    return found


def everything(stack: RunningStack) -> dict[str, Any]:
    """What a dry run must leave alone: Airflow's runs and backfills, each table's snapshot, the end of the topic."""
    lake, api = stack.open_lake(), AirflowApi(stack.layout)
    database, topic = stack.settings.paths.database, stack.settings.pipeline.topic
    tables = lake.list_tables(database) if lake.namespace_exists(database) else []
    consumer = Consumer({"bootstrap.servers": stack.settings.environment.kafka.bootstrap_servers, "group.id": "test"})
    partitions = consumer.list_topics(timeout=20).topics
    ends = {
        number: consumer.get_watermark_offsets(TopicPartition(topic.name, number), timeout=20)
        for number in (partitions[topic.name].partitions if topic.name in partitions else ())
    }
    consumer.close()
    return {
        "runs": runs(stack),
        "backfills": api.request("GET", "/backfills", params={"dag_id": DAG_ID}),
        "is_paused": api.request("GET", f"/dags/{DAG_ID}")["is_paused"],
        "snapshots": {table: lake.load_table(table).metadata.current_snapshot_id for table in tables},
        "topic": ends,
    }


@pytest.fixture(scope="module")
def interrupted(stack: RunningStack, folder: Path) -> dict[str, Any]:
    """Ctrl-C while two dates run. The second cannot be published, for it was with other parameters: its retries take
    a minute at least, so that it still holds its place when Ctrl-C comes.
    """
    api = AirflowApi(stack.layout)
    api.wait_for_dag()
    api.wait_for_backfills()
    before = api.newest_backfill()
    stack.run("python", "-m", "data_generator.event_producer", "--date", f"{SECOND}", "--events", "1600")
    command = Running(stack, folder, COMMAND)
    command.wait_for_line(f"{FIRST}", "generator", "success")
    told: dict[str, Any] = {"ctrl-c": command.end(signal.SIGINT)}
    told["runs"] = runs(stack)
    opened = api.newest_backfill()
    assert opened is not None
    assert opened != before
    told["backfill"] = opened.id
    told["other range"] = run(stack, folder, "make", "backfill", f"FROM={FIRST}", f"TO={SECOND}")
    told["dry run while paused"] = run(stack, folder, *COMMAND, "DRY_RUN=1")
    return told


@pytest.fixture(scope="module")
def resumed(stack: RunningStack, folder: Path, interrupted: dict[str, Any]) -> dict[str, Any]:
    """The same command, killed when the third date has begun, and once more to the end; what FORCE=1 would do then."""
    assert interrupted["ctrl-c"].code != 0
    command = Running(stack, folder, COMMAND)
    command.wait_for_line(f"{THIRD}", "choose_source", "success")
    killed = command.end(signal.SIGKILL)
    told: dict[str, Any] = {"killed": killed, "followed": run(stack, folder, *COMMAND), "runs": runs(stack)}
    return told | {"forced dry run": run(stack, folder, *COMMAND, "FORCE=1", "DRY_RUN=1")}


@pytest.fixture(scope="module")
def mended(stack: RunningStack, folder: Path, resumed: dict[str, Any]) -> dict[str, Any]:
    """The same command after the manifest of the wrong publication was removed."""
    assert resumed["followed"].code != 0
    bucket, _, prefix = stack.settings.paths.truth.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", endpoint_url=stack.settings.environment.aws.endpoint_url)
    s3.delete_object(Bucket=bucket, Key=f"{prefix}/date={SECOND}/manifest.json")
    return {"ended": run(stack, folder, *COMMAND), "runs": runs(stack)}


def preview_of(dry_run: Ended, date: dt.date) -> list[str]:
    """The cells of a date's line, without the date."""
    line = next(line for line in dry_run.out.splitlines() if line.startswith(f"│ {date}"))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_ctrl_c_lets_the_dates_that_run_end_and_starts_no_other(interrupted: dict[str, Any]) -> None:
    assert "is paused" in interrupted["ctrl-c"].err
    assert f"the same command goes on: {' '.join(COMMAND)}" in interrupted["ctrl-c"].err
    assert interrupted["runs"][FIRST].state == "running"
    assert interrupted["runs"][THIRD].state == "queued"
    paused = interrupted["dry run while paused"]
    assert preview_of(paused, THIRD)[3].startswith("queued")
    assert preview_of(paused, SECOND)[4].startswith("fails: published with")


def test_another_range_is_refused_as_long_as_one_is_open(interrupted: dict[str, Any]) -> None:
    refused = interrupted["other range"]
    assert refused.code != 0
    assert f"backfill {interrupted['backfill']} of {FIRST} to {THIRD}" in refused.err
    assert " ".join(COMMAND) in refused.err


def test_the_same_command_goes_on_and_after_kill_9_as_well(
    interrupted: dict[str, Any], resumed: dict[str, Any]
) -> None:
    opened = f"goes on with backfill {interrupted['backfill']}"
    assert f"{opened}, which is paused" in resumed["killed"].out
    assert f"{opened}, which is running" in resumed["followed"].out
    states = {date: run.state for date, run in resumed["runs"].items()}
    assert states == {FIRST: "success", SECOND: "failed", THIRD: "success"}


def test_a_failed_date_stops_no_other_and_is_named_with_its_reason(resumed: dict[str, Any]) -> None:
    err = resumed["followed"].err
    assert f"{SECOND}: the task publish_events.generator failed" in err
    assert "was published with other parameters (events: 1600, now 1500)" in err
    assert f"1 of 3 dates failed: {SECOND}" in err


def test_a_failed_date_stands_in_failed_runs(stack: RunningStack, resumed: dict[str, Any]) -> None:
    (failed,) = rows(stack, "failed_runs", f"event_date = '{SECOND}'")
    assert (failed["run_id"], failed["failed_tasks"]) == (resumed["runs"][SECOND].run_id, ["publish_events.generator"])


def test_force_is_for_the_dates_that_failed_without_it(resumed: dict[str, Any]) -> None:
    dry_run = resumed["forced dry run"]
    assert "1 date to run: those that failed" in dry_run.out
    assert [preview_of(dry_run, date)[4] for date in (FIRST, THIRD)] == ["nothing: it is done"] * 2
    assert preview_of(dry_run, SECOND)[4].startswith("fails: published with")


def test_two_dates_ran_at_once_and_segments_were_made_when_no_earlier_date_ran(
    stack: RunningStack, resumed: dict[str, Any]
) -> None:
    first, second = resumed["runs"][FIRST], resumed["runs"][SECOND]
    assert max(first.started, second.started) < min(first.ended, second.ended)
    assert task_times(stack, FIRST, "record_run")[1] <= task_times(stack, THIRD, "user_segmentation_ml")[0]


def test_after_mending_the_same_command_runs_only_what_failed(resumed: dict[str, Any], mended: dict[str, Any]) -> None:
    assert mended["ended"].code == 0, mended["ended"]
    assert "1 date to run: those that failed" in mended["ended"].out
    assert {run.state for run in mended["runs"].values()} == {"success"}
    for date in (FIRST, THIRD):
        assert mended["runs"][date] == resumed["runs"][date]


@pytest.mark.usefixtures("mended")
def test_no_record_is_lost_and_segments_follow_from_the_date_before_in_whatever_order_dates_ran(
    stack: RunningStack,
) -> None:
    segment: dict[dt.date, dict[str, int]] = {}
    for date in DATES:
        raw = rows(stack, "raw_events", f"event_date = '{date}' and error_type is null")
        events = rows(stack, "events", f"event_date = '{date}'")
        assert sorted(row["event_id"] for row in events) == sorted({row["event"]["event_id"] for row in raw})
        users = rows(stack, "user_segments", f"snapshot_date = '{date}'")
        before = segment.get(date - dt.timedelta(days=1), {})
        for row in users:
            assert row["previous_segment_id"] == before.get(row["user_id"]), (date, row)
        segment[date] = {row["user_id"]: row["segment_id"] for row in users}
    assert all(segment.values())


@pytest.mark.usefixtures("mended")
def test_after_success_the_same_command_would_run_every_date_again_and_a_dry_run_counts_them(
    stack: RunningStack, folder: Path
) -> None:
    wait_until(lambda: (newest := AirflowApi(stack.layout).newest_backfill()) is not None and newest.is_complete)
    before = everything(stack)
    dry_run = run(stack, folder, *COMMAND, "DRY_RUN=1")
    assert "3 dates to run" in dry_run.out
    total = 0.0
    for date in DATES:
        counts = [
            len(rows(stack, "raw_events", f"event_date = '{date}'")),
            len(rows(stack, "events", f"event_date = '{date}'")),
            len(rows(stack, "user_segments", f"snapshot_date = '{date}'")),
        ]
        cells = preview_of(dry_run, date)
        assert cells[:3] == [f"{count:,}" for count in counts]
        assert cells[3].startswith("success")
        seconds = dict(rows(stack, "pipeline_runs", f"event_date = '{date}'")[0]["job_seconds"])
        assert cells[5] == f"{sum(seconds.values()):.0f}"
        total += sum(seconds.values())
    assert f"about {total / 2:,.0f} s for the Spark jobs, 2 at a time" in dry_run.out
    assert everything(stack) == before
