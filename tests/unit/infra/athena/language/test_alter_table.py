"""ALTER TABLE, DROP TABLE and views."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.athena.plan import Context, FailedStatementError
from tests.unit.infra.athena.language.conftest import Run, TrinoStatements
from tests.unit.infra.athena.language.iceberg import create_iceberg_table


@pytest.fixture
def users(run: Run) -> None:
    run("CREATE EXTERNAL TABLE users (id int, name string) LOCATION 's3://lake/users/'")


def columns(context: Context) -> Any:
    storage = context.glue.get_table(DatabaseName="db", Name="users")["Table"]["StorageDescriptor"]
    return [(column["Name"], column["Type"]) for column in storage["Columns"]]


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("ADD COLUMNS (age int, tags array<string>)", "id int, name string, age int, tags array<string>"),
        ("REPLACE COLUMNS (key bigint)", "key bigint"),
        ("CHANGE COLUMN id key bigint", "key bigint, name string"),
        ("CHANGE id id bigint AFTER name", "name string, id bigint"),
        ("CHANGE COLUMN name name string FIRST", "name string, id int"),
    ],
)
def test_columns_change_in_glue(context: Context, run: Run, action: str, expected: str) -> None:
    run(f"ALTER TABLE users {action}")
    assert columns(context) == [tuple(column.split(" ")) for column in expected.split(", ")]


@pytest.mark.usefixtures("users")
def test_location_and_comment_change_and_the_rest_stays(context: Context, run: Run) -> None:
    run("ALTER TABLE db.users SET LOCATION 's3://lake/moved/'")
    run("ALTER TABLE users CHANGE COLUMN id id int COMMENT 'the key'")
    storage = context.glue.get_table(DatabaseName="db", Name="users")["Table"]["StorageDescriptor"]
    assert storage["Location"] == "s3://lake/moved/"
    assert storage["Columns"][0] == {"Name": "id", "Type": "int", "Comment": "the key"}
    assert storage["SerdeInfo"]["SerializationLibrary"].endswith("LazySimpleSerDe")


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("action", "message", "code"),
    [
        ("CHANGE COLUMN nope x int", "Invalid column reference nope", 1100),
        ("RENAME TO people", "Table cannot be renamed", 1006),
        ("DROP COLUMN name", "ParseException line 1:23 mismatched input 'COLUMN' expecting PARTITION", 1006),
    ],
)
def test_what_hive_cannot_do_fails(run: Run, action: str, message: str, code: int) -> None:
    with pytest.raises(FailedStatementError, match=message) as failure:
        run(f"ALTER TABLE users {action}")
    assert failure.value.code == code


def test_missing_table_fails_when_it_runs(run: Run) -> None:
    with pytest.raises(FailedStatementError, match=r"Table not found db\.nobody") as failure:
        run("ALTER TABLE nobody ADD COLUMNS (a int)")
    assert failure.value.code == 1301


@pytest.mark.parametrize(
    ("action", "statements"),
    [
        (
            "ADD COLUMNS (a string COMMENT 'x', b array<int>)",
            ["ADD COLUMN \"a\" varchar COMMENT 'x'", 'ADD COLUMN "b" array(integer)'],
        ),
        ("DROP COLUMN id", ['DROP COLUMN "id"']),
        ("CHANGE COLUMN id key bigint", ['RENAME COLUMN "id" TO "key"']),
        ("CHANGE COLUMN ts ts string", ['ALTER COLUMN "ts" SET DATA TYPE varchar']),
        ("RENAME TO `other`.`e2`", ['RENAME TO "iceberg"."other"."e2"']),
        (
            "SET TBLPROPERTIES ('format'='orc', 'vacuum_x'='2')",
            ["SET PROPERTIES format = 'ORC', extra_properties = MAP(ARRAY['vacuum_x'], ARRAY['2'])"],
        ),
    ],
)
def test_iceberg_table_is_altered_by_the_engine(
    context: Context, trino: TrinoStatements, action: str, statements: list[str]
) -> None:
    create_iceberg_table(context)
    assert trino(f"ALTER TABLE events {action}") == [
        f'ALTER TABLE "iceberg"."db"."events" {statement}' for statement in statements
    ]


@pytest.mark.parametrize("action", ["SET TBLPROPERTIES ('classification'='parquet')", "CHANGE COLUMN id id bigint"])
def test_change_that_changes_nothing_succeeds(context: Context, run: Run, action: str) -> None:
    create_iceberg_table(context)
    assert run(f"ALTER TABLE events {action}").rows == ()


def test_comment_of_an_iceberg_column_is_a_statement_of_its_own(context: Context, trino: TrinoStatements) -> None:
    create_iceberg_table(context)
    assert trino("ALTER TABLE events CHANGE COLUMN id id bigint COMMENT 'the key'") == [
        'COMMENT ON COLUMN "iceberg"."db"."events"."id" IS \'the key\''
    ]


@pytest.mark.usefixtures("users")
def test_dropped_hive_table_leaves_its_files(context: Context, run: Run) -> None:
    context.s3.put_object(Bucket="lake", Key="users/part", Body=b"x")
    run("DROP TABLE `users`")
    assert context.glue.get_tables(DatabaseName="db")["TableList"] == []
    assert context.s3.list_objects_v2(Bucket="lake")["KeyCount"] == 1
    run("DROP TABLE IF EXISTS users")
    with pytest.raises(FailedStatementError, match=r"Table not found db\.users"):
        run("DROP TABLE users")


def test_iceberg_table_is_dropped_by_the_engine(context: Context, trino: TrinoStatements) -> None:
    create_iceberg_table(context)
    assert trino("DROP TABLE IF EXISTS db.events") == ['DROP TABLE IF EXISTS "iceberg"."db"."events"']


def test_view_goes_to_the_engine(trino: TrinoStatements) -> None:
    sql = "CREATE OR REPLACE VIEW db.v AS SELECT 1 AS a"
    assert trino(sql) == [sql]
    assert trino("DROP VIEW IF EXISTS `db`.`v`") == ['DROP VIEW IF EXISTS "awsdatacatalog"."db"."v"']
