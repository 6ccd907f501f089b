"""The second half of DESCRIBE FORMATTED and EXTENDED: where and how a Hive table or a partition is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.athena.language.tokens import TableName, escape

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import PartitionTypeDef, TableTypeDef

WIDTH = 20

Row = tuple[str, str, str]


def detail_rows(name: TableName, table: TableTypeDef, partition: PartitionTypeDef | None = None) -> list[Row]:
    """Labels and values as Hive prints them."""
    return [
        ("", " ", " "),
        *(_table_rows(name, table) if partition is None else _partition_rows(name, partition)),
        *_storage_rows(table if partition is None else partition),
    ]


def _table_rows(name: TableName, table: TableTypeDef) -> list[Row]:
    created = table.get("CreateTime")
    return [
        ("# Detailed Table Information", " ", " "),
        _row("Database:", name.database),
        _row("Owner:", table.get("Owner", "")),
        _row("CreateTime:", created.strftime("%a %b %d %H:%M:%S UTC %Y") if created else ""),
        _row("Retention:", str(table.get("Retention", 0))),
        _row("Location:", table.get("StorageDescriptor", {}).get("Location", "")),
        _row("Table Type:", table.get("TableType", "")),
        _row("Table Parameters:", ""),
        *_parameter_rows(table.get("Parameters", {})),
    ]


def _partition_rows(name: TableName, partition: PartitionTypeDef) -> list[Row]:
    return [
        ("# Detailed Partition Information", " ", " "),
        _row("Partition Value:", f"[{', '.join(partition['Values'])}]"),
        _row("Database:", name.database),
        _row("Table:", name.name),
        _row("Location:", partition.get("StorageDescriptor", {}).get("Location", "")),
        _row("Partition Parameters:", ""),
        *_parameter_rows(partition.get("Parameters", {})),
    ]


def _storage_rows(owner: TableTypeDef | PartitionTypeDef) -> list[Row]:
    storage = owner.get("StorageDescriptor", {})
    serde = storage.get("SerdeInfo", {})
    sorted_by = [column["Column"] for column in storage.get("SortColumns", [])]
    return [
        ("", " ", " "),
        ("# Storage Information", " ", " "),
        _row("SerDe Library:", serde.get("SerializationLibrary", "")),
        _row("InputFormat:", storage.get("InputFormat", "")),
        _row("OutputFormat:", storage.get("OutputFormat", "")),
        _row("Compressed:", "Yes" if storage.get("Compressed") else "No"),
        _row("Num Buckets:", str(storage.get("NumberOfBuckets", -1))),
        _row("Bucket Columns:", f"[{', '.join(storage.get('BucketColumns', []))}]"),
        _row("Sort Columns:", f"[{', '.join(sorted_by)}]"),
        _row("Storage Desc Params:", ""),
        *_parameter_rows(serde.get("Parameters", {})),
    ]


def _parameter_rows(parameters: dict[str, str]) -> list[Row]:
    return [("", key.ljust(WIDTH), escape(value).ljust(WIDTH)) for key, value in sorted(parameters.items())]


def _row(label: str, value: str) -> Row:
    return label.ljust(WIDTH), value.ljust(WIDTH), " "
