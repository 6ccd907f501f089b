"""CREATE VIEW and DROP VIEW, which Trino does itself."""

from __future__ import annotations

from infra.local.athena.language import catalog, trino_text
from infra.local.athena.language.tokens import Cursor, TrinoTokenizer
from infra.local.athena.plan import Context, Plan, TrinoStep


def plan_create_view(sql: str, context: Context) -> Plan:
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("CREATE")
    if cursor.take("OR"):
        cursor.expect("REPLACE")
        if not cursor.at("VIEW"):
            raise cursor.mismatch("MATERIALIZED", "MULTI", "PROTECTED", "VIEW")
    cursor.expect("VIEW")
    cursor.table_name(context.database)
    return catalog.ddl("CREATE_VIEW", TrinoStep(sql))


def plan_drop_view(sql: str, context: Context) -> Plan:
    """The name in double quotes or backticks."""
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("DROP", "VIEW")
    if_exists = "IF EXISTS " if cursor.take("IF", "EXISTS") else ""
    name = trino_text.qualify(cursor.table_name(context.database), "awsdatacatalog")
    cursor.end()
    return catalog.ddl("DROP_VIEW", TrinoStep(f"DROP VIEW {if_exists}{name}"))
