"""What the Glue catalog says about a table, and how its errors read."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.athena.language.tokens import TableName
from infra.local.athena.plan import (
    Context,
    FailedStatementError,
    GlueStep,
    Output,
    Plan,
    StatementError,
    Step,
    Table,
)
from infra.local.athena.s3_uri import split_uri

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import ColumnTypeDef, TableInputTypeDef, TableTypeDef

NOTHING = Table((), ())
EXECUTION_ERROR = "FAILED: Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. "
NOT_FOUND_CODE = 1301
NOT_SUPPORTED_CODE = 1200
EXECUTION_CODE = 1100
TABLE_INPUT_KEYS = (
    "Name",
    "Description",
    "Owner",
    "LastAccessTime",
    "LastAnalyzedTime",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
    "TargetTable",
)


def find_table(context: Context, name: TableName) -> TableTypeDef | None:
    """None when the table or its database does not exist, or cannot exist by such a name."""
    try:
        return context.glue.get_table(DatabaseName=name.database, Name=name.name)["Table"]
    except ClientError as error:
        if error_code(error) in ("EntityNotFoundException", "InvalidInputException", "ValidationException"):
            return None
        raise


def require_table(context: Context, name: TableName) -> TableTypeDef:
    """Raises FailedStatementError for a missing table."""
    table = find_table(context, name)
    if table is None:
        raise missing_table(name)
    return table


def require_hive_table(context: Context, name: TableName) -> TableTypeDef:
    """Raises FailedStatementError for a missing table, for an Iceberg table and for a view."""
    table = require_table(context, name)
    if is_iceberg(table):
        raise unsupported_on_iceberg()
    if is_view(table):
        raise execution_error(f"{name} is a view, not a table")
    return table


def check_described_table(context: Context, name: TableName) -> TableTypeDef:
    """DESCRIBE and SHOW COLUMNS look before they start. Raises StatementError for a missing table."""
    table = find_table(context, name)
    if table is None:
        raise StatementError(
            "Entity Not Found (Service: AmazonDataCatalog; Status Code: 400; Error Code: EntityNotFoundException; "
            f"Request ID: {context.query_id}; Proxy: null)"
        )
    return table


def error_code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def missing_table(name: TableName) -> FailedStatementError:
    return FailedStatementError(f"FAILED: SemanticException [Error 10001]: Table not found {name}", 2, NOT_FOUND_CODE)


def missing_database(name: str) -> FailedStatementError:
    return FailedStatementError(
        f"FAILED: SemanticException [Error 10072]: Database does not exist: {name}", 2, NOT_FOUND_CODE
    )


def unsupported_on_iceberg() -> FailedStatementError:
    return FailedStatementError("Query type not supported by Athena Iceberg at this time", 2, NOT_SUPPORTED_CODE)


def execution_error(message: str) -> FailedStatementError:
    """A statement that Hive's DDL task refuses."""
    return FailedStatementError(EXECUTION_ERROR + message, 2, EXECUTION_CODE)


def step(run: Callable[[Context], Table]) -> GlueStep:
    """A step whose failed calls end the query with what Glue or S3 said."""

    def run_and_explain(context: Context) -> Table:
        try:
            return run(context)
        except (ClientError, BotoCoreError) as error:
            raise execution_error(f"MetaException(message:{error})") from error

    return GlueStep(run_and_explain)


def fail(error: FailedStatementError) -> GlueStep:
    """A step that fails: what is known when the statement is planned, its client hears when the query runs."""

    def run(_: Context) -> Table:
        raise error

    return GlueStep(run)


def ddl(substatement: str, *steps: Step) -> Plan:
    """A DDL plan without rows; without steps it does nothing."""
    return Plan("DDL", substatement, steps or (GlueStep(lambda _: NOTHING),), Output.TEXT)


def is_iceberg(table: TableTypeDef) -> bool:
    return table.get("Parameters", {}).get("table_type", "").upper() == "ICEBERG"


def is_view(table: TableTypeDef) -> bool:
    return table.get("TableType") == "VIRTUAL_VIEW"


def storage_of(table: TableTypeDef) -> dict[str, Any]:
    """Columns, place and format; empty for a view."""
    return dict(table.get("StorageDescriptor", {}))


def location_of(table: TableTypeDef) -> str:
    """Where the table's files are; empty for a view."""
    return str(storage_of(table).get("Location", ""))


def columns_of(table: TableTypeDef) -> list[ColumnTypeDef]:
    """Without the partition columns."""
    return cast("list[ColumnTypeDef]", list(storage_of(table).get("Columns", [])))


def partition_keys_of(table: TableTypeDef) -> list[ColumnTypeDef]:
    return cast("list[ColumnTypeDef]", list(table.get("PartitionKeys", [])))


def partition_names_of(table: TableTypeDef) -> list[str]:
    return [key["Name"] for key in partition_keys_of(table)]


def table_input(table: TableTypeDef, **changes: Any) -> TableInputTypeDef:
    """What update_table takes, of what get_table gives."""
    kept = {key: value for key, value in table.items() if key in TABLE_INPUT_KEYS}
    return cast("TableInputTypeDef", kept | changes)


def update_table(context: Context, name: TableName, table: TableTypeDef, **changes: Any) -> None:
    context.glue.update_table(DatabaseName=name.database, TableInput=table_input(table, **changes))


def delete_table(context: Context, name: TableName) -> None:
    """Only the catalog's entry: the files stay. A table that is gone already is no error."""
    try:
        context.glue.delete_table(DatabaseName=name.database, Name=name.name)
    except ClientError as error:
        if error_code(error) != "EntityNotFoundException":
            raise


def list_tables(context: Context, database: str) -> Iterator[TableTypeDef]:
    """Tables and views. Raises FailedStatementError for a missing database."""
    try:
        for page in context.glue.get_paginator("get_tables").paginate(DatabaseName=database):
            yield from page["TableList"]
    except ClientError as error:
        if error_code(error) == "EntityNotFoundException":
            raise missing_database(database) from error
        raise


def matches_pattern(name: str, pattern: str | None) -> bool:
    """`pattern` as in SHOW ... LIKE: a regular expression in which `*` stands for any text and `|` for "or".

    Raises FailedStatementError when it is none.
    """
    if pattern is None:
        return True
    expression = re.sub(r"(?<!\.)\*", ".*", pattern)
    try:
        return re.fullmatch(expression, name, re.IGNORECASE) is not None
    except re.error as error:
        raise execution_error(f"MetaException(message: invalid pattern '{pattern}': {error})") from error


def has_files(context: Context, location: str) -> bool:
    """Whether any object is below this place."""
    bucket, key = split_uri(location)
    prefix = f"{key.rstrip('/')}/" if key else ""
    return bool(context.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount", 0))


def check_empty(context: Context, location: str, table: TableName) -> None:
    """Raises FailedStatementError when the location holds any object."""
    if has_files(context, location):
        raise FailedStatementError(
            f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{table}' already exists: {location}. You may need "
            f"to manually clean the data at location '{context.output_location}tables/{context.query_id}' before "
            "retrying. Athena will not delete data in your account.",
            2,
            EXECUTION_CODE,
        )


def read_iceberg_metadata(context: Context, table: TableTypeDef) -> Mapping[str, Any]:
    """The current metadata file of an Iceberg table. Raises FailedStatementError when it cannot be read."""
    location = table.get("Parameters", {}).get("metadata_location", "")
    bucket, key = split_uri(location)
    try:
        raw = context.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        text = gzip.decompress(raw) if key.endswith(".gz.metadata.json") else raw
        return cast("Mapping[str, Any]", json.loads(text))
    except (ClientError, BotoCoreError, OSError, ValueError) as error:
        raise FailedStatementError(
            f"ICEBERG_INVALID_METADATA: Cannot read {location}: {error}", 2, EXECUTION_CODE
        ) from error
