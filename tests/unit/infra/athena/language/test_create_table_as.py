"""CREATE TABLE AS and UNLOAD: Athena's properties in Trino's words, and where the files go."""

from __future__ import annotations

import pytest

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Context, FailedStatementError, GlueStep, StatementError, TrinoStep

QUERY_ID = "11111111-2222-3333-4444-555555555555"


def trino_step(sql: str, context: Context) -> TrinoStep:
    step = plan_statement(sql, context).steps[-1]
    assert isinstance(step, TrinoStep)
    return step


def test_table_without_a_location_goes_below_the_results(context: Context) -> None:
    plan = plan_statement("CREATE TABLE t AS SELECT 1 AS a", context)
    location = f"s3://lake/results/tables/{QUERY_ID}"
    assert plan.written_location == f"{location}/"
    assert plan.steps[-1] == TrinoStep(
        f'CREATE TABLE "awsdatacatalog"."db"."t" WITH (format = \'PARQUET\', external_location = \'{location}\') '
        "AS SELECT 1 AS a"
    )


def test_hive_properties_are_renamed(context: Context) -> None:
    step = trino_step(
        """
        CREATE TABLE IF NOT EXISTS "other"."temp"
        WITH (
            external_location = 's3://lake/temp',
            partitioned_by = ARRAY['a', 'b'],
            bucketed_by = ARRAY['c'], bucket_count = 3,
            field_delimiter = ',',
            write_compression = 'gzip',
            is_external = true, table_type = 'HIVE',
            format = 'textfile')
        AS SELECT 1 AS c, 2 AS a, ') WITH (' AS b
        WITH NO DATA
        """,
        context,
    )
    assert step == TrinoStep(
        'CREATE TABLE IF NOT EXISTS "awsdatacatalog"."other"."temp" WITH '
        "(format = 'TEXTFILE', external_location = 's3://lake/temp', partitioned_by = ARRAY['a', 'b'], "
        "bucketed_by = ARRAY['c'], bucket_count = 3, textfile_field_separator = ',') "
        "AS SELECT 1 AS c, 2 AS a, ') WITH (' AS b\n        WITH NO DATA",
        session={"awsdatacatalog.compression_codec": "GZIP"},
    )


@pytest.mark.parametrize(
    ("name", "value", "codec"),
    [
        ("write_compression", "SNAPPY", "SNAPPY"),
        ("parquet_compression", "zstd", "ZSTD"),
        ("orc_compression", "ZLIB", "GZIP"),
        ("write_compression", "NONE", "NONE"),
    ],
)
def test_compression_is_a_session_property(context: Context, name: str, value: str, codec: str) -> None:
    step = trino_step(f"CREATE TABLE t WITH ({name} = '{value}') AS SELECT 1 AS a", context)
    assert step.session == {"awsdatacatalog.compression_codec": codec}
    assert name not in step.sql


def test_unknown_compression_is_refused(context: Context) -> None:
    with pytest.raises(StatementError, match="Unsupported compression 'LZO'"):
        plan_statement("CREATE TABLE t WITH (write_compression = 'LZO') AS SELECT 1 AS a", context)


def test_iceberg_table_is_made_in_its_catalog_and_read_from_the_usual_one(context: Context) -> None:
    plan = plan_statement(
        """
        CREATE TABLE t
        WITH (table_type = 'ICEBERG', location = 's3://lake/t/', is_external = false, format = 'orc',
              partitioning = ARRAY['day(ts)', 'bucket(16, id)', 'truncate(name, 3)', 'name'], format_version = 2,
              write_compression = 'ZSTD', vacuum_max_snapshot_age_seconds = 259200)
        AS SELECT 1 AS id
        """,
        context,
    )
    assert plan.steps == (
        TrinoStep(
            'CREATE TABLE "iceberg"."db"."t" WITH (location = \'s3://lake/t\', '
            "partitioning = ARRAY['day(ts)', 'bucket(id, 16)', 'truncate(name, 3)', 'name'], format = 'ORC', "
            "format_version = 2, "
            "extra_properties = MAP(ARRAY['vacuum_max_snapshot_age_seconds'], ARRAY['259200'])) AS SELECT 1 AS id",
            session={"iceberg.compression_codec": "ZSTD"},
        ),
    )
    assert plan.written_location is None


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t AS (SELECT 1 AS a)",
        "CREATE TABLE t AS WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "CREATE TABLE t AS TABLE u",
        "CREATE TABLE t (a) AS VALUES 1",
        "CREATE TABLE t COMMENT 'c' AS SELECT 1 AS a",
        "CREATE TABLE `t` AS SELECT CAST(1 AS varchar) AS a",
    ],
)
def test_query_is_what_follows_as(context: Context, sql: str) -> None:
    assert trino_step(sql, context).sql.endswith(sql.partition(" AS ")[2])


def test_statement_that_is_no_query_cannot_be_wrapped(context: Context) -> None:
    with pytest.raises(StatementError, match=r"mismatched input 'ALTER'\. Expecting: '\(', 'SELECT'"):
        plan_statement("CREATE TABLE t WITH (format='PARQUET') AS ALTER TABLE x SET LOCATION 's3://lake/'", context)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t WITH (external_location = 's3://lake/full/') AS SELECT 1 AS a",
        "UNLOAD (SELECT 1 AS a) TO 's3://lake/full' WITH (format = 'PARQUET')",
    ],
)
def test_location_with_files_is_refused(context: Context, sql: str) -> None:
    step = plan_statement(sql, context).steps[0]
    assert isinstance(step, GlueStep)
    context.s3.put_object(Bucket="lake", Key="full-of-others/part", Body=b"x")
    step.run(context)
    context.s3.put_object(Bucket="lake", Key="full/part", Body=b"x")
    with pytest.raises(FailedStatementError, match="HIVE_PATH_ALREADY_EXISTS"):
        step.run(context)


def test_unload_writes_a_table_and_forgets_it(context: Context) -> None:
    plan = plan_statement(
        """UNLOAD (SELECT a, ')' AS b FROM (VALUES 1) AS t(a)) TO 's3://lake/out//'
           WITH (  format='TEXTFILE'  , compression='gzip', field_delimiter='\\t', partitioned_by=ARRAY['b'])""",
        context,
    )
    name = f"unload_{QUERY_ID.replace('-', '_')}"
    assert plan.steps[1] == TrinoStep(
        f'CREATE TABLE "awsdatacatalog"."db"."{name}" WITH (format = \'TEXTFILE\', '
        "external_location = 's3://lake/out//', textfile_field_separator = '\t', partitioned_by = ARRAY['b']) "
        "AS SELECT a, ')' AS b FROM (VALUES 1) AS t(a)",
        session={"awsdatacatalog.compression_codec": "GZIP"},
    )
    assert plan.written_location == "s3://lake/out/"
    context.glue.create_table(DatabaseName="db", TableInput={"Name": name})
    cleanup = plan.cleanup[0]
    assert isinstance(cleanup, GlueStep)
    for _ in range(2):
        cleanup.run(context)
    assert context.glue.get_tables(DatabaseName="db")["TableList"] == []


@pytest.mark.parametrize(
    "sql",
    [
        "UNLOAD (SELECT 1",
        "UNLOAD SELECT 1",
        "UNLOAD (SELECT 1) TO x",
        "UNLOAD (1) TO 's' x",
        "UNLOAD (SELECT 1) TO 's3://b/p/'",
    ],
)
def test_broken_unload_is_refused(context: Context, sql: str) -> None:
    with pytest.raises(StatementError):
        plan_statement(sql, context)
