"""Athena's API as its clients use it, in front of the real Trino of the stack."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import boto3
import pyathena
import pytest
import requests
import sqlalchemy
from botocore.exceptions import ClientError
from pyathena.arrow.cursor import ArrowCursor
from pyathena.cursor import DictCursor
from pyathena.pandas.cursor import PandasCursor
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import IdentityTransform

from tests.integration.test_stack import catalog
from tests.running_stack import RunningStack, wait_until

__all__ = ["catalog"]

pa: Any = import_module("pyarrow")
arrow_fs: Any = import_module("pyarrow.fs")
wr: Any = import_module("awswrangler")

TABLE = "athena_test"
DAYS = (dt.date(2025, 4, 1), dt.date(2025, 4, 2))
ROWS_PER_DAY = 3000
ENDLESS = (
    "select count(*) from unnest(sequence(1, 10000)) a(x) cross join unnest(sequence(1, 10000)) b(y) "
    "cross join unnest(sequence(1, 10000)) c(z) where x * y * z % 7 = 3"
)
TIMEOUT_SECONDS = 150


@pytest.fixture(scope="module", autouse=True)
def aws_variables(stack: RunningStack) -> Iterator[None]:
    """What `make env` exports for AWS, for clients that live in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            if name.startswith("AWS_") or name.lower() == "no_proxy":
                patch.setenv(name, value)
        yield


@pytest.fixture
def athena() -> Any:
    return boto3.client("athena")


@pytest.fixture
def database(stack: RunningStack) -> str:
    return stack.settings.paths.database


@pytest.fixture
def output(stack: RunningStack) -> str:
    return f"s3://{stack.settings.environment.aws.bucket}/athena-test/"


@pytest.fixture
def events(catalog: Catalog, database: str) -> Iterator[str]:
    """An Iceberg table of two days, written by PyIceberg."""
    rows = pa.table(
        {
            "id": pa.array(range(len(DAYS) * ROWS_PER_DAY), pa.int64()),
            "name": pa.array([f"name {number}" for number in range(len(DAYS) * ROWS_PER_DAY)]),
            "price": pa.array([number / 4 for number in range(len(DAYS) * ROWS_PER_DAY)]),
            "event_date": pa.array([day for day in DAYS for _ in range(ROWS_PER_DAY)], pa.date32()),
        }
    )
    name = f"{database}.{TABLE}"
    table = catalog.create_table(name, schema=rows.schema)
    with table.update_spec() as update:
        update.add_field("event_date", IdentityTransform(), "event_date")
    table.append(rows)
    yield TABLE
    catalog.drop_table(name)


def run(athena: Any, sql: str, database: str, **request: Any) -> dict[str, Any]:
    """The QueryExecution in its final state."""
    return wait(athena, start(athena, sql, database, **request))


def start(athena: Any, sql: str, database: str, **request: Any) -> str:
    context = {"Database": database}
    started = athena.start_query_execution(QueryString=sql, QueryExecutionContext=context, **request)
    return str(started["QueryExecutionId"])


def wait(athena: Any, query_id: str, states: tuple[str, ...] = ("SUCCEEDED", "FAILED", "CANCELLED")) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        execution: dict[str, Any] = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        if execution["Status"]["State"] in states:
            return execution
        time.sleep(0.1)
    raise AssertionError(f"query {query_id} does not become {states}: {execution['Status']}")


def rows_of(athena: Any, execution: dict[str, Any]) -> list[list[str | None]]:
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    results = athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    return [[datum.get("VarCharValue") for datum in row["Data"]] for row in results["ResultSet"]["Rows"]]


def statements_in_trino(stack: RunningStack) -> list[str]:
    """Those that Trino works on."""
    url = f"http://{stack.layout.stack.bind_host}:{stack.layout.stack.ports.trino}/v1/query"
    found = requests.get(url, headers={"X-Trino-User": "test"}, timeout=10, proxies={"http": ""}).json()
    return [query["query"] for query in found if query["state"] not in ("FINISHED", "FAILED")]


def test_rows_have_athena_types_and_a_header(athena: Any, events: str, database: str) -> None:
    execution = run(athena, f"select id, name, price, event_date from {events} where id = 5", database)
    results = athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])

    assert rows_of(athena, execution) == [
        ["id", "name", "price", "event_date"],
        ["5", "name 5", "1.25", "2025-04-01"],
    ]
    kinds = [column["Type"] for column in results["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]]
    assert kinds == ["bigint", "varchar", "double", "date"]


def test_filter_on_the_partition_scans_less(athena: Any, events: str, database: str) -> None:
    whole = run(athena, f"select sum(price) from {events}", database)
    one = run(athena, f"select sum(price) from {events} where event_date = date '2025-04-01'", database)

    assert rows_of(athena, one)[1] == [str(sum(number / 4 for number in range(ROWS_PER_DAY)))]
    assert 0 < one["Statistics"]["DataScannedInBytes"] < whole["Statistics"]["DataScannedInBytes"]


@pytest.mark.parametrize("options", [{"ctas_approach": True}, {"ctas_approach": False}, {"unload_approach": True}])
def test_awswrangler_reads_a_query(events: str, database: str, output: str, options: dict[str, Any]) -> None:
    # UNLOAD wants a place of its own.
    place = f"{output}unloaded/" if "unload_approach" in options else output
    approach = {"ctas_approach": False, **options, "s3_output": place}
    frame = wr.athena.read_sql_query(f"select * from {events} order by id", database=database, **approach)

    assert frame.shape == (len(DAYS) * ROWS_PER_DAY, 4)
    assert frame.sort_values("id").iloc[5].tolist() == [5, "name 5", 1.25, DAYS[0]]


@pytest.mark.parametrize("ctas_approach", [True, False])
def test_awswrangler_reads_in_chunks(events: str, database: str, output: str, ctas_approach: bool) -> None:
    chunks = list(
        wr.athena.read_sql_query(
            f"select id from {events}",
            database=database,
            chunksize=2000,
            ctas_approach=ctas_approach,
            s3_output=output,
        )
    )
    assert [len(chunk) for chunk in chunks] == [2000, 2000, 2000]


def test_pyathena_cursors_agree(stack: RunningStack, events: str, database: str, output: str) -> None:
    connection = pyathena.connect(s3_staging_dir=output, schema_name=database, poll_interval=0.1)
    sql = f"select id, name, event_date from {events} where id < 3 order by id"

    tuples = connection.cursor().execute(sql).fetchall()
    dicts = connection.cursor(DictCursor).execute(sql).fetchall()
    frame: Any = connection.cursor(PandasCursor).execute(sql).as_pandas()
    with pytest.MonkeyPatch.context() as patch:  # pyarrow takes its endpoint from no variable, PyAthena passes none
        endpoint = stack.environment["AWS_ENDPOINT_URL"]
        patch.setattr(arrow_fs, "S3FileSystem", partial(arrow_fs.S3FileSystem, endpoint_override=endpoint))
        table = connection.cursor(ArrowCursor).execute(sql).as_arrow()
    assert tuples == [(0, "name 0", DAYS[0]), (1, "name 1", DAYS[0]), (2, "name 2", DAYS[0])]
    assert dicts[2] == {"id": 2, "name": "name 2", "event_date": DAYS[0]}
    assert frame["name"].tolist() == ["name 0", "name 1", "name 2"]
    assert table.column("id").to_pylist() == [0, 1, 2]


def test_sqlalchemy_reflects_and_selects(events: str, database: str, output: str) -> None:
    url = f"awsathena+rest://@athena.us-east-1.amazonaws.com:443/{database}?s3_staging_dir={output}"
    engine = sqlalchemy.create_engine(url)
    table = sqlalchemy.Table(events, sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar()

    assert [column.name for column in table.columns] == ["id", "name", "price", "event_date"]
    assert found == len(DAYS) * ROWS_PER_DAY


CHECK_ROWS = """
import sys
from airflow.providers.common.sql.operators.sql import SQLColumnCheckOperator, SQLTableCheckOperator
table, rows = sys.argv[1], sys.argv[2]
shared = {"conn_id": "athena_default", "table": table}
SQLTableCheckOperator(
    task_id="rows", checks={"rows": {"check_statement": f"count(*) = {rows}"}}, **shared
).execute({})
SQLColumnCheckOperator(
    task_id="ids", column_mapping={"id": {"null_check": {"equal_to": 0}, "unique_check": {"equal_to": 0}}}, **shared
).execute({})
"""


def test_airflow_sql_checks_pass_and_fail_by_the_rows(stack: RunningStack, events: str) -> None:
    """With the connection `athena_default` of the stack."""
    stack.run("python", "-c", CHECK_ROWS, events, str(len(DAYS) * ROWS_PER_DAY))
    with pytest.raises(AssertionError, match="Test failed"):
        stack.run("python", "-c", CHECK_ROWS, events, "1")


def test_syntax_error_is_refused_at_the_start(athena: Any, database: str) -> None:
    with pytest.raises(ClientError, match="Exception parsing query") as refused:
        start(athena, "select x from", database)
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select * from nix", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{database}.nix' does not exist"),
        ("select nix from (values 1) t(a)", "COLUMN_NOT_FOUND: line 1:8: Column 'nix' cannot be resolved"),
        ("select cast(a as integer) from (values 'x') t(a)", "INVALID_CAST_ARGUMENT: Cannot cast 'x' to INT"),
    ],
)
def test_failed_query_says_why(athena: Any, database: str, sql: str, reason: str) -> None:
    status = run(athena, sql, database)["Status"]

    assert (status["State"], status["StateChangeReason"]) == ("FAILED", reason.format(database=database))
    assert status["AthenaError"]["ErrorCategory"] == 2


def test_view_is_read_back(athena: Any, events: str, database: str) -> None:
    created = run(athena, f"create or replace view athena_view as select id from {events}", database)

    assert created["Status"]["State"] == "SUCCEEDED", created["Status"]
    assert rows_of(athena, run(athena, "select min(id) from athena_view", database)) == [["_col0"], ["0"]]
    run(athena, "drop view athena_view", database)


@pytest.mark.parametrize("file_format", ["PARQUET", "ORC", "AVRO", "JSON", "TEXTFILE"])
def test_table_made_of_a_query_is_read_back(athena: Any, database: str, file_format: str) -> None:
    name = f"made_{file_format.lower()}"
    try:
        made = run(
            athena, f"CREATE TABLE {name} WITH (format='{file_format}') AS SELECT 1 AS id, 'a' AS name", database
        )
        assert made["Status"]["State"] == "SUCCEEDED", made["Status"]
        assert rows_of(athena, run(athena, f"SELECT * FROM {name}", database))[1:] == [["1", "a"]]
    finally:
        assert run(athena, f"DROP TABLE IF EXISTS {name}", database)["Status"]["State"] == "SUCCEEDED"


def test_iceberg_table_is_compacted_vacuumed_and_read_as_it_was(athena: Any, database: str, output: str) -> None:
    def done(sql: str) -> dict[str, Any]:
        execution = run(athena, sql, database)
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        return execution

    def value(sql: str) -> str | None:
        return rows_of(athena, done(sql))[1][0]

    done(
        f"CREATE TABLE tended (id bigint, day date) PARTITIONED BY (day) LOCATION '{output}tended' "
        "TBLPROPERTIES ('table_type'='ICEBERG', 'vacuum_max_snapshot_age_seconds'='1')"
    )
    try:
        done("INSERT INTO tended VALUES (1, DATE '2025-04-01')")
        first = value('SELECT max_by(snapshot_id, committed_at) FROM "tended$snapshots"')
        done("INSERT INTO tended VALUES (2, DATE '2025-04-01')")
        assert value('SELECT count(*) FROM "tended$files"') == "2"
        done("OPTIMIZE tended REWRITE DATA USING BIN_PACK")
        assert value('SELECT count(*) FROM "tended$files"') == "1"
        assert value(f"SELECT count(*) FROM tended FOR VERSION AS OF {first}") == "1"
        done("UPDATE tended SET id = 3 WHERE id = 2")
        assert value("SELECT sum(id) FROM tended") == "4"
        time.sleep(1.1)  # the age below which VACUUM keeps a snapshot
        done("VACUUM tended")
        assert value('SELECT count(*) FROM "tended$snapshots"') == "1"
        assert value("SELECT sum(id) FROM tended") == "4"
    finally:
        done("DROP TABLE tended")


def test_large_result_comes_in_pages(athena: Any, database: str) -> None:
    sql = "select a.x * 1000 + b.y n from unnest(sequence(0, 99)) a(x) cross join unnest(sequence(0, 999)) b(y)"
    execution = run(athena, sql, database)
    pages = athena.get_paginator("get_query_results").paginate(QueryExecutionId=execution["QueryExecutionId"])
    values = [row["Data"][0]["VarCharValue"] for page in pages for row in page["ResultSet"]["Rows"]]

    assert values[0] == "n"
    assert sorted(map(int, values[1:])) == list(range(100_000))


def test_stopped_query_ends_in_trino(athena: Any, stack: RunningStack, database: str) -> None:
    query_id = start(athena, ENDLESS, database)
    wait(athena, query_id, ("RUNNING",))
    athena.stop_query_execution(QueryExecutionId=query_id)

    assert wait(athena, query_id)["Status"]["State"] == "CANCELLED"
    wait_until(lambda: ENDLESS not in statements_in_trino(stack))


def test_query_over_the_cutoff_of_its_work_group_is_cancelled(athena: Any, database: str, output: str) -> None:
    location = f"{output}big/"
    numbers = "unnest(sequence(1, 1000)) a(x) cross join unnest(sequence(1, 2500)) b(y)"
    create = f"create table athena_big with (external_location = '{location}') as select random() r from {numbers}"
    configuration = {"ResultConfiguration": {"OutputLocation": output}, "BytesScannedCutoffPerQuery": 10_000_000}
    athena.create_work_group(Name="small", Configuration=configuration)
    try:
        assert run(athena, create, database)["Status"]["State"] == "SUCCEEDED"
        status = run(athena, "select sum(r) from athena_big", database, WorkGroup="small")["Status"]
    finally:
        athena.delete_work_group(WorkGroup="small", RecursiveDeleteOption=True)
        boto3.client("glue").delete_table(DatabaseName=database, Name="athena_big")

    assert (status["State"], status["StateChangeReason"]) == (
        "CANCELLED",
        "Query cancelled! : Bytes scanned limit was exceeded",
    )


def test_trino_killed_under_a_query_fails_it_and_nothing_else(athena: Any, stack: RunningStack, database: str) -> None:
    query_id = start(athena, ENDLESS, database)
    wait(athena, query_id, ("RUNNING",))
    stack.kill("trino")

    status = wait(athena, query_id)["Status"]
    assert status["State"] == "FAILED"
    assert "the query engine (Trino) did not answer" in status["StateChangeReason"]
    assert rows_of(athena, run(athena, "select 1", database)) == [["_col0"], ["1"]]


def test_state_survives_kill_of_the_endpoint(athena: Any, stack: RunningStack, database: str) -> None:
    done = run(athena, "select 'kept' a", database)
    running = start(athena, ENDLESS, database)
    wait(athena, running, ("RUNNING",))
    killed = stack.pids()["athena"]
    stack.kill("athena")
    wait_until(lambda: stack.pids().get("athena", killed) != killed and stack.is_ready("athena"))

    status = wait(athena, running)["Status"]
    assert status["State"] == "FAILED"
    assert "was stopped while this query ran" in status["StateChangeReason"]
    assert rows_of(athena, done) == [["a"], ["kept"]]
    wait_until(lambda: ENDLESS not in statements_in_trino(stack))
