"""What a statement is called, and which texts are none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Context, Output, StatementError, TrinoStep

# Names of StatementType and SubstatementType as the service returned them in measurements of others.
CLASSES = [
    ("SELECT 1", "DML", "SELECT", Output.ROWS),
    ("select(1)", "DML", "SELECT", Output.ROWS),
    ("(SELECT 1)", "DML", "SELECT", Output.ROWS),
    ("-- SHOW TABLES\n/* DROP */ SELECT 1;", "DML", "SELECT", Output.ROWS),
    ("WITH a AS (SELECT 1 AS x) SELECT x FROM a", "DML", "SELECT", Output.ROWS),
    ("VALUES 1", "DML", "SELECT", Output.ROWS),
    ("TABLE t", "DML", "SELECT", Output.ROWS),
    ("INSERT INTO t VALUES 1", "DML", "INSERT", Output.FILES),
    ("UPDATE t SET a = 1", "DML", "UPDATE", Output.ROWS),
    ("DELETE FROM t", "DML", "DELETE", Output.ROWS),
    ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "DML", "MERGE", Output.ROWS),
    ("EXPLAIN ANALYZE SELECT 1", "DML", "EXPLAIN", Output.TEXT),
    ("UNLOAD (SELECT 1 AS a) TO 's3://lake/u/' WITH (format='PARQUET')", "DML", "UNLOAD", Output.FILES),
    ("VACUUM t", "DML", "VACUUM_TABLE", Output.TEXT),
    ("OPTIMIZE t REWRITE DATA USING BIN_PACK", "DDL", "OPTIMIZE", Output.TEXT),
    ("CREATE TABLE t AS SELECT 1 AS a", "DDL", "CREATE_TABLE_AS_SELECT", Output.FILES),
    ('CREATE TABLE"t"AS(SELECT 1 AS a)', "DDL", "CREATE_TABLE_AS_SELECT", Output.FILES),
    ("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t/'", "DDL", "CREATE_TABLE", Output.TEXT),
    ("CREATE OR REPLACE VIEW v AS SELECT 1 AS a", "DDL", "CREATE_VIEW", Output.TEXT),
    ("DROP VIEW v", "DDL", "DROP_VIEW", Output.TEXT),
    ("CREATE SCHEMA x", "DDL", "CREATE_DATABASE", Output.TEXT),
    ("DROP DATABASE x", "DDL", "DROP_DATABASE", Output.TEXT),
    ("DROP TABLE t", "DDL", "DROP_TABLE", Output.TEXT),
    ("MSCK REPAIR TABLE t", "DDL", "MSCK_REPAIR", Output.TEXT),
    ("ALTER TABLE t ADD COLUMNS (a int)", "DDL", "ALTER_TABLE_ADD_COLUMN", Output.TEXT),
    ("ALTER TABLE t REPLACE COLUMNS (a int)", "DDL", "ALTER_TABLE_REPLACE_COLUMN", Output.TEXT),
    ("ALTER TABLE t CHANGE COLUMN a b int", "DDL", "ALTER_TABLE_CHANGE_COLUMN", Output.TEXT),
    ("ALTER TABLE t DROP COLUMN a", "DDL", "ALTER_TABLE_DROP_COLUMN", Output.TEXT),
    ("ALTER TABLE t ADD PARTITION (p = 'v')", "DDL", "ALTER_TABLE_ADD_PARTITION", Output.TEXT),
    ("ALTER TABLE t DROP PARTITION (p = 'v')", "DDL", "ALTER_TABLE_DROP_PARTITION", Output.TEXT),
    ("ALTER TABLE t SET LOCATION 's3://lake/u/'", "DDL", "ALTER_TABLE_SET_LOCATION", Output.TEXT),
    ("ALTER TABLE t SET TBLPROPERTIES ('a' = 'add column')", "DDL", "ALTER_TABLE_PROPERTIES", Output.TEXT),
    ("ALTER TABLE t RENAME TO u", "DDL", "ALTER_TABLE_RENAME", Output.TEXT),
    ("/* SELECT */ SHOW /* c */ TABLES", "UTILITY", "SHOW_TABLES", Output.TEXT),
    ("SHOW SCHEMAS", "UTILITY", "SHOW_DATABASES", Output.TEXT),
    ("SHOW VIEWS", "UTILITY", "SHOW_VIEWS", Output.TEXT),
    ("SHOW PARTITIONS t", "UTILITY", "SHOW_PARTITIONS", Output.TEXT),
    ("SHOW TBLPROPERTIES t", "UTILITY", "SHOW_TABLE_PROPERTIES", Output.TEXT),
    ("SHOW CREATE TABLE t", "UTILITY", "SHOW_CREATE_TABLE", Output.TEXT),
    ('SHOW CREATE VIEW"v"', "UTILITY", "SHOW_CREATE_VIEW", Output.TEXT),
    ("SHOW FUNCTIONS", "UTILITY", "SHOW_FUNCTIONS", Output.ROWS),
]


@pytest.mark.parametrize(("sql", "statement_type", "substatement_type", "output"), CLASSES)
def test_statement_is_classified_as_athena_does(
    context: Context, sql: str, statement_type: str, substatement_type: str, output: Output
) -> None:
    plan = plan_statement(sql, context)
    assert (plan.statement_type, plan.substatement_type, plan.output) == (statement_type, substatement_type, output)


def test_query_goes_to_the_engine_untouched(context: Context) -> None:
    sql = """SELECT '-- no; comment', "a;b" FROM "t$partitions" FOR VERSION AS OF 1 -- end"""
    step = plan_statement(f"  {sql} ;\n", context).steps[0]
    assert step == TrinoStep("""SELECT '-- no; comment', "a;b" FROM "t$partitions" FOR VERSION AS OF 1""")


def test_backslash_is_a_letter_in_a_query(context: Context) -> None:
    assert plan_statement(r"SELECT '\', '; '", context).steps == (TrinoStep(r"SELECT '\', '; '"),)


ERRORS = [
    ("SELEC 1", "line 1:1: mismatched input 'SELEC'. Expecting: 'ALTER', 'ANALYZE', 'CALL'"),
    ("-- only", "line 1:8: mismatched input '<EOF>'"),
    ("/* only */", "line 1:11: mismatched input '<EOF>'"),
    (" ; ", "line 1:2: mismatched input ';'"),
    ("SELECT 1; SELECT 2", "Only one sql statement is allowed. Got: SELECT 1; SELECT 2"),
    ("CREATE OR REPLACE TABLE t AS SELECT 1", "line 1:19: mismatched input 'TABLE'. Expecting: 'MATERIALIZED'"),
    ("SELECT 'abc", "a quote or a comment is not closed"),
    ("DROP TABLE t now", "line 1:14: extraneous input 'now' expecting <EOF>"),
    ("SHOW PARTITIONS\n  'x'", "line 2:3: mismatched input ''x''. Expecting: <identifier>"),
    ('DROP TABLE "t"', "mismatched input '\"t\"'"),
    ("DROP TABLE other.db.t", "Catalog 'other' does not exist"),
    ("DROP TABLE a.b.c.d", "Invalid table name a.b.c.d"),
    ("ALTER TABLE t FLY", "FAILED: ParseException line 1:14 cannot recognize input near 'FLY' '<EOF>' '<EOF>'"),
    ("SELECT " + "1" * 262_144, "Member must have length less than or equal to 262144"),
    (f"CREATE EXTERNAL TABLE t (a {'array<' * 5000}int) LOCATION 's3://lake/t'", "nested too deeply"),
]


@pytest.mark.parametrize(("sql", "message"), ERRORS)
def test_text_that_is_no_statement_is_refused_with_a_reason(context: Context, sql: str, message: str) -> None:
    with pytest.raises(StatementError) as refusal:
        plan_statement(sql, context)
    assert message in str(refusal.value)


WORDS = ["CREATE", "TABLE", "EXTERNAL", "SELECT", "ALTER", "DROP", "SHOW", "DESCRIBE", "AS", "WITH", "PARTITION"]
WORDS += ["UNLOAD", "TO", "INSERT", "INTO", "EXECUTE", "(", ")", ",", "=", "'", '"', "`", ";", "--", "/*", "t", "1"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from([*WORDS, "\ud800", "\0", "é"]), max_size=12))
def test_any_text_is_planned_or_refused(context: Context, words: list[str]) -> None:
    with contextlib.suppress(StatementError):
        plan_statement(" ".join(words), context)
