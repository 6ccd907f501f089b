"""Trino's statements for ALTER TABLE of an Iceberg table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.local.athena.language import catalog
from infra.local.athena.language.iceberg_properties import table_properties
from infra.local.athena.language.table_definition import ColumnDefinition
from infra.local.athena.language.tokens import TableName
from infra.local.athena.language.trino_text import assignments, qualify, quote_name, quote_text
from infra.local.athena.plan import Plan, TrinoStep

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import TableTypeDef


def plan(substatement: str, *statements: str) -> Plan:
    return catalog.ddl(substatement, *(TrinoStep(statement, "iceberg") for statement in statements))


def rename(name: TableName, renamed: TableName) -> str:
    return f"{_alter(name)} RENAME TO {qualify(renamed, 'iceberg')}"


def add_columns(name: TableName, columns: Sequence[ColumnDefinition]) -> list[str]:
    return [
        f"{_alter(name)} ADD COLUMN {quote_name(column.name)} {column.type.trino()}"
        + (f" COMMENT {quote_text(column.comment)}" if column.comment else "")
        for column in columns
    ]


def drop_column(name: TableName, column: str) -> str:
    return f"{_alter(name)} DROP COLUMN {quote_name(column)}"


def change_column(name: TableName, table: TableTypeDef, old: str, column: ColumnDefinition) -> list[str]:
    """A new type where it differs from the one in Glue, then the comment, and the new name last."""
    known = {entry["Name"]: entry.get("Type", "") for entry in catalog.columns_of(table)}
    statements = []
    if known.get(old) != column.type.glue():
        statements.append(f"{_alter(name)} ALTER COLUMN {quote_name(old)} SET DATA TYPE {column.type.trino()}")
    if column.comment is not None:
        target = f"{qualify(name, 'iceberg')}.{quote_name(old)}"
        statements.append(f"COMMENT ON COLUMN {target} IS {quote_text(column.comment)}")
    if column.name != old:
        statements.append(f"{_alter(name)} RENAME COLUMN {quote_name(old)} TO {quote_name(column.name)}")
    return statements


def set_properties(name: TableName, properties: dict[str, str]) -> list[str]:
    """Nothing when Trino has none of them to set."""
    changed = table_properties(properties)
    return [f"{_alter(name)} SET PROPERTIES {assignments(changed)}"] if changed else []


def _alter(name: TableName) -> str:
    return f"ALTER TABLE {qualify(name, 'iceberg')}"
