"""The whole road through real Airflow, Kafka, S3, Glue, Spark and Iceberg, judged by outside clients.

The tests build on each other's dates, in the order in which they stand: two generated dates, a rerun, a date after both
storage services were killed, a real file.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections import Counter
from typing import Any

import boto3
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from pyiceberg.catalog import Catalog

from data_generator.truth import read_manifest
from infra.local.airflow_runs import DAG_ID, AirflowApi
from infra.local.athena.named_queries import read_named_queries
from spark_jobs.lake.tables import FAILED_RUNS, FORGOTTEN_USERS, TABLES
from tests.real_data import DATA_DIR
from tests.running_stack import RunningStack, athena_cursor, wait_until

EVENTS_PER_DATE = 6_000
DATES = [dt.date(2025, 4, day) for day in (1, 2)]
AFTER_KILL = dt.date(2025, 4, 3)
REPLAYED = dt.date(2019, 10, 1)
RUN_SECONDS = 2400
BUILT = [table.name for table in TABLES if table.name not in ("raw_events", "model_runs", "pipeline_runs")]


@pytest.fixture(scope="module")
def catalog(stack: RunningStack) -> Catalog:
    return stack.open_lake()


@pytest.fixture(scope="module")
def both_dates(stack: RunningStack) -> str:
    """What `make run` prints after it ran the DAG over the dates."""
    dates = ("--from-date", str(DATES[0]), "--to-date", str(DATES[-1]))
    command = ("python", "-m", "infra.local.run_pipeline", "--events", str(EVENTS_PER_DATE), *dates)
    return stack.run(*command, timeout=RUN_SECONDS).stdout


def rows(catalog: Catalog, stack: RunningStack, table: str, row_filter: str = "true") -> list[dict[str, Any]]:
    database = stack.settings.paths.database
    found: list[dict[str, Any]] = (
        catalog.load_table((database, table)).scan(row_filter=row_filter).to_arrow().to_pylist()
    )
    return found


def contents(catalog: Catalog, stack: RunningStack) -> dict[str, list[str]]:
    """Every row of every built table, as text, sorted."""
    return {table: sorted(map(str, rows(catalog, stack, table))) for table in BUILT}


def truth_table(stack: RunningStack, date: dt.date, name: str) -> list[dict[str, Any]]:
    bucket, _, prefix = stack.settings.paths.truth.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", endpoint_url=stack.settings.environment.aws.endpoint_url)
    body = s3.get_object(Bucket=bucket, Key=f"{prefix}/date={date}/{name}.parquet")["Body"].read()
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
    return found


def test_every_produced_record_of_both_dates_is_accounted_for(
    stack: RunningStack, catalog: Catalog, both_dates: str
) -> None:
    manifests = [read_manifest(stack.settings, date) for date in DATES]
    by_date: Counter[str] = Counter()
    for manifest in manifests:
        assert manifest is not None
        by_date.update(manifest.by_event_date)
    runs = {row["event_date"]: row for row in rows(catalog, stack, "pipeline_runs", "event_date >= '2025-04-01'")}
    assert sorted(runs) == DATES
    for date, manifest in zip(DATES, manifests, strict=True):
        assert manifest is not None
        run = runs[date]
        assert run["landed"] == len(rows(catalog, stack, "raw_events", f"event_date = '{date}'"))
        assert run["landed"] == run["clean"] + run["quarantined"] + run["duplicates"]
        assert run["quarantined"] == manifest.by_kind["malformed"] > 0
        assert run["clean"] == len(rows(catalog, stack, "events", f"event_date = '{date}'"))
        assert run["too_late"] == 0
        assert f"{run['landed']:,}" in both_dates
        assert f"{run['clean']:,}" in both_dates
    # Dates are final once the next one has brought their late events.
    landed = Counter(str(row["event_date"]) for row in rows(catalog, stack, "raw_events", "event_date >= '2025-03-31'"))
    assert {day: landed[day] for day in by_date} == by_date
    built = {row["event_id"] for row in rows(catalog, stack, "events")}
    # Sessions that go on after the last midnight wait for the next date's run.
    after_midnight = f"event_date > '{DATES[-1]}' AND error_type IS NULL"
    waiting = {row["event"]["event_id"] for row in rows(catalog, stack, "raw_events", after_midnight)}
    assert waiting
    assert not waiting & built
    published = sum(m.by_kind["clean"] + m.by_kind["late"] for m in manifests if m)
    assert len(built) + len(waiting) == published == len(DATES) * EVENTS_PER_DATE


def test_derived_sessions_are_the_true_ones(stack: RunningStack, catalog: Catalog, both_dates: str) -> None:
    assert both_dates
    true = truth_table(stack, DATES[0], "sessions")
    found = {
        (row["user_id"], row["session_start"], row["session_end"], row["events"])
        for row in rows(catalog, stack, "sessions", f"session_date = '{DATES[0]}'")
    }
    expected = {
        (row["user_id"], row["first_event_time"], row["last_event_time"], row["event_count"])
        for row in true
        if row["first_event_time"].date() == DATES[0] and not row["is_late"]
    }
    assert len(found & expected) / len(expected) > 0.97  # late sessions may touch others; nothing else may


def test_every_active_user_has_a_segment_and_it_is_explained(
    stack: RunningStack, catalog: Catalog, both_dates: str
) -> None:
    for date in DATES:
        segments = rows(catalog, stack, "user_segments", f"snapshot_date = '{date}'")
        profiles = rows(catalog, stack, "segment_profiles", f"snapshot_date = '{date}'")
        active = {row["user_id"] for row in rows(catalog, stack, "events", f"event_date = '{date}'")}
        assert active <= {row["user_id"] for row in segments}
        assert len({row["user_id"] for row in segments}) == len(segments)
        sizes = Counter(row["segment_id"] for row in segments)
        assert {row["segment_id"]: row["users"] for row in profiles} == sizes
        assert 3 <= len(sizes) <= max(stack.settings.pipeline.segmentation.choice.candidates) + 1
        for profile in profiles:
            assert profile["segment_name"] in both_dates
    models = {row["model_id"]: row for row in rows(catalog, stack, "model_runs")}
    first, *later = sorted(models.values(), key=lambda row: row["trained_on"])
    assert (first["trained_on"], first["training_reason"], first["champion_from"]) == (DATES[0], "first", DATES[0])
    assert all(row["compared_with"] in models and "of silhouette against" in row["decision_reason"] for row in later)
    for date in DATES:
        champion = max((row for row in models.values() if row["champion_from"] and row["champion_from"] <= date),
                       key=lambda row: row["champion_from"])  # fmt: skip
        scored_by = {row["model_id"] for row in rows(catalog, stack, "user_segments", f"snapshot_date = '{date}'")}
        assert scored_by == {champion["model_id"]}


def test_tables_are_those_of_the_design_in_parquet_partitioned_by_date(
    stack: RunningStack, catalog: Catalog, both_dates: str
) -> None:
    assert both_dates
    database = stack.settings.paths.database
    glue = boto3.client("glue", endpoint_url=stack.settings.environment.aws.endpoint_url)
    in_glue = {table["Name"] for table in glue.get_tables(DatabaseName=database)["TableList"]}
    assert in_glue >= {table.name for table in TABLES}
    for definition in TABLES:
        table = catalog.load_table((database, definition.name))
        assert table.properties["comment"] == definition.comment
        assert [field.name for field in table.schema().fields] == definition.column_names
        assert all(field.doc for field in table.schema().fields)
        files = table.inspect.files().to_pylist()
        assert bool(files) == (definition not in (FAILED_RUNS, FORGOTTEN_USERS)), definition.name  # none, nobody
        for file in files:
            assert file["file_format"] == "PARQUET"
            if definition.partition:
                assert f"/{definition.partition}=20" in file["file_path"]


@pytest.mark.usefixtures("both_dates")
def test_the_pipeline_leaves_views_that_athena_answers_from(stack: RunningStack, catalog: Catalog) -> None:
    newest = rows(catalog, stack, "user_segments", f"snapshot_date = '{DATES[-1]}'")
    bad = Counter(
        row["error_type"]
        for row in rows(catalog, stack, "raw_events", "error_type is not null and event_date >= '2025-04-01'")
    )
    with athena_cursor(stack) as cursor:
        current = cursor.execute("SELECT user_id, segment_id, snapshot_date FROM segments_current").fetchall()
        reasons = cursor.execute(
            "SELECT error_type, count(*) FROM quarantined_events WHERE event_date >= DATE '2025-04-01' GROUP BY 1"
        ).fetchall()
    assert sorted(current) == sorted((row["user_id"], row["segment_id"], row["snapshot_date"]) for row in newest)
    assert dict(reasons) == bad


@pytest.mark.usefixtures("both_dates")
def test_every_named_query_answers_about_the_newest_date(stack: RunningStack, catalog: Catalog) -> None:
    queries = read_named_queries(stack.settings)
    listed = stack.run("python", "-m", "infra.local.athena.query_command").stdout
    answers = {}
    with athena_cursor(stack) as cursor:
        for name, query in queries.items():
            assert name in listed
            answers[name] = cursor.execute(query.sql).fetchall()
    sizes = Counter(
        row["segment_id"] for row in rows(catalog, stack, "user_segments", f"snapshot_date = '{DATES[-1]}'")
    )
    sessions = rows(catalog, stack, "sessions", f"session_date = '{DATES[-1]}'")
    steps = [sum(row[step] > 0 for row in sessions) for step in ("views", "carts", "checkouts", "purchases")]
    runs = rows(catalog, stack, "pipeline_runs")
    moved = [
        row for row in rows(catalog, stack, "segment_transitions", f"snapshot_date = '{DATES[-1]}'")
        if row["from_segment_id"] != row["to_segment_id"]
    ]  # fmt: skip
    assert {row[0]: row[2] for row in answers["segments_today"]} == sizes
    assert answers["funnel_of_a_day"] == [(DATES[-1], len(sessions), *steps)]
    assert [row[:3] for row in answers["runs"]] == sorted((r["event_date"], r["produced"], r["landed"]) for r in runs)
    assert sum(row[2] for row in answers["segment_moves"]) == sum(row["users"] for row in moved)
    assert 0 < len(answers["who_moved"]) <= 100
    assert {row[0] for row in answers["quarantine_by_reason"]} >= set(DATES)
    printed = stack.run("python", "-m", "infra.local.athena.query_command", "--name", "segments_today").stdout
    assert all(f"{users}" in printed for users in sizes.values())
    assert "bytes scanned" in printed


def test_a_rerun_of_a_date_changes_no_row(stack: RunningStack, catalog: Catalog, both_dates: str) -> None:
    assert both_dates
    before, landed = contents(catalog, stack), len(rows(catalog, stack, "raw_events"))
    day = str(DATES[1])
    command = ("python", "-m", "infra.local.run_pipeline", "--events", str(EVENTS_PER_DATE))
    stack.run(*command, "--from-date", day, "--to-date", day, timeout=RUN_SECONDS)
    assert len(rows(catalog, stack, "raw_events")) == landed
    assert contents(catalog, stack) == before


def test_after_kill_9_of_kafka_and_s3_a_backfill_goes_on_where_it_was(
    stack: RunningStack, catalog: Catalog, both_dates: str
) -> None:
    assert both_dates
    before = contents(catalog, stack)
    stack.kill("kafka")
    stack.kill("aws")
    assert stack.command("up").returncode == 0
    assert contents(catalog, stack) == before
    conf = json.dumps({"event_source": "generator", "events": EVENTS_PER_DATE})
    dates = ("--from-date", str(AFTER_KILL), "--to-date", str(AFTER_KILL))
    stack.run("airflow", "backfill", "create", "--dag-id", DAG_ID, *dates, "--dag-run-conf", conf)
    api = AirflowApi(stack.layout)
    wait_until(lambda: [run.state for run in api.backfill_runs(AFTER_KILL, AFTER_KILL)] == ["success"], seconds=1200)
    run = rows(catalog, stack, "pipeline_runs", f"event_date = '{AFTER_KILL}'")[0]
    manifest = read_manifest(stack.settings, AFTER_KILL)
    assert manifest is not None
    assert run["landed"] == manifest.by_event_date[str(AFTER_KILL)] + _from_the_day_before(stack)
    assert run["landed"] == run["clean"] + run["quarantined"] + run["duplicates"]
    offsets = [(row["partition"], row["offset"]) for row in rows(catalog, stack, "raw_events")]
    assert len(set(offsets)) == len(offsets)


def _from_the_day_before(stack: RunningStack) -> int:
    """Records of sessions that ran over midnight into the date."""
    manifest = read_manifest(stack.settings, DATES[-1])
    assert manifest is not None
    return manifest.by_event_date.get(str(AFTER_KILL), 0)


def test_a_real_file_goes_through_kafka_and_the_dag(stack: RunningStack, catalog: Catalog) -> None:
    file = DATA_DIR / "rees46_oct2019" / "2019-Oct_head_17434.csv"
    printed = stack.run("python", "-m", "infra.local.replay_file", str(file), timeout=RUN_SECONDS).stdout
    run = rows(catalog, stack, "pipeline_runs", f"event_date = '{REPLAYED}'")[0]
    counts = ("produced", "landed", "quarantined", "duplicates", "clean", "users")
    assert [run[name] for name in counts] == [17_434, 17_434, 0, 5, 17_429, 4_504]
    assert "17,429" in printed
    with file.open(newline="", encoding="utf-8") as lines:
        distinct = {tuple(row.items()) for row in csv.DictReader(lines)}
    expected = Counter(dict(row)["event_type"] for row in distinct)
    clean = rows(catalog, stack, "events", f"event_date = '{REPLAYED}'")
    assert Counter(row["event_type"] for row in clean) == expected
    assert (expected["view"], expected["cart"], expected["purchase"]) == (17_051, 164, 214)
    revenue = sum(row["price"] for row in clean if row["event_type"] == "purchase")
    assert float(revenue) == pytest.approx(59_442.63)
