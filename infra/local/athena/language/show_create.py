"""SHOW CREATE TABLE and SHOW CREATE VIEW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infra.local.athena.language import catalog
from infra.local.athena.language.column_types import iceberg_type_text
from infra.local.athena.language.describe import current_schema, partition_fields, view_definition
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName, TrinoTokenizer, escape
from infra.local.athena.plan import Column, Context, Output, Plan, Table

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import ColumnTypeDef, TableTypeDef

SHOWN_ICEBERG_PREFIXES = ("vacuum_", "optimize_", "write_")
ICEBERG_CODEC = "write.{}.compression-codec"


def plan_show_create_table(sql: str, context: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW", "CREATE", "TABLE")
    name = cursor.table_name(context.database)
    cursor.end()
    step = catalog.step(lambda context: _show_table(context, name))
    return Plan("UTILITY", "SHOW_CREATE_TABLE", (step,), Output.TEXT)


def plan_show_create_view(sql: str, context: Context) -> Plan:
    """The name in double quotes or backticks."""
    cursor = Cursor(sql, TrinoTokenizer)
    cursor.expect("SHOW", "CREATE", "VIEW")
    name = cursor.table_name(context.database)
    cursor.end()
    step = catalog.step(lambda context: _show_view(context, name))
    return Plan("UTILITY", "SHOW_CREATE_VIEW", (step,), Output.TEXT)


def hive_create_statement(table: TableTypeDef) -> list[str]:
    """The lines of CREATE EXTERNAL TABLE, with the blanks that Hive leaves at their ends."""
    storage = catalog.storage_of(table)
    serde = storage.get("SerdeInfo", {})
    parameters = dict(table.get("Parameters", {}))
    external = parameters.pop("EXTERNAL", "").upper() == "TRUE" or table.get("TableType") == "EXTERNAL_TABLE"
    comment = parameters.pop("comment", None)
    keys = catalog.partition_keys_of(table)
    return [
        f"CREATE {'EXTERNAL ' if external else ''}TABLE `{table['Name']}`(",
        *_listed(_column_text(column) for column in catalog.columns_of(table)),
        *([f"COMMENT {_quoted(comment)}"] if comment else []),
        *(["PARTITIONED BY ( ", *_listed(_column_text(column) for column in keys)] if keys else []),
        *_bucket_lines(storage),
        "ROW FORMAT SERDE ",
        f"  {_quoted(serde.get('SerializationLibrary', ''))} ",
        *_serde_property_lines(serde.get("Parameters", {})),
        "STORED AS INPUTFORMAT ",
        f"  {_quoted(storage.get('InputFormat', ''))} ",
        "OUTPUTFORMAT ",
        f"  {_quoted(storage.get('OutputFormat', ''))}",
        "LOCATION",
        f"  {_quoted(storage.get('Location', ''))}",
        "TBLPROPERTIES (",
        *_listed(_property_texts(parameters)),
    ]


def iceberg_create_statement(name: TableName, metadata: Mapping[str, Any]) -> list[str]:
    """The lines of CREATE TABLE as they would make this table again."""
    columns = [
        f"  {field['name']} {iceberg_type_text(field['type']).replace(', ', ',').replace(': ', ':')}"
        + (f" COMMENT {_quoted(field['doc'])}" if field.get("doc") else "")
        for field in current_schema(metadata)
    ]
    transforms = [f"`{_transform_text(*field[1:])}`" for field in partition_fields(metadata)]
    return [
        f"CREATE TABLE {name} (",
        *(line + "," for line in columns[:-1]),
        *(line + ")" for line in columns[-1:]),
        *([f"PARTITIONED BY ({', '.join(transforms)})"] if transforms else []),
        f"LOCATION {_quoted(metadata['location'])}",
        "TBLPROPERTIES (",
        *_properties_of_iceberg(metadata.get("properties", {})),
        ");",
    ]


def _show_table(context: Context, name: TableName) -> Table:
    table = catalog.require_table(context, name)
    if catalog.is_view(table):
        raise catalog.execution_error(f"{name} is a view: write SHOW CREATE VIEW")
    if catalog.is_iceberg(table):
        lines = iceberg_create_statement(name, catalog.read_iceberg_metadata(context, table))
    else:
        lines = hive_create_statement(table)
    return _lines(Column("createtab_stmt", "string"), lines)


def _show_view(context: Context, name: TableName) -> Table:
    table = catalog.require_table(context, name)
    if not catalog.is_view(table):
        raise catalog.execution_error(f"{name} is not a view")
    query = view_definition(table).get("originalSql") or table.get("ViewOriginalText", "")
    return _lines(Column("create view", "varchar"), [f"CREATE VIEW {name} AS", *str(query).rstrip("\n").split("\n")])


def _lines(column: Column, lines: Iterable[str]) -> Table:
    return Table((column,), tuple((line,) for line in lines))


def _listed(items: Iterable[str]) -> list[str]:
    """Indented, a comma and a blank after each but the last, which closes the parenthesis."""
    lines = [f"  {item}" for item in items]
    return [f"{line}, " for line in lines[:-1]] + [f"{line})" for line in lines[-1:]]


def _column_text(column: ColumnTypeDef) -> str:
    comment = f" COMMENT {_quoted(column['Comment'])}" if column.get("Comment") else ""
    return f"`{column['Name']}` {column.get('Type', '')}{comment}"


def _bucket_lines(storage: Mapping[str, Any]) -> list[str]:
    columns: Sequence[str] = storage.get("BucketColumns") or []
    if not columns:
        return []
    order = {1: "ASC", 0: "DESC"}
    sorting = [f"{column['Column']} {order[column['SortOrder']]}" for column in storage.get("SortColumns") or []]
    return [
        "CLUSTERED BY ( ",
        *_listed(columns),
        *(["SORTED BY ( ", *_listed(sorting)] if sorting else []),
        f"INTO {storage.get('NumberOfBuckets')} BUCKETS",
    ]


def _serde_property_lines(parameters: Mapping[str, str]) -> list[str]:
    """Nothing for what every serde has."""
    if set(parameters.items()) <= {("serialization.format", "1")}:
        return []
    lines = _listed(_property_texts(parameters))
    return ["WITH SERDEPROPERTIES ( ", *lines[:-1], lines[-1] + " "]


def _property_texts(parameters: Mapping[str, str]) -> list[str]:
    return [f"{_quoted(key)}={_quoted(value)}" for key, value in sorted(parameters.items())]


def _properties_of_iceberg(properties: Mapping[str, str]) -> list[str]:
    file_format = properties.get("write.format.default", "parquet").lower()
    shown = {"table_type": "iceberg", "format": file_format}
    codec = properties.get(ICEBERG_CODEC.format(file_format))
    if codec:
        shown["write_compression"] = codec.lower()
    shown |= {key: value for key, value in properties.items() if key.startswith(SHOWN_ICEBERG_PREFIXES)}
    texts = [f"  {_quoted(key)}={_quoted(value)}" for key, value in shown.items()]
    return [text + "," for text in texts[:-1]] + texts[-1:]


def _transform_text(transform: str, column: str) -> str:
    """`bucket[16]` of `id` is `bucket(16, id)` in Athena's DDL."""
    if transform == "identity":
        return column
    name, mark, size = transform.rstrip("]").partition("[")
    return f"{name}({size}, {column})" if mark else f"{name}({column})"


def _quoted(text: str) -> str:
    return f"'{escape(text)}'"
