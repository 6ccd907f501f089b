"""Each of the DAG's checks by Athena on a date with one row that breaks it: the real operators, the real engine."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from tests.running_stack import RunningStack

DATABASE = "column_checks"
GOOD, EMPTY, FIRST_BAD = dt.date(2025, 4, 1), dt.date(2025, 4, 2), dt.date(2025, 4, 3)
SCHEMAS = {
    "raw_events": pa.schema([("error_type", pa.string()), ("event_date", pa.date32())]),
    "events": pa.schema(
        [
            ("event_id", pa.string()),
            ("user_id", pa.string()),
            ("event_time", pa.timestamp("us", tz="UTC")),
            ("event_type", pa.string()),
            ("session_key", pa.string()),
            ("session_start", pa.timestamp("us", tz="UTC")),
            ("price", pa.float64()),
            ("quantity", pa.int32()),
            ("milliseconds_since_previous", pa.int64()),
            ("event_date", pa.date32()),
        ]
    ),
    "sessions": pa.schema(
        [
            ("session_start", pa.timestamp("us", tz="UTC")),
            ("session_end", pa.timestamp("us", tz="UTC")),
            ("events", pa.int64()),
            ("session_date", pa.date32()),
        ]
    ),
    "user_features": pa.schema(
        [
            ("user_id", pa.string()),
            ("days_since_last_event", pa.int32()),
            ("purchase_rate_30d", pa.float64()),
            ("cart_abandonment_rate_30d", pa.float64()),
            ("mobile_share_30d", pa.float64()),
            ("snapshot_date", pa.date32()),
        ]
    ),
}
COLUMNS, ROWS = "columns", "rows"
SHARES = ("purchase_rate_30d", "cart_abandonment_rate_30d", "mobile_share_30d")
HOUR = dt.timedelta(hours=1)
# Table, what is wrong with one of its rows, the kind of the task that says so, and what it names.
BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("events", {"event_id": "good"}, COLUMNS, "event_id: unique_check"),
    *[("events", {name: None}, COLUMNS, f"{name}: null_check") for name in ("event_id", "user_id", "session_key")],
    ("events", {"event_time": None}, COLUMNS, "event_time: null_check"),
    ("events", {"price": -0.01}, COLUMNS, "price: min"),
    ("events", {"quantity": -1}, COLUMNS, "quantity: min"),
    ("events", {"milliseconds_since_previous": -1}, COLUMNS, "milliseconds_since_previous: min"),
    ("events", {"event_type": "buy"}, ROWS, "accepted_event_types"),
    ("events", {"event_type": None}, ROWS, "accepted_event_types"),
    ("events", {"event_time": 24 * HOUR}, ROWS, "events_lie_on_their_date"),
    ("events", {"session_start": 23 * HOUR}, ROWS, "sessions_begin_before_their_events"),
    ("sessions", {"session_end": 11 * HOUR}, ROWS, "sessions_end_after_their_begin"),
    ("sessions", {"events": 0}, ROWS, "sessions_have_events"),
    ("user_features", {"user_id": "good"}, COLUMNS, "user_id: unique_check"),
    ("user_features", {"user_id": None}, COLUMNS, "user_id: null_check"),
    ("user_features", {"days_since_last_event": None}, COLUMNS, "days_since_last_event: null_check"),
    ("user_features", {"days_since_last_event": -1}, COLUMNS, "days_since_last_event: min"),
    ("user_features", {"days_since_last_event": 31}, COLUMNS, "days_since_last_event: max"),
    *[("user_features", {name: -0.1}, COLUMNS, f"{name}: min") for name in SHARES],
    *[("user_features", {name: 1.1}, COLUMNS, f"{name}: max") for name in SHARES],
    *[("user_features", {name: None}, COLUMNS, f"{name}: null_check") for name in SHARES],
]
BAD_DATES = [FIRST_BAD + n * dt.timedelta(days=1) for n in range(len(BROKEN))]
MANY_QUARANTINED, SILENT = (BAD_DATES[-1] + n * dt.timedelta(days=1) for n in (1, 2))

# Runs tasks by id on dates; prints, for each, what it failed or skipped with, null where it passed.
RUN_CHECKS = """
import dataclasses, datetime as dt, json, sys
import config
from airflow.sdk.exceptions import AirflowException
from airflow_dags.column_checks import build_column_checks

class TaskInstance:
    def xcom_push(self, key, value):
        pass

settings = config.load()
paths = dataclasses.replace(settings.paths, database=sys.argv[1])
results = []
for task_id, date in json.loads(sys.argv[2]):
    task = {task.task_id: task for task in build_column_checks(paths, settings.pipeline.checks)}[task_id]
    context = {"data_interval_start": dt.datetime.fromisoformat(date), "ti": TaskInstance()}
    task.render_template_fields(context)
    try:
        task.execute(context)
        results.append(None)
    except AirflowException as error:
        results.append(f"{type(error).__name__}: {error}")
print(json.dumps(results))
"""


LIST_CHECKS = """
import json
import config
from airflow_dags.column_checks import build_column_checks

settings = config.load()
names = []
for task in build_column_checks(settings.paths, settings.pipeline.checks):
    if hasattr(task, "column_mapping"):
        for column, checks in task.column_mapping.items():
            names += [(task.task_id, f"{column}: {check}") for check in checks]
    elif task.task_id.startswith("fail_"):
        names += [(task.task_id, check) for check in task.checks]
print(json.dumps(names))
"""


def good_row(table: str, date: dt.date) -> dict[str, Any]:
    noon = dt.datetime.combine(date, dt.time(12), tzinfo=dt.UTC)
    rows: dict[str, dict[str, Any]] = {
        "raw_events": {"error_type": None, "event_date": date},
        "events": {
            "event_id": "good",
            "user_id": "u",
            "event_time": noon + 10 * HOUR,
            "event_type": "view",
            "session_key": "u-1",
            "session_start": noon,
            "price": 0.0,
            "quantity": 0,
            "milliseconds_since_previous": 0,
            "event_date": date,
        },
        "sessions": {"session_start": noon, "session_end": noon, "events": 1, "session_date": date},
        "user_features": {
            "user_id": "good",
            "days_since_last_event": 30,
            "purchase_rate_30d": 0.0,
            "cart_abandonment_rate_30d": 1.0,
            "mobile_share_30d": 0.5,
            "snapshot_date": date,
        },
    }
    return rows[table]


def bad_row(table: str, date: dt.date, wrong: dict[str, Any]) -> dict[str, Any]:
    """A good row of its own but for `wrong`; a timedelta is a time after midnight."""
    midnight = dt.datetime.combine(date, dt.time(), tzinfo=dt.UTC)
    own = {name: "another" for name in ("event_id", "user_id") if name in SCHEMAS[table].names}
    values = {name: midnight + value if isinstance(value, dt.timedelta) else value for name, value in wrong.items()}
    return good_row(table, date) | own | values


@pytest.fixture(scope="module")
def lake(stack: RunningStack) -> RunningStack:
    """The four tables, with a row that breaks one check on each date but the first two."""
    rows: dict[str, list[dict[str, Any]]] = {
        table: [good_row(table, date) for date in (GOOD, *BAD_DATES, MANY_QUARANTINED)] for table in SCHEMAS
    }
    for date, (table, wrong, _, _) in zip(BAD_DATES, BROKEN, strict=True):
        rows[table].append(bad_row(table, date, wrong))
    rows["raw_events"] += [bad_row("raw_events", MANY_QUARANTINED, {"error_type": "not_json"})] * 9
    rows["events"].append(bad_row("events", SILENT, {"event_time": HOUR, "session_start": HOUR}))
    catalog = stack.open_lake()
    catalog.create_namespace_if_not_exists(DATABASE)
    names = vars(stack.settings.paths.tables)
    for table, schema in SCHEMAS.items():
        made = catalog.create_table((DATABASE, names[table]), schema=schema)
        with made.update_spec() as spec:
            spec.add_identity(schema.names[-1])
        made.append(pa.Table.from_pylist(rows[table], schema))
    return stack


def run_checks(lake: RunningStack, checks: list[tuple[str, dt.date]]) -> list[str | None]:
    asked = json.dumps([(task, str(date)) for task, date in checks])
    printed = lake.run("python", "-c", RUN_CHECKS, DATABASE, asked, timeout=600).stdout
    found: list[str | None] = json.loads(printed.splitlines()[-1])
    return found


def test_every_check_fails_by_the_row_that_breaks_it(lake: RunningStack) -> None:
    dated = zip(BAD_DATES, BROKEN, strict=True)
    said = run_checks(lake, [(f"fail_{table}_{kind}", date) for date, (table, _, kind, _) in dated])
    for text, (table, wrong, _, named) in zip(said, BROKEN, strict=True):
        case = f"{table} {wrong}: {text}"
        assert text is not None, case
        failed = text.partition("The following tests have failed:")[2]
        column, _, check = named.rpartition(": ")
        assert check in failed, case
        assert column in failed, case
        assert failed.count("Check: ") == 1, case


def test_no_check_is_without_a_row_that_breaks_it(lake: RunningStack) -> None:
    known: list[list[str]] = json.loads(lake.run("python", "-c", LIST_CHECKS).stdout.splitlines()[-1])
    broken = {(f"fail_{table}_{kind}", named) for table, _, kind, named in BROKEN}
    assert {(task, named) for task, named in known} == broken


def test_a_good_date_and_one_without_any_row_pass(lake: RunningStack) -> None:
    tasks = ("fail_events_columns", "fail_events_rows", "fail_sessions_rows", "fail_user_features_columns")
    warnings = ("warn_raw_events", "warn_events")
    checks = [(task, GOOD) for task in tasks + warnings] + [(task, EMPTY) for task in tasks]
    said = dict(zip(checks, run_checks(lake, checks), strict=True))
    assert said == dict.fromkeys(checks)


def test_many_quarantined_records_and_an_evening_without_events_are_warnings(lake: RunningStack) -> None:
    many, silent, empty = run_checks(
        lake, [("warn_raw_events", MANY_QUARANTINED), ("warn_events", SILENT), ("warn_events", EMPTY)]
    )
    assert many is not None
    assert many.startswith("AirflowSkipException: warning: ")
    assert "few_are_quarantined" in many
    for text in (silent, empty):
        assert text is not None
        assert text.startswith("AirflowSkipException: warning: ")
        assert "date_is_fresh" in text
