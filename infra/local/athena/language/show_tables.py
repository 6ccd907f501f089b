"""SHOW TABLES, VIEWS, COLUMNS and TBLPROPERTIES."""

from __future__ import annotations

from infra.local.athena.language import catalog
from infra.local.athena.language.describe import column_rows, padded, view_rows
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Column, Context, Output, Plan, StatementError, Table


def plan_show_tables(sql: str, context: Context) -> Plan:
    """`SHOW TABLES [IN db] [[LIKE] 'pattern']`: tables and views."""
    return _plan_list(sql, context, "TABLES", Column("tab_name", "string"), views_only=False)


def plan_show_views(sql: str, context: Context) -> Plan:
    """`SHOW VIEWS [IN db] [[LIKE] 'pattern']`."""
    return _plan_list(sql, context, "VIEWS", Column("views", "varchar"), views_only=True)


def plan_show_columns(sql: str, context: Context) -> Plan:
    """`SHOW COLUMNS {IN | FROM} t [{IN | FROM} db]`. Raises StatementError for a missing table."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW", "COLUMNS")
    if not _take_in(cursor):
        raise cursor.mismatch("FROM", "IN")
    name = cursor.table_name(context.database)
    if _take_in(cursor):
        name = TableName(cursor.name(), name.name)
    cursor.end()
    is_view = catalog.is_view(catalog.check_described_table(context, name))
    step = catalog.step(lambda context: _show_columns(context, name))
    return Plan("UTILITY", "DESC_VIEW" if is_view else "SHOW_COLUMNS", (step,), Output.TEXT)


def plan_show_properties(sql: str, context: Context) -> Plan:
    """`SHOW TBLPROPERTIES t [('key')]`."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW", "TBLPROPERTIES")
    name = cursor.table_name(context.database)
    keys = cursor.several(cursor.string) if cursor.at("(") else []
    cursor.end()
    step = catalog.step(lambda context: _show_properties(context, name, keys))
    return Plan("UTILITY", "SHOW_TABLE_PROPERTIES", (step,), Output.TEXT)


def _plan_list(sql: str, context: Context, word: str, column: Column, *, views_only: bool) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW", word)
    database = _read_database(cursor) if _take_in(cursor) else context.database.lower()
    if cursor.take("LIKE") and not cursor.is_string():
        raise cursor.mismatch("<string>")
    pattern = cursor.string() if cursor.is_string() else None
    cursor.end()

    def run(context: Context) -> Table:
        names = sorted(
            table["Name"]
            for table in catalog.list_tables(context, database)
            if catalog.matches_pattern(table["Name"], pattern) and (catalog.is_view(table) or not views_only)
        )
        return Table((column,), tuple((name,) for name in names))

    return Plan("UTILITY", f"SHOW_{word}", (catalog.step(run),), Output.TEXT)


def _take_in(cursor: Cursor) -> bool:
    return cursor.take("IN") or cursor.take("FROM")


def _read_database(cursor: Cursor) -> str:
    parts = cursor.parts()
    if len(parts) > 1 and parts[:-1] != ["awsdatacatalog"]:
        raise StatementError(f"Catalog '{'.'.join(parts[:-1])}' does not exist")
    return parts[-1]


def _show_columns(context: Context, name: TableName) -> Table:
    table = catalog.require_table(context, name)
    if catalog.is_view(table):
        return view_rows(table)
    names = [column for column, _, _ in column_rows(context, table)]
    if not catalog.is_iceberg(table):
        names = [padded(column) for column in names]
    return Table((Column("field", "string"),), tuple((column,) for column in names))


def _show_properties(context: Context, name: TableName, keys: list[str]) -> Table:
    parameters = catalog.require_table(context, name).get("Parameters", {})
    missing = [key for key in keys if key not in parameters]
    if missing:
        raise catalog.execution_error(f"Table {name} does not have property: {missing[0]}")
    rows = tuple((key, value) for key, value in parameters.items() if not keys or key in keys)
    return Table((Column("prpt_name", "string"), Column("prpt_value", "string")), rows)
