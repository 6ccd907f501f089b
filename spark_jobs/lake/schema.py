"""A table's definition as Iceberg's schema and partition, and how PyIceberg creates and evolves tables by it."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)
from sqlglot import exp

from spark_jobs.lake.tables import Table

_TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "commit.retry.num-retries": "10",
}
PARTITION_FIELD_ID = 1000  # where Iceberg begins to count them
_PLAIN = {
    exp.DataType.Type.TEXT: StringType(),
    exp.DataType.Type.INT: IntegerType(),
    exp.DataType.Type.BIGINT: LongType(),
    exp.DataType.Type.DOUBLE: DoubleType(),
    exp.DataType.Type.BOOLEAN: BooleanType(),
    exp.DataType.Type.BINARY: BinaryType(),
    exp.DataType.Type.DATE: DateType(),
    # Spark's TIMESTAMP is a moment.
    exp.DataType.Type.TIMESTAMP: TimestamptzType(),
    exp.DataType.Type.TIMESTAMPTZ: TimestamptzType(),
}


def ensure_table(catalog: Catalog, path: tuple[str, str], table: Table) -> None:
    """Create what is missing: database, table with every comment, columns that an earlier version lacked."""
    existing = _find_table(catalog, path)
    if existing is None:
        _create_table(catalog, path, table)
    _add_missing_columns(existing or catalog.load_table(path), table)


def _find_table(catalog: Catalog, path: tuple[str, str]) -> IcebergTable | None:
    try:
        return catalog.load_table(path)
    except NoSuchTableError:
        return None


def _create_table(catalog: Catalog, path: tuple[str, str], table: Table) -> None:
    catalog.create_namespace_if_not_exists(path[0])
    # Spark reads a table's comment in the one property, Glue in the other.
    comments = {"comment": table.comment, "Description": table.comment}
    with suppress(TableAlreadyExistsError):  # another job was faster
        catalog.create_table(
            path,
            to_iceberg_schema(table),
            partition_spec=to_partition_spec(table),
            properties=_TABLE_PROPERTIES | comments,
        )


def _add_missing_columns(loaded: IcebergTable, table: Table) -> None:
    """Columns that the definition has and the table has not, in the definition's order; old rows are null there."""
    existing = {field.name for field in loaded.schema().fields}
    if existing >= set(table.column_names):
        return
    with loaded.update_schema() as update:
        before = None
        for column in table.columns:
            if column.name not in existing:
                update.add_column(column.name, to_iceberg_type(column.type), doc=column.comment)
                if before is None:
                    update.move_first(column.name)
                else:
                    update.move_after(column.name, before)
            before = column.name


def to_iceberg_type(ddl: str) -> IcebergType:
    """Iceberg's type of one of Spark SQL; the ids of its fields are placeholders. Raises ValueError."""
    return _convert(_parse(ddl), count(1))


def to_iceberg_schema(table: Table) -> Schema:
    """Every column with its comment; none is required, what may be null is for the audit to say."""
    inner_ids = count(len(table.columns) + 1)
    fields = [
        NestedField(number, column.name, _convert(_parse(column.type), inner_ids), doc=column.comment, required=False)
        for number, column in enumerate(table.columns, start=1)
    ]
    return Schema(*fields)


def to_partition_spec(table: Table) -> PartitionSpec:
    """By the values of the table's date."""
    if table.partition is None:
        return PartitionSpec()
    source = table.column_names.index(table.partition) + 1
    return PartitionSpec(PartitionField(source, PARTITION_FIELD_ID, IdentityTransform(), table.partition))


def _parse(ddl: str) -> exp.DataType:
    return exp.DataType.build(ddl, dialect="spark")


def _convert(kind: exp.DataType, ids: count[int]) -> IcebergType:
    inner = kind.expressions
    if kind.this == exp.DataType.Type.STRUCT:
        return StructType(
            *[
                NestedField(
                    next(ids), field.name, _convert(field.args["kind"], ids), doc=_comment(field), required=False
                )
                for field in inner
            ]
        )
    if kind.this == exp.DataType.Type.ARRAY:
        return ListType(next(ids), _convert(inner[0], ids), element_required=False)
    if kind.this == exp.DataType.Type.MAP:
        return MapType(next(ids), _convert(inner[0], ids), next(ids), _convert(inner[1], ids), value_required=False)
    if kind.this == exp.DataType.Type.DECIMAL:
        precision, scale = (int(parameter.name) for parameter in inner)
        return DecimalType(precision, scale)
    if kind.this not in _PLAIN:
        raise ValueError(f"{kind.sql('spark')} has no type of Iceberg here; add it to spark_jobs/lake/schema.py")
    return _PLAIN[kind.this]


def _comment(field: exp.ColumnDef) -> str | None:
    comment = field.find(exp.CommentColumnConstraint)
    return comment.this.name if comment else None
