"""PREPARE, EXECUTE and DEALLOCATE PREPARE."""

from __future__ import annotations

from collections.abc import Callable

from infra.local.athena.language import catalog
from infra.local.athena.language.parameters import bind_parameters
from infra.local.athena.language.tokens import Cursor, TrinoTokenizer, depths
from infra.local.athena.plan import Context, Output, Plan, StatementError

Planner = Callable[[str, Context], Plan]


def plan_prepare(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("PREPARE")
    name = cursor.name()
    cursor.expect("FROM")
    text = cursor.rest()
    if not text:
        raise cursor.mismatch("<query>")
    return _store("PREPARE", name, text)


def plan_deallocate(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("DEALLOCATE", "PREPARE")
    name = cursor.name()
    cursor.end()
    return _store("DEALLOCATE_PREPARE", name, None)


def plan_execute(sql: str, context: Context, planner: Planner) -> Plan:
    """`EXECUTE name [USING value, ...]`: the plan of the statement with the values in it.

    Raises StatementError for an unknown name or another number of values.
    """
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("EXECUTE")
    name = cursor.name()
    values = _read_values(cursor) if cursor.take("USING") else []
    cursor.end()
    return planner(bind_parameters(_lookup(context, name), values), context)


def _store(substatement: str, name: str, text: str | None) -> Plan:
    step = catalog.step(lambda _: catalog.NOTHING)
    return Plan("UTILITY", substatement, (step,), Output.TEXT, prepare=(name, text))


def _lookup(context: Context, name: str) -> str:
    if context.prepared is None:
        raise StatementError(f"PreparedStatement {name} was not found")
    return context.prepared(name)


def _read_values(cursor: Cursor) -> list[str]:
    open_at = depths(cursor.tokens)
    values, start = [], cursor.position
    while cursor.peek() is not None:
        if cursor.at(",") and open_at[cursor.position] == 0:
            values.append(_text(cursor, start))
            start = cursor.position + 1
        cursor.position += 1
    return [*values, _text(cursor, start)]


def _text(cursor: Cursor, start: int) -> str:
    if start == cursor.position:
        raise cursor.mismatch("<expression>")
    return cursor.sql[cursor.tokens[start].start : cursor.tokens[cursor.position - 1].end + 1]
