"""INSERT's manifest, EXPLAIN's rows, prepared statements, OPTIMIZE and VACUUM."""

from __future__ import annotations

import pytest

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Column, Context, FailedStatementError, StatementError, Table, TrinoStep
from tests.unit.infra.athena.language.conftest import Run, TrinoStatements
from tests.unit.infra.athena.language.iceberg import create_iceberg_table


@pytest.mark.parametrize("name", ["users", '"db"."users"', '"awsdatacatalog".db.Users'])
def test_insert_into_a_hive_table_writes_below_its_location(context: Context, run: Run, name: str) -> None:
    run("CREATE EXTERNAL TABLE users (id int) LOCATION 's3://lake/users'")
    assert plan_statement(f"INSERT INTO {name} VALUES (1)", context).written_location == "s3://lake/users/"


@pytest.mark.parametrize(
    ("properties", "session"),
    [
        ("'parquet.compress'='snappy'", {"awsdatacatalog.compression_codec": "SNAPPY"}),
        ("'orc.compress'='ZLIB'", {"awsdatacatalog.compression_codec": "GZIP"}),
        ("'parquet.compress'='unheard of'", {}),
    ],
)
def test_insert_compresses_as_the_table_says(
    context: Context, run: Run, properties: str, session: dict[str, str]
) -> None:
    run(f"CREATE EXTERNAL TABLE users (id int) LOCATION 's3://lake/users' TBLPROPERTIES ({properties})")
    sql = "INSERT INTO users VALUES (1)"
    assert plan_statement(sql, context).steps == (TrinoStep(sql, session=session),)


@pytest.mark.parametrize("name", ["events", "nobody", "other.catalog.t"])
def test_insert_elsewhere_has_no_manifest(context: Context, name: str) -> None:
    create_iceberg_table(context)
    assert plan_statement(f"INSERT INTO {name} VALUES (1)", context).written_location is None


def test_explanation_is_split_at_its_lines(context: Context) -> None:
    rewrite = plan_statement("EXPLAIN SELECT 1", context).rewrite
    assert rewrite is not None
    column = Column("Query Plan", "varchar")
    assert rewrite([column], [["Fragment 0\n    Output\n\n"]]) == Table(
        (column,), (("Fragment 0",), ("    Output",), ("",), ("",), ("",))
    )


def test_prepared_statement_is_stored_and_deleted(context: Context) -> None:
    plan = plan_statement("PREPARE by_id FROM SELECT * FROM t WHERE id = ?;", context)
    assert plan.prepare == ("by_id", "SELECT * FROM t WHERE id = ?")
    assert plan_statement("DEALLOCATE PREPARE by_id", context).prepare == ("by_id", None)


def test_prepared_statement_is_executed_with_its_values(context: Context) -> None:
    plan = plan_statement("EXECUTE by_id USING 1 + 1, concat('a', 'b')", context)
    assert plan.substatement_type == "SELECT"
    assert plan.steps == (TrinoStep("SELECT * FROM t WHERE id = (1 + 1) AND name = concat('a', 'b')"),)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("EXECUTE unknown", "PreparedStatement unknown was not found"),
        ("EXECUTE by_id USING 1", "Incorrect number of parameters: expected 2 but found 1"),
        ("EXECUTE by_id USING 1,", "Expecting: <expression>"),
        ("PREPARE x FROM", "Expecting: <query>"),
    ],
)
def test_wrong_execution_is_refused(context: Context, sql: str, message: str) -> None:
    with pytest.raises(StatementError, match=message):
        plan_statement(sql, context)


def test_optimize_rewrites_the_chosen_partitions(context: Context, trino: TrinoStatements) -> None:
    create_iceberg_table(context)
    assert trino("OPTIMIZE db.events REWRITE DATA USING BIN_PACK") == [
        'ALTER TABLE "iceberg"."db"."events" EXECUTE optimize'
    ]
    assert trino("OPTIMIZE events REWRITE DATA USING BIN_PACK WHERE dt = DATE '2020-01-01' AND x > 1") == [
        'ALTER TABLE "iceberg"."db"."events" EXECUTE optimize WHERE dt = DATE \'2020-01-01\' AND x > 1'
    ]


# The default of vacuum_max_snapshot_age_seconds is 432000 (5 days).
@pytest.mark.parametrize(
    ("properties", "snapshot_age", "orphan_age"),
    [
        ({}, "432000s", "432000s"),
        ({"vacuum_max_snapshot_age_seconds": "60"}, "60s", "86400s"),
        ({"vacuum_max_snapshot_age_seconds": "soon"}, "432000s", "432000s"),
    ],
)
def test_vacuum_keeps_what_the_table_says(
    context: Context, properties: dict[str, str], snapshot_age: str, orphan_age: str
) -> None:
    create_iceberg_table(context, properties=properties)
    table = 'ALTER TABLE "iceberg"."db"."events" EXECUTE'
    assert plan_statement("VACUUM events", context).steps == (
        TrinoStep(
            f"{table} expire_snapshots(retention_threshold => '{snapshot_age}')",
            "iceberg",
            {"iceberg.expire_snapshots_min_retention": "0s"},
        ),
        TrinoStep(
            f"{table} remove_orphan_files(retention_threshold => '{orphan_age}')",
            "iceberg",
            {"iceberg.remove_orphan_files_min_retention": "0s"},
        ),
    )


@pytest.mark.parametrize("sql", ["VACUUM users", "OPTIMIZE users REWRITE DATA USING BIN_PACK"])
def test_maintenance_is_for_iceberg_tables(run: Run, sql: str) -> None:
    with pytest.raises(FailedStatementError, match=r"Table not found db\.users"):
        run(sql)
    run("CREATE EXTERNAL TABLE users (id int) LOCATION 's3://lake/users'")
    with pytest.raises(FailedStatementError, match="not an Iceberg table"):
        run(sql)
