"""Partitions by name: the grammar of PARTITION (...), Hive's folder names, and a table's partitions in Glue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from infra.local.athena.language import catalog
from infra.local.athena.language.tokens import Cursor, TableName
from infra.local.athena.plan import Context, FailedStatementError
from infra.local.athena.s3_uri import split_uri

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import PartitionInputTypeDef, PartitionTypeDef, TableTypeDef

# Hive's FileUtils.escapePathName
ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | {chr(code) for code in range(1, 32)}
CREATE_BATCH = 100
DELETE_BATCH = 25


def read_spec(cursor: Cursor) -> dict[str, str]:
    """`PARTITION (a = 1, b = 'x')`: values as text, by column."""
    cursor.expect("PARTITION")
    return dict(cursor.several(lambda: _read_value(cursor)))


def spec_values(table: TableTypeDef, spec: Mapping[str, str]) -> list[str]:
    """The values in the order of the table's keys. Raises FailedStatementError unless each key has one."""
    keys = catalog.partition_names_of(table)
    if set(keys) != set(spec):
        raise FailedStatementError(
            "FAILED: SemanticException partition spec "
            f"{{{', '.join(f'{key}={value}' for key, value in spec.items())}}} doesn't contain all "
            f"({len(keys)}) partition columns",
            2,
            catalog.EXECUTION_CODE,
        )
    return [spec[key] for key in keys]


def partition_path(keys: Sequence[str], values: Sequence[str]) -> str:
    """`a=1/b=2`, with what a folder name cannot hold escaped as %XX."""
    return "/".join(f"{escape(key)}={escape(value)}" for key, value in zip(keys, values, strict=True))


def escape(text: str) -> str:
    return "".join(f"%{ord(letter):02X}" if letter in ESCAPED else letter for letter in text)


def partition_input(table: TableTypeDef, values: Sequence[str], location: str | None = None) -> PartitionInputTypeDef:
    """The table's storage at a place of its own."""
    keys = catalog.partition_names_of(table)
    place = location or f"{catalog.location_of(table).rstrip('/')}/{partition_path(keys, values)}"
    storage = catalog.storage_of(table) | {"Location": place}
    return cast("PartitionInputTypeDef", {"Values": list(values), "StorageDescriptor": storage, "Parameters": {}})


def list_partitions(context: Context, name: TableName) -> Iterator[PartitionTypeDef]:
    pages = context.glue.get_paginator("get_partitions").paginate(DatabaseName=name.database, TableName=name.name)
    for page in pages:
        yield from page["Partitions"]


def create_partitions(
    context: Context, name: TableName, entries: Sequence[PartitionInputTypeDef], if_not_exists: bool
) -> None:
    """Raises FailedStatementError when one exists already, unless that is allowed."""
    for start in range(0, len(entries), CREATE_BATCH):
        answer = context.glue.batch_create_partition(
            DatabaseName=name.database, TableName=name.name, PartitionInputList=entries[start : start + CREATE_BATCH]
        )
        for failure in answer.get("Errors", []):
            detail = failure.get("ErrorDetail", {})
            if detail.get("ErrorCode") == "AlreadyExistsException" and if_not_exists:
                continue
            raise catalog.execution_error(f"{detail.get('ErrorCode')}(message:{detail.get('ErrorMessage')})")


def delete_partitions(context: Context, name: TableName, partitions: Sequence[Sequence[str]]) -> None:
    for start in range(0, len(partitions), DELETE_BATCH):
        batch: Any = [{"Values": list(values)} for values in partitions[start : start + DELETE_BATCH]]
        context.glue.batch_delete_partition(DatabaseName=name.database, TableName=name.name, PartitionsToDelete=batch)


def partition_folders(context: Context, location: str, keys: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Values and place of the folders `a=1/b=2/` below a table's location; a key in capitals is none, as in Athena."""
    bucket, prefix = split_uri(location)
    found: list[tuple[str, list[str]]] = [(prefix.rstrip("/") + "/", [])]
    for key in keys:
        found = [
            (folder, [*values, value])
            for parent, values in found
            for folder, value in _folders_of_key(context, bucket, parent, key)
        ]
    return {tuple(values): f"s3://{bucket}/{folder.rstrip('/')}" for folder, values in found}


def _folders_of_key(context: Context, bucket: str, parent: str, key: str) -> Iterator[tuple[str, str]]:
    pages = context.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=parent, Delimiter="/")
    for page in pages:
        for entry in page.get("CommonPrefixes", []):
            folder = entry["Prefix"]
            column, mark, value = folder[len(parent) :].rstrip("/").partition("=")
            if mark and unquote(column) == key:
                yield folder, unquote(value)


def _read_value(cursor: Cursor) -> tuple[str, str]:
    column = cursor.name()
    cursor.expect("=")
    if cursor.is_string():
        return column, cursor.string()
    sign = "-" if cursor.take("-") else ""
    # DATE '2020-01-01' is written with its type, too.
    if not sign and cursor.take("DATE"):
        return column, cursor.string()
    return column, sign + cursor.next_token().text
