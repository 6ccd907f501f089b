"""The grammar of CREATE [EXTERNAL] TABLE without a query."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local.athena.language.column_types import ColumnType, read_type
from infra.local.athena.language.storage_formats import FORMATS, TEXT, StorageFormat, text_format_for
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.language.trino_text import quote_name
from infra.local.athena.plan import StatementError

NO_LOCATION = "No location was specified for table. An S3 location must be specified"
SIZED_TRANSFORMS = ("bucket", "truncate")
TIME_TRANSFORMS = ("year", "month", "day", "hour")


@dataclass(frozen=True)
class ColumnDefinition:
    name: str
    type: ColumnType
    comment: str | None = None


@dataclass
class TableDefinition:
    """`partition_transforms` are Iceberg's partition fields in Trino's spelling; a Hive table has `partition_columns`
    instead. `serde_properties` is what ROW FORMAT says."""

    name: TableName
    external: bool
    if_not_exists: bool
    columns: list[ColumnDefinition] = field(default_factory=list)
    comment: str | None = None
    partition_columns: list[ColumnDefinition] = field(default_factory=list)
    partition_transforms: list[str] = field(default_factory=list)
    bucket_columns: list[str] = field(default_factory=list)
    sort_columns: list[tuple[str, int]] = field(default_factory=list)
    bucket_count: int | None = None
    serde: str | None = None
    stored_as: StorageFormat | None = None
    serde_properties: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def is_iceberg(self) -> bool:
        return self.properties.get("table_type", "").upper() == "ICEBERG"

    @property
    def storage_format(self) -> StorageFormat:
        if self.serde is None:
            return self.stored_as or TEXT
        stored = self.stored_as or text_format_for(self.serde)
        return StorageFormat(self.serde, stored.input_format, stored.output_format)


def read_table_definition(cursor: Cursor, default_database: str) -> TableDefinition:
    """Raises StatementError where Hive's grammar ends or the location is missing."""
    cursor.expect("CREATE")
    external = cursor.take("EXTERNAL")
    cursor.expect("TABLE")
    if_not_exists = cursor.take("IF", "NOT", "EXISTS")
    table = TableDefinition(cursor.table_name(default_database), external, if_not_exists)
    if cursor.at("("):
        table.columns = cursor.several(lambda: read_column(cursor))
    while cursor.peek() is not None:
        _read_clause(cursor, table)
    _check(table)
    return table


def read_column(cursor: Cursor) -> ColumnDefinition:
    """`name type [COMMENT 'text']`."""
    name, kind = cursor.name(), read_type(cursor)
    return ColumnDefinition(name, kind, cursor.string() if cursor.take("COMMENT") else None)


def partition_transform(function: str, arguments: list[str]) -> str:
    """`bucket(16, id)` or `bucket(id, 16)` as Trino writes it: the column first."""
    columns = [partition_name(argument) for argument in arguments if not argument.isdecimal()]
    return f"{function}({', '.join(columns + [argument for argument in arguments if argument.isdecimal()])})"


def partition_name(column: str) -> str:
    """A column within Trino's `partitioning`, quoted where it must be."""
    return column if re.fullmatch("[a-z_][a-z0-9_]*", column) else quote_name(column)


def _check(table: TableDefinition) -> None:
    if table.is_iceberg and table.external:
        raise StatementError("External keyword not supported for table type ICEBERG")
    if table.is_iceberg and (table.stored_as or table.serde):
        raise StatementError("Iceberg create table statement does not allow STORED AS/BY")
    if not table.location:
        raise StatementError(NO_LOCATION)
    if not table.is_iceberg and not table.external:
        raise StatementError("Only external tables and tables with the property 'table_type'='ICEBERG' can be created")
    if not table.is_iceberg and table.partition_transforms:
        raise StatementError("Partition columns of an external table need a type")
    if table.is_iceberg and table.partition_columns:
        raise StatementError("Partition columns of an Iceberg table are columns of the table and have no type")


def _read_clause(cursor: Cursor, table: TableDefinition) -> None:
    for words, read in CLAUSES.items():
        if cursor.take(*words):
            read(cursor, table)
            return
    cursor.end()


def _read_comment(cursor: Cursor, table: TableDefinition) -> None:
    table.comment = cursor.string()


def _read_location(cursor: Cursor, table: TableDefinition) -> None:
    table.location = cursor.string()


def _read_properties(cursor: Cursor, table: TableDefinition) -> None:
    table.properties = cursor.properties()


def _read_partitioning(cursor: Cursor, table: TableDefinition) -> None:
    for item in cursor.several(lambda: _read_partition_item(cursor)):
        if isinstance(item, str):
            table.partition_transforms.append(item)
        else:
            table.partition_columns.append(item)


def _read_partition_item(cursor: Cursor) -> ColumnDefinition | str:
    start, name = cursor.position, cursor.name()
    if "(" in name:  # `bucket(16, id)` in backticks, as SHOW CREATE TABLE writes it
        return _read_partition_item(Cursor(name, HiveTokenizer))
    if cursor.at(",") or cursor.at(")"):
        return partition_name(name)
    if cursor.at("(") and name in SIZED_TRANSFORMS + TIME_TRANSFORMS:
        return partition_transform(name, cursor.several(lambda: _read_argument(cursor)))
    cursor.position = start
    return read_column(cursor)


def _read_argument(cursor: Cursor) -> str:
    return str(cursor.integer()) if cursor.is_integer() else cursor.name()


def _read_buckets(cursor: Cursor, table: TableDefinition) -> None:
    table.bucket_columns = cursor.several(cursor.name)
    if cursor.take("SORTED", "BY"):
        table.sort_columns = cursor.several(lambda: _read_sort_column(cursor))
    cursor.expect("INTO")
    table.bucket_count = cursor.integer()
    cursor.expect("BUCKETS")


def _read_sort_column(cursor: Cursor) -> tuple[str, int]:
    """The column and 1 for ascending, 0 for descending, as Glue counts."""
    name = cursor.name()
    if cursor.take("DESC"):
        return name, 0
    cursor.take("ASC")
    return name, 1


def _read_serde(cursor: Cursor, table: TableDefinition) -> None:
    table.serde = cursor.string()
    if cursor.take("WITH", "SERDEPROPERTIES"):
        table.serde_properties = cursor.properties()


def _read_serde_properties(cursor: Cursor, table: TableDefinition) -> None:
    table.serde_properties |= cursor.properties()


def _read_delimiters(cursor: Cursor, table: TableDefinition) -> None:
    found = table.serde_properties
    if cursor.take("FIELDS", "TERMINATED", "BY"):
        found["field.delim"] = found["serialization.format"] = cursor.string()
        if cursor.take("ESCAPED", "BY"):
            found["escape.delim"] = cursor.string()
    for words, key in DELIMITERS.items():
        if cursor.take(*words):
            found[key] = cursor.string()


def _read_file_format(cursor: Cursor, table: TableDefinition) -> None:
    if cursor.take("INPUTFORMAT"):
        input_format = cursor.string()
        cursor.expect("OUTPUTFORMAT")
        table.stored_as = StorageFormat(TEXT.serde, input_format, cursor.string())
        return
    name = cursor.name().upper()
    if name not in FORMATS:
        cursor.position -= 1
        raise cursor.mismatch(*FORMATS)
    table.stored_as = FORMATS[name]


DELIMITERS = {
    ("COLLECTION", "ITEMS", "TERMINATED", "BY"): "collection.delim",
    ("MAP", "KEYS", "TERMINATED", "BY"): "mapkey.delim",
    ("LINES", "TERMINATED", "BY"): "line.delim",
    ("NULL", "DEFINED", "AS"): "serialization.null.format",
}
CLAUSES: dict[tuple[str, ...], Callable[[Cursor, TableDefinition], None]] = {
    ("COMMENT",): _read_comment,
    ("PARTITIONED", "BY"): _read_partitioning,
    ("CLUSTERED", "BY"): _read_buckets,
    ("ROW", "FORMAT", "SERDE"): _read_serde,
    ("ROW", "FORMAT", "DELIMITED"): _read_delimiters,
    ("STORED", "AS"): _read_file_format,
    ("WITH", "SERDEPROPERTIES"): _read_serde_properties,
    ("LOCATION",): _read_location,
    ("TBLPROPERTIES",): _read_properties,
}
