"""DESCRIBE of a Hive table (padded as Hive prints it), of an Iceberg table and of a view."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from infra.local.athena.language import catalog
from infra.local.athena.language.column_types import iceberg_type_text
from infra.local.athena.language.describe_details import Row, detail_rows
from infra.local.athena.language.partition_specs import list_partitions, read_spec, spec_values
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Column, Context, FailedStatementError, Output, Plan, Table

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import ColumnTypeDef, TableTypeDef

COLUMNS = (Column("col_name", "string"), Column("data_type", "string"), Column("comment", "string"))
VIEW_COLUMNS = (Column("column", "varchar"), Column("type", "varchar"))
WIDTH = 20
VIEW_MARK = "/* Presto View: "
UNPRINTABLE_TYPES = ("time", "uuid")
HEADING = ("# col_name", "data_type", "comment")
HIVE_HEADING = ("# " + "col_name".ljust(WIDTH), "data_type".ljust(WIDTH), "comment".ljust(WIDTH))
PARTITION_MARK = ("# Partition Information", " ", " ")
BLANK = ("", " ", " ")


def plan_describe(sql: str, context: Context) -> Plan:
    """`{DESCRIBE | DESC} [EXTENDED | FORMATTED] t [PARTITION (...)] [column]`. Raises StatementError for a missing
    table."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.next_token()
    detailed = (cursor.at("EXTENDED") or cursor.at("FORMATTED")) and not _is_last_word(cursor)
    if detailed:
        cursor.next_token()
    name = cursor.table_name(context.database)
    spec = read_spec(cursor) if cursor.at("PARTITION") else None
    column = cursor.name() if cursor.peek() is not None else None
    cursor.end()
    is_view = catalog.is_view(catalog.check_described_table(context, name))
    step = catalog.step(lambda context: _describe(context, name, detailed, spec, column))
    return Plan("UTILITY", "DESC_VIEW" if is_view else "DESCRIBE_TABLE", (step,), Output.TEXT)


def padded(text: str) -> str:
    """Filled to 20 characters, never cut."""
    return text.ljust(WIDTH)


def column_rows(context: Context, table: TableTypeDef) -> list[Row]:
    """Name, type and comment of every column, partition columns last."""
    if catalog.is_iceberg(table):
        return _iceberg_columns(catalog.read_iceberg_metadata(context, table))
    return [_glue_row(column) for column in catalog.columns_of(table) + catalog.partition_keys_of(table)]


def view_rows(table: TableTypeDef) -> Table:
    """Name and Trino's type of a view's columns."""
    rows = tuple((column["name"], column["type"]) for column in view_definition(table).get("columns", []))
    return Table(VIEW_COLUMNS, rows)


def view_definition(table: TableTypeDef) -> Mapping[str, Any]:
    """What the engine stores of a view: originalSql, columns, ...; empty for a view of another engine."""
    text = table.get("ViewOriginalText", "")
    if not text.startswith(VIEW_MARK):
        return {}
    return cast("Mapping[str, Any]", json.loads(b64decode(text.removeprefix(VIEW_MARK).removesuffix("*/").strip())))


def _is_last_word(cursor: Cursor) -> bool:
    """A table may be called `extended`."""
    return cursor.peek(1) is None


def _glue_row(column: ColumnTypeDef) -> Row:
    return column["Name"], column.get("Type", ""), column.get("Comment", "")


def _iceberg_columns(metadata: Mapping[str, Any]) -> list[Row]:
    return [
        (field["name"], iceberg_type_text(field["type"]), field.get("doc", "")) for field in current_schema(metadata)
    ]


def current_schema(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The fields of an Iceberg table's columns."""
    schemas = {schema.get("schema-id", 0): schema for schema in metadata.get("schemas", [metadata.get("schema")])}
    return cast("list[Mapping[str, Any]]", schemas[metadata.get("current-schema-id", 0)]["fields"])


def partition_fields(metadata: Mapping[str, Any]) -> list[Row]:
    """Name, transform and source column of an Iceberg table's partition fields."""
    specs = {spec["spec-id"]: spec["fields"] for spec in metadata.get("partition-specs", [])}
    names = {field["id"]: field["name"] for field in current_schema(metadata)}
    fields = specs.get(metadata.get("default-spec-id", 0), [])
    return [(field["name"], field["transform"], names[field["source-id"]]) for field in fields]


def _describe(
    context: Context, name: TableName, detailed: bool, spec: dict[str, str] | None, column: str | None
) -> Table:
    table = catalog.require_table(context, name)
    if catalog.is_view(table):
        return view_rows(table)
    if catalog.is_iceberg(table):
        return Table(COLUMNS, tuple(_iceberg_rows(catalog.read_iceberg_metadata(context, table))))
    details = _details(context, name, table, spec) if detailed or spec is not None else []
    if column is not None:
        return Table(COLUMNS, tuple(row for row in _hive_columns(table) if row[0].rstrip() == column))
    return Table(COLUMNS, tuple(_hive_rows(table) + (details if detailed else [])))


def _hive_rows(table: TableTypeDef) -> list[Row]:
    rows = _hive_columns(table)
    keys = rows[len(catalog.columns_of(table)) :]
    return rows + ([BLANK, PARTITION_MARK, HIVE_HEADING, BLANK, *keys] if keys else [])


def _hive_columns(table: TableTypeDef) -> list[Row]:
    columns = catalog.columns_of(table) + catalog.partition_keys_of(table)
    return [_padded_row(_glue_row(column)) for column in columns]


def _padded_row(row: Row) -> Row:
    """Hive's printer splits rows at tabs, so a comment ends at its first one."""
    name, kind, comment = row
    return padded(name), padded(kind), padded(comment).split("\t")[0]


def _iceberg_rows(metadata: Mapping[str, Any]) -> list[Row]:
    columns = _iceberg_columns(metadata)
    if any(kind in UNPRINTABLE_TYPES for _, kind, _ in columns):
        raise FailedStatementError("Table has unsupported column types", 2, catalog.EXECUTION_CODE)
    return [
        ("# Table schema:", "", ""),
        HEADING,
        *columns,
        ("", "", ""),
        ("# Partition spec:", "", ""),
        ("# field_name", "field_transform", "column_name"),
        *partition_fields(metadata),
    ]


def _details(context: Context, name: TableName, table: TableTypeDef, spec: dict[str, str] | None) -> list[Row]:
    """Raises FailedStatementError for a missing partition."""
    if spec is None:
        return detail_rows(name, table)
    values = spec_values(table, spec)
    for partition in list_partitions(context, name):
        if partition["Values"] == values:
            return detail_rows(name, table, partition)
    raise FailedStatementError(
        f"FAILED: SemanticException [Error 10006]: Partition not found {spec}", 2, catalog.EXECUTION_CODE
    )
