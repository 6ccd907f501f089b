"""Rollback, requeueing, maintenance, forgetting a user and approving a model.

The tests build on each other, in the order in which they stand, over one generated date, the newest of the lake.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Producer
from pyiceberg.catalog import Catalog

from infra.local.airflow_runs import FINISHED, AirflowApi, run_dates
from tests.running_stack import RunningStack, athena_cursor, wait_until

DATE = dt.date(2025, 6, 10)
EVENTS = 3_000
# Late events are of the date before, sessions that go on after midnight of the one after it.
FIRST, LAST = DATE - dt.timedelta(days=3), DATE + dt.timedelta(days=3)
NEARBY = f"event_date >= '{FIRST}' AND event_date <= '{LAST}'"


@pytest.fixture(scope="module")
def catalog(stack: RunningStack) -> Catalog:
    return stack.open_lake()


@pytest.fixture(scope="module")
def one_date(stack: RunningStack) -> None:
    """The daily DAG over one date, asked to let a person approve what it trains."""
    conf = {"event_source": "generator", "events": EVENTS, "needs_approval": True}
    run_dates(stack.layout, DATE, DATE, conf)


def run_job(stack: RunningStack, job: str, *arguments: str) -> str:
    """What a job prints."""
    return stack.run("python", f"spark_jobs/{job}.py", *arguments).stdout


def rows(catalog: Catalog, table: str, row_filter: str = "true") -> list[dict[str, Any]]:
    scan = catalog.load_table(("clickstream", table)).scan(row_filter=row_filter)
    found: list[dict[str, Any]] = scan.to_arrow().to_pylist()
    return found


def run_dag(stack: RunningStack, dag_id: str, conf: dict[str, str]) -> None:
    """Trigger a DAG as its UI does, and wait until its run has succeeded; then it is paused again."""
    api = AirflowApi(stack.layout)
    wait_until(lambda: dag_id in {dag["dag_id"] for dag in api.request("GET", "/dags")["dags"]})
    api.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
    run = api.request("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"]
    path = f"/dags/{dag_id}/dagRuns/{run}"
    wait_until(lambda: api.request("GET", path)["state"] in FINISHED, seconds=1200)
    log = api.request("GET", f"{path}/taskInstances/{dag_id}/logs/1", params={"full_content": "true"})
    assert api.request("GET", path)["state"] == "success", json.dumps(log)[-5000:]
    api.request("PATCH", f"/dags/{dag_id}", json={"is_paused": True})


def objects(stack: RunningStack) -> Iterator[tuple[str, bytes]]:
    """Key and content of every object in the bucket."""
    environment = stack.settings.environment.aws
    s3 = boto3.client("s3", endpoint_url=environment.endpoint_url)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=environment.bucket):
        for item in page.get("Contents", []):
            yield item["Key"], s3.get_object(Bucket=environment.bucket, Key=item["Key"])["Body"].read()


def holding(stack: RunningStack, text: str) -> set[str]:
    """First part of the keys of the objects in which `text` stands; Parquet is decoded, payloads too."""

    def decode(key: str, content: bytes) -> bytes:
        return str(pq.read_table(io.BytesIO(content)).to_pylist()).encode() if key.endswith(".parquet") else content

    return {key.partition("/")[0] for key, content in objects(stack) if text.encode() in decode(key, content)}


@pytest.mark.usefixtures("one_date")
def test_make_rollback_takes_a_date_back_and_pipeline_runs_shows_it(stack: RunningStack, catalog: Catalog) -> None:
    def files() -> set[str]:
        found = catalog.load_table(("clickstream", "events")).inspect.files().to_pylist()
        return {file["file_path"] for file in found if file["partition"]["event_date"] == DATE}

    before = files()
    run_job(stack, "transform_clickstream", "--start-date", str(DATE))
    assert not files() & before
    printed = stack.run("make", "rollback", "TABLE=events", f"DATE={DATE}").stdout
    assert files() == before
    report = json.loads(printed.splitlines()[-1])
    of_date = sum(row["event_date"] == DATE for row in rows(catalog, "events"))
    assert report["rows_before"] == report["rows_after"] == of_date
    (run,) = [row for row in rows(catalog, "pipeline_runs") if row["event_date"] == DATE]
    assert [remark.partition(" with ")[0] for remark in run["remarks"]] == [
        f"rollback: events went back to snapshot {report['back_to']}"
    ]


def publish(stack: RunningStack, user: str, payloads: list[bytes]) -> None:
    servers = stack.settings.environment.kafka.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for payload in payloads:
        producer.produce(stack.settings.pipeline.topic.name, payload, user)
    assert producer.flush(30) == 0


@pytest.mark.usefixtures("one_date")
def test_make_requeue_brings_back_what_was_lost_and_counts_nothing_twice(stack: RunningStack, catalog: Catalog) -> None:
    """One record is the copy of a clean event, one is of an event that no good record tells of; both are corrected."""
    before = {row["event_id"]: row for row in rows(catalog, "events", NEARBY)}
    clean = min(before.values(), key=lambda row: str(row["event_id"]))
    new_id = str(uuid.uuid4())
    event = {"event_time": f"{DATE}T12:00:00.000Z", "event_type": "view", "user_id": "requeued", "price": -5}
    # With the key of the clean one: in its partition, behind it.
    publish(
        stack, clean["user_id"], [json.dumps(event | {"event_id": one}).encode() for one in (clean["event_id"], new_id)]
    )
    assert json.loads(run_job(stack, "land_raw_events").splitlines()[-1])["landed"] == 2

    where = "payload_text LIKE '%requeued%'"
    command = ["make", "requeue", f"WHERE=error_type = 'bad_price' AND {where}"]
    assert "2 still fail: bad_price" in stack.run(*command, "DRY_RUN=0").stdout
    command.append("PAYLOAD=replace(payload_text, '\"price\": -', '\"price\": ')")
    assert "dry run: nothing was published" in stack.run(*command, "DRY_RUN=1").stdout
    assert "2 published to clickstream" in stack.run(*command).stdout
    assert json.loads(run_job(stack, "land_raw_events").splitlines()[-1])["landed"] == 2
    assert "nothing to publish" in stack.run(*command).stdout
    with athena_cursor(stack) as cursor:
        cursor.execute(f"SELECT count(*), count(requeued_at) FROM quarantined_events WHERE {where}")
        assert cursor.fetchall() == [(2, 2)]

    run_job(stack, "transform_clickstream", "--start-date", str(DATE))
    built = rows(catalog, "events", NEARBY)
    after = {row["event_id"]: row for row in built}
    assert len(built) == len(after) == len(before) + 1
    assert after.keys() - before.keys() == {new_id}
    assert after[new_id]["price"] == 5
    unchanged = ("user_id", "event_time", "price", "session_key")
    assert [after[clean["event_id"]][name] for name in unchanged] == [clean[name] for name in unchanged]


@pytest.mark.usefixtures("one_date")
def test_maintenance_leaves_rows_and_the_position_of_landing_as_they_are(stack: RunningStack, catalog: Catalog) -> None:
    tables = ("raw_events", "events", "sessions", "user_features", "user_segments", "pipeline_runs")
    before = {table: sorted(map(str, rows(catalog, table))) for table in tables}
    run_dag(stack, "maintain_tables", {})
    assert {table: sorted(map(str, rows(catalog, table))) for table in tables} == before
    assert json.loads(run_job(stack, "land_raw_events").splitlines()[-1])["landed"] == 0


@pytest.mark.usefixtures("one_date")
def test_a_model_of_other_settings_waits_for_a_person(stack: RunningStack, catalog: Catalog) -> None:
    """The one that the daily run has trained under needs_approval takes over only where there was none before it."""
    arguments = ("--start-date", str(DATE), "--num-clusters", "5", "--needs-approval")
    run_job(stack, "user_segmentation_ml", *arguments)
    earlier = rows(catalog, "model_runs", f"trained_on < '{DATE}'")
    of_the_run, asked = sorted(rows(catalog, "model_runs", f"trained_on = '{DATE}'"), key=lambda row: int(row["k"]))
    assert (asked["k"], asked["decision"], asked["champion_from"]) == (5, "waiting", None)
    decided = (of_the_run["decision"], of_the_run["champion_from"])
    assert decided in ([("kept", None), ("waiting", None)] if earlier else [("champion", DATE)])
    champions = [row for row in (*earlier, of_the_run) if row["champion_from"]]
    champion = max(champions, key=lambda row: (row["champion_from"], row["trained_on"], row["model_id"]))
    scored = {row["model_id"] for row in rows(catalog, "user_segments", f"snapshot_date = '{DATE}'")}
    assert scored == {champion["model_id"]}


@pytest.mark.usefixtures("one_date")
def test_a_user_forgotten_by_the_dag_is_in_no_file_and_no_rerun_brings_them_back(
    stack: RunningStack, catalog: Catalog
) -> None:
    """Whoever was most active on the date, of those whom the lake knows from no other one."""
    records, events = rows(catalog, "raw_events"), rows(catalog, "events")
    nearby = [row["user_id"] for row in events if FIRST <= row["event_date"] <= LAST]
    elsewhere = {row["user_id"] for row in events if not FIRST <= row["event_date"] <= LAST}
    ((user, _),) = Counter(one for one in nearby if one not in elsewhere).most_common(1)
    theirs = [row for row in records if row["event"] and row["event"]["user_id"] == user]
    with athena_cursor(stack) as cursor:
        cursor.execute("SELECT DISTINCT user_id FROM sessions")
    assert holding(stack, user) == {"warehouse", "truth", "athena"}

    run_dag(stack, "forget_user", {"user_id": user})
    assert holding(stack, user) == set()

    publish(stack, user, [row["payload"] for row in theirs])
    stack.run("make", "backfill", f"FROM={DATE}", f"TO={DATE}", f"EVENTS={EVENTS}", timeout=2400)
    assert holding(stack, user) == set()

    left = rows(catalog, "raw_events")
    forgotten = [row for row in left if row["error_type"] == "forgotten_user"]
    assert len(left) == len(records) + len(theirs)
    assert len(forgotten) >= 2 * len(theirs)
    assert all(row["key"] is row["payload"] is row["event"] is None for row in forgotten)
    assert len(rows(catalog, "events")) == len(events) - sum(row["user_id"] == user for row in events)
    (run,) = [row for row in rows(catalog, "pipeline_runs") if row["event_date"] == DATE]
    assert run["landed"] == run["clean"] + run["quarantined"] + run["duplicates"]
    assert run["users"] == len({row["user_id"] for row in events if row["event_date"] == DATE}) - 1
    segmented = [row for row in rows(catalog, "user_segments") if row["snapshot_date"] == DATE]
    profiled = sum(row["users"] for row in rows(catalog, "segment_profiles") if row["snapshot_date"] == DATE)
    assert profiled == len(segmented) == run["segmented_users"]


@pytest.mark.usefixtures("one_date")
def test_the_daily_run_asks_about_the_waiting_model_and_who_approves_is_obeyed(
    stack: RunningStack, catalog: Catalog
) -> None:
    """The run is that of the backfill in the test before."""
    (waiting,) = rows(catalog, "model_runs", f"trained_on = '{DATE}' AND decision = 'waiting' AND k = 5")
    api, path = AirflowApi(stack.layout), f"/dags/approve_model/dagRuns/{waiting['model_id']}"
    asked = f"{path}/taskInstances/ask"
    wait_until(lambda: api.request("GET", asked)["state"] == "awaiting_input", seconds=600)
    api.request("PATCH", f"{asked}/-1/hitlDetails", json={"chosen_options": ["Approve"], "params_input": {}})
    wait_until(lambda: api.request("GET", path)["state"] in FINISHED, seconds=1200)
    assert api.request("GET", path)["state"] == "success"
    (approved,) = [row for row in rows(catalog, "model_runs") if row["model_id"] == waiting["model_id"]]
    assert (approved["decision"], approved["decision_reason"]) == ("champion", "approved by a person")
    assert approved["champion_from"] == DATE + dt.timedelta(days=1)
