"""DROP TABLE: of a Hive table only the catalog's entry goes, of an Iceberg table the files, too."""

from __future__ import annotations

from infra.local.athena.language import catalog, trino_text
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Context, Plan, Table, TrinoStep


def plan_drop_table(sql: str, context: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("DROP", "TABLE")
    if_exists = cursor.take("IF", "EXISTS")
    name = cursor.table_name(context.database)
    cursor.take("PURGE")
    cursor.end()
    table = catalog.find_table(context, name)
    if table is not None and catalog.is_iceberg(table):
        words = "DROP TABLE IF EXISTS" if if_exists else "DROP TABLE"
        return catalog.ddl("DROP_TABLE", TrinoStep(f"{words} {trino_text.qualify(name, 'iceberg')}", "iceberg"))
    return catalog.ddl("DROP_TABLE", catalog.step(lambda context: _drop(context, name, if_exists)))


def _drop(context: Context, name: TableName, if_exists: bool) -> Table:
    table = catalog.find_table(context, name)
    if table is None and not if_exists:
        raise catalog.missing_table(name)
    if table is not None and catalog.is_view(table):
        raise catalog.execution_error(f"Cannot drop a view with DROP TABLE: {name}")
    catalog.delete_table(context, name)
    return catalog.NOTHING
