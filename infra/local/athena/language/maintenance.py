"""OPTIMIZE and VACUUM of Iceberg tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.athena.language import catalog, trino_text
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Context, FailedStatementError, Output, Plan, Step, TrinoStep

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import TableTypeDef

SNAPSHOT_AGE_PROPERTY = "vacuum_max_snapshot_age_seconds"
SNAPSHOT_AGE_DEFAULT_SECONDS = 432_000
# A file that a running commit has written but not yet published is an orphan, too.
ORPHAN_AGE_MINIMUM_SECONDS = 86_400


def plan_optimize(sql: str, context: Context) -> Plan:
    """`OPTIMIZE t REWRITE DATA USING BIN_PACK [WHERE ...]`; Trino takes conditions on partition columns only."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("OPTIMIZE")
    name = cursor.table_name(context.database)
    cursor.expect("REWRITE", "DATA", "USING", "BIN_PACK")
    if cursor.peek() is not None and not cursor.at("WHERE"):
        raise cursor.mismatch("WHERE", "<EOF>")
    condition = f" {cursor.rest()}" if cursor.at("WHERE") else ""
    statement = f"ALTER TABLE {trino_text.qualify(name, 'iceberg')} EXECUTE optimize{condition}"
    steps: tuple[Step, ...] = (TrinoStep(statement, "iceberg"),)
    return Plan("DDL", "OPTIMIZE", _for_iceberg(context, name, steps), Output.TEXT)


def plan_vacuum(sql: str, context: Context) -> Plan:
    """`VACUUM t`: expires snapshots older than the table's property says and removes files that no snapshot knows."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("VACUUM")
    name = cursor.table_name(context.database)
    cursor.end()
    table = catalog.find_table(context, name)
    age = _snapshot_age_seconds(context, table)
    target = f"ALTER TABLE {trino_text.qualify(name, 'iceberg')} EXECUTE"
    orphan_age = max(age, ORPHAN_AGE_MINIMUM_SECONDS)
    steps: tuple[Step, ...] = (
        TrinoStep(
            f"{target} expire_snapshots(retention_threshold => '{age}s')",
            "iceberg",
            {"iceberg.expire_snapshots_min_retention": "0s"},
        ),
        TrinoStep(
            f"{target} remove_orphan_files(retention_threshold => '{orphan_age}s')",
            "iceberg",
            {"iceberg.remove_orphan_files_min_retention": "0s"},
        ),
    )
    return Plan("DML", "VACUUM_TABLE", _for_iceberg(context, name, steps), Output.TEXT)


def _for_iceberg(context: Context, name: TableName, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    table = catalog.find_table(context, name)
    if table is None:
        return (catalog.fail(catalog.missing_table(name)),)
    if not catalog.is_iceberg(table):
        reason = f"NOT_SUPPORTED: Table {name} is not an Iceberg table"
        return (catalog.fail(FailedStatementError(reason, 2, catalog.NOT_SUPPORTED_CODE)),)
    return steps


def _snapshot_age_seconds(context: Context, table: TableTypeDef | None) -> int:
    if table is None or not catalog.is_iceberg(table):
        return SNAPSHOT_AGE_DEFAULT_SECONDS
    try:
        properties = catalog.read_iceberg_metadata(context, table).get("properties", {})
    except FailedStatementError:
        return SNAPSHOT_AGE_DEFAULT_SECONDS
    text = str(properties.get(SNAPSHOT_AGE_PROPERTY, SNAPSHOT_AGE_DEFAULT_SECONDS))
    return int(text) if text.isdecimal() else SNAPSHOT_AGE_DEFAULT_SECONDS
