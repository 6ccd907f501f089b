"""UNLOAD (SELECT ...) TO 's3://...' WITH (...): a table of the query's files, whose catalog entry is deleted again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import Token

from infra.local.athena.language import catalog
from infra.local.athena.language.create_table_as import (
    TableQuery,
    hive_session,
    hive_statement,
    read_properties,
)
from infra.local.athena.language.tokens import Cursor, TableName, TrinoTokenizer, depths, is_word
from infra.local.athena.plan import Context, Output, Plan, StatementError, Table, TrinoStep


def plan_unload(sql: str, context: Context) -> Plan:
    """Raises StatementError."""
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("UNLOAD")
    query = _read_query(cursor)
    cursor.expect("TO")
    location = cursor.string()
    properties = read_properties(cursor) if cursor.take("WITH") else {}
    cursor.end()
    if "format" not in properties:
        raise StatementError("UNLOAD needs the property format: WITH (format = 'PARQUET')")
    name = TableName(context.database.lower(), f"unload_{context.query_id.replace('-', '_')}")
    table = TableQuery(name, if_not_exists=False, header="", properties=properties, query=query)
    return Plan(
        "DML",
        "UNLOAD",
        (
            catalog.step(lambda context: _check_target(context, location, name)),
            TrinoStep(hive_statement(table, location), session=hive_session(properties)),
        ),
        Output.FILES,
        cleanup=(catalog.step(lambda context: _forget(context, name)),),
        written_location=location.rstrip("/") + "/",
    )


def _check_target(context: Context, location: str, name: TableName) -> Table:
    catalog.check_empty(context, location, name)
    return catalog.NOTHING


def _forget(context: Context, name: TableName) -> Table:
    catalog.delete_table(context, name)
    return catalog.NOTHING


def _read_query(cursor: Cursor) -> str:
    """The text between the parentheses."""
    start = cursor.position
    cursor.expect("(")
    end = _closing(cursor.tokens, start)
    if end is None:
        cursor.position = len(cursor.tokens)
        raise cursor.mismatch(")")
    cursor.position = end + 1
    return cursor.sql[cursor.tokens[start].end + 1 : cursor.tokens[end].start].strip()


def _closing(tokens: Sequence[Token], opening: int) -> int | None:
    open_at = depths(tokens)
    for index in range(opening + 1, len(tokens)):
        if is_word(tokens[index], ")") and open_at[index] == open_at[opening] + 1:
            return index
    return None
