"""Databases, lists of tables and views, table properties."""

from __future__ import annotations

import pytest

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Column, Context, FailedStatementError, StatementError, Table
from tests.unit.infra.athena.language.conftest import Run


def create_table(context: Context, name: str, table_type: str = "EXTERNAL_TABLE") -> None:
    context.glue.create_table(DatabaseName="db", TableInput={"Name": name, "TableType": table_type})


def test_database_keeps_comment_location_and_properties(context: Context, run: Run) -> None:
    run("CREATE SCHEMA IF NOT EXISTS `new` COMMENT 'mine' LOCATION 's3://lake/new' WITH DBPROPERTIES ('a'='b')")
    run("CREATE DATABASE IF NOT EXISTS new")
    run("ALTER DATABASE new SET DBPROPERTIES ('c'='d')")
    database = context.glue.get_database(Name="new")["Database"]
    assert (database["Description"], database["LocationUri"]) == ("mine", "s3://lake/new")
    assert database["Parameters"] == {"a": "b", "c": "d"}


def test_database_cannot_be_made_twice(run: Run) -> None:
    with pytest.raises(FailedStatementError, match="Database db already exists"):
        run("CREATE DATABASE db")


def test_database_is_dropped_with_its_tables_only_on_demand(context: Context, run: Run) -> None:
    create_table(context, "t")
    with pytest.raises(FailedStatementError, match="Database db is not empty"):
        run("DROP DATABASE db")
    run("DROP DATABASE IF EXISTS db CASCADE")
    run("DROP SCHEMA IF EXISTS db")
    with pytest.raises(FailedStatementError, match="Database does not exist: db"):
        run("DROP DATABASE db RESTRICT")


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SHOW DATABASES", ["db", "sales_eu", "sales_us"]),
        ("SHOW SCHEMAS LIKE 'sales*'", ["sales_eu", "sales_us"]),
        ("SHOW DATABASES LIKE '*_eu|db'", ["db", "sales_eu"]),
        ("SHOW DATABASES 'sales.*'", ["sales_eu", "sales_us"]),
        ("SHOW DATABASES LIKE 'sales'", []),
    ],
)
def test_databases_are_listed_by_pattern(run: Run, sql: str, names: list[str]) -> None:
    run("CREATE DATABASE sales_us")
    run("CREATE DATABASE sales_eu")
    assert run(sql) == Table((Column("database_name", "string"),), tuple((name,) for name in names))


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SHOW TABLES", ["orders", "orders_view", "users"]),
        ("SHOW TABLES IN awsdatacatalog.db 'orders*'", ["orders", "orders_view"]),
        ("SHOW TABLES FROM db LIKE 'orders.*'", ["orders", "orders_view"]),
        ("SHOW TABLES 'users|nobody'", ["users"]),
        ("SHOW VIEWS", ["orders_view"]),
        ("SHOW VIEWS IN db LIKE 'u*'", []),
    ],
)
def test_tables_are_listed_by_pattern(context: Context, run: Run, sql: str, names: list[str]) -> None:
    create_table(context, "users")
    create_table(context, "orders")
    create_table(context, "orders_view", "VIRTUAL_VIEW")
    assert run(sql).rows == tuple((name,) for name in names)


def test_tables_of_a_missing_database_fail(run: Run) -> None:
    with pytest.raises(FailedStatementError, match="Database does not exist: nowhere"):
        run("SHOW TABLES IN nowhere")


def test_broken_pattern_fails_with_a_reason(run: Run) -> None:
    with pytest.raises(FailedStatementError, match="invalid pattern"):
        run("SHOW DATABASES LIKE '(('")


def test_properties_are_listed_all_or_one(run: Run) -> None:
    run("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t' TBLPROPERTIES ('note'='x')")
    run("ALTER TABLE t SET TBLPROPERTIES ('classification'='csv')")
    table = run("SHOW TBLPROPERTIES t")
    assert table.columns == (Column("prpt_name", "string"), Column("prpt_value", "string"))
    assert set(table.rows) >= {("EXTERNAL", "TRUE"), ("note", "x"), ("classification", "csv")}
    assert run("SHOW TBLPROPERTIES db.t('note')").rows == (("note", "x"),)
    with pytest.raises(FailedStatementError, match="does not have property: nothing"):
        run("SHOW TBLPROPERTIES t('nothing')")


def test_other_catalogs_do_not_exist(context: Context) -> None:
    with pytest.raises(StatementError, match="Catalog 'hive' does not exist"):
        plan_statement("CREATE DATABASE hive.db", context)
