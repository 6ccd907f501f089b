"""The editor's guard: what cannot change anything passes, everything else names what is allowed."""

from __future__ import annotations

import pytest

from dashboard.read_only import NotReadOnlyError, check_read_only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select * from t -- ; drop table t",
        "/* INSERT */ SELECT ';' AS semicolon",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "WITH t AS (SELECT 1 AS x) SELECT x FROM t",
        "VALUES (1, 2)",
        'TABLE "t$partitions"',
        "SELECT 1;",
        "SELECT 1 ; ; ",
    ],
)
def test_what_asks_for_rows_passes_as_a_query(sql: str) -> None:
    assert check_read_only(sql).is_query


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES IN clickstream",
        "describe events",
        "DESC events",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "EXPLAIN (TYPE DISTRIBUTED, FORMAT JSON) SELECT 1",
        "EXPLAIN (SELECT 1)",
        "EXPLAIN ANALYZE (FORMAT JSON) WITH t AS (SELECT 1 AS x) SELECT x FROM t",
    ],
)
def test_what_describes_passes_as_text(sql: str) -> None:
    assert not check_read_only(sql).is_query


@pytest.mark.parametrize(
    ("sql", "is_charged"),
    [
        ("SELECT 1", True),
        ("EXPLAIN ANALYZE SELECT 1", True),
        ("EXPLAIN SELECT 1", False),
        ("EXPLAIN (FORMAT JSON) SELECT 1", False),
        ("SHOW TABLES", False),
    ],
)
def test_what_scans_data_is_charged(sql: str, is_charged: bool) -> None:
    assert check_read_only(sql).is_charged is is_charged


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DROP TABLE events", "DROP"),
        ("insert into t values (1)", "INSERT"),
        ("FROM t INSERT OVERWRITE TABLE u SELECT 1", "FROM"),
        ("CREATE TABLE t AS SELECT 1", "CREATE"),
        ("UNLOAD (SELECT 1) TO 's3://b/p/' WITH (format = 'JSON')", "UNLOAD"),
        ("MERGE INTO t USING u ON t.x = u.x WHEN MATCHED THEN DELETE", "MERGE"),
        ("VACUUM t", "VACUUM"),
        ("MSCK REPAIR TABLE t", "MSCK"),
        ("EXECUTE prepared", "EXECUTE"),
        ("EXPLAIN ANALYZE DELETE FROM t", "DELETE"),
        ("EXPLAIN (FORMAT TEXT) UPDATE t SET x = 1", "UPDATE"),
        ("EXPLAIN EXPLAIN ANALYZE DELETE FROM t", "DELETE"),
        ("/* SELECT */ DELETE FROM t", "DELETE"),
        ("-- SELECT\nALTER TABLE t ADD COLUMNS (x int)", "ALTER"),
        ("(DELETE FROM t)", "DELETE"),
        ("EXPLAIN", "EXPLAIN"),
    ],
)
def test_what_could_change_something_is_refused_by_its_name(sql: str, word: str) -> None:
    with pytest.raises(NotReadOnlyError, match=rf"^{word} is not allowed here: only SELECT, SHOW"):
        check_read_only(sql)


@pytest.mark.parametrize("sql", ["SELECT 1; DROP TABLE t", "SHOW TABLES; SELECT 1"])
def test_a_second_statement_is_refused(sql: str) -> None:
    with pytest.raises(NotReadOnlyError, match="One statement at a time"):
        check_read_only(sql)


@pytest.mark.parametrize("sql", ["", "  ", ";", "-- nothing"])
def test_nothing_is_no_statement(sql: str) -> None:
    with pytest.raises(NotReadOnlyError, match="Write a statement first"):
        check_read_only(sql)


def test_an_open_quote_is_said_to_be_no_statement() -> None:
    with pytest.raises(NotReadOnlyError, match="no statement"):
        check_read_only("SELECT 'open")


def test_the_semicolon_at_the_end_is_not_sent() -> None:
    assert check_read_only("SELECT ';' AS x ; ").sql == "SELECT ';' AS x"
