"""CREATE EXTERNAL TABLE (an entry in Glue) and CREATE TABLE of an Iceberg table (a statement for Trino)."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from infra.local.athena.language import catalog, trino_text
from infra.local.athena.language.iceberg_properties import table_properties
from infra.local.athena.language.table_definition import ColumnDefinition, TableDefinition, read_table_definition
from infra.local.athena.language.tokens import Cursor, HiveTokenizer
from infra.local.athena.plan import Context, Plan, Table, TrinoStep

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import ColumnTypeDef, TableInputTypeDef


def plan_create_table(sql: str, context: Context) -> Plan:
    """Raises StatementError."""
    table = read_table_definition(Cursor(sql, HiveTokenizer), context.database)
    if table.is_iceberg:
        return catalog.ddl("CREATE_TABLE", TrinoStep(iceberg_create_statement(table), "iceberg"))
    return catalog.ddl("CREATE_TABLE", catalog.step(lambda context: _create_in_glue(context, table)))


def iceberg_create_statement(table: TableDefinition) -> str:
    """Trino's CREATE TABLE."""
    columns = ", ".join(_trino_column(column) for column in table.columns)
    comment = f" COMMENT {trino_text.quote_text(single_line(table.comment))}" if table.comment else ""
    properties = {"location": trino_text.quote_text((table.location or "").rstrip("/"))}
    if table.partition_transforms:
        properties["partitioning"] = trino_text.array(table.partition_transforms)
    properties |= table_properties(table.properties)
    return (
        f"CREATE TABLE {'IF NOT EXISTS ' if table.if_not_exists else ''}{trino_text.qualify(table.name, 'iceberg')} "
        f"({columns}){comment}{trino_text.with_clause(properties)}"
    )


def glue_table_input(table: TableDefinition, created: int) -> TableInputTypeDef:
    """The entry as Athena leaves it; `created` in seconds since 1970."""
    storage = table.storage_format
    parameters = {"EXTERNAL": "TRUE", "transient_lastDdlTime": str(created)} | table.properties
    if table.comment is not None:
        parameters["comment"] = single_line(table.comment)
    return {
        "Name": table.name.name,
        "Owner": "hadoop",
        "Retention": 0,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "PartitionKeys": [glue_column(column) for column in table.partition_columns],
        "StorageDescriptor": {
            "Columns": [glue_column(column) for column in table.columns],
            "Location": table.location or "",
            "InputFormat": storage.input_format,
            "OutputFormat": storage.output_format,
            "Compressed": False,
            "NumberOfBuckets": table.bucket_count or -1,
            "SerdeInfo": {
                "SerializationLibrary": storage.serde,
                "Parameters": {"serialization.format": "1"} | table.serde_properties,
            },
            "BucketColumns": table.bucket_columns,
            "SortColumns": [{"Column": name, "SortOrder": order} for name, order in table.sort_columns],
            "Parameters": {},
            "StoredAsSubDirectories": False,
        },
    }


def glue_column(column: ColumnDefinition) -> ColumnTypeDef:
    entry = {"Name": column.name, "Type": column.type.glue()}
    if column.comment is not None:
        entry["Comment"] = single_line(column.comment)
    return cast("ColumnTypeDef", entry)


def single_line(comment: str) -> str:
    """Glue's comments have no line breaks: any run of blanks becomes one blank."""
    return re.sub(r"\s+", " ", comment)


def _trino_column(column: ColumnDefinition) -> str:
    comment = f" COMMENT {trino_text.quote_text(single_line(column.comment))}" if column.comment else ""
    return f"{trino_text.quote_name(column.name)} {column.type.trino()}{comment}"


def _create_in_glue(context: Context, table: TableDefinition) -> Table:
    try:
        context.glue.create_table(
            DatabaseName=table.name.database, TableInput=glue_table_input(table, created=int(time.time()))
        )
    except ClientError as error:
        code = catalog.error_code(error)
        if code == "AlreadyExistsException" and not table.if_not_exists:
            message = f"AlreadyExistsException(message:Table {table.name.name} already exists)"
            raise catalog.execution_error(message) from error
        if code == "EntityNotFoundException":
            raise catalog.missing_database(table.name.database) from error
        if code != "AlreadyExistsException":
            raise
    return catalog.NOTHING
