"""What goes to Trino as it is: SELECT, INSERT, UPDATE, DELETE, MERGE, EXPLAIN and Trino's own SHOW statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.local.athena.language import catalog
from infra.local.athena.language.compression import TRINO_CODECS
from infra.local.athena.language.tokens import Cursor, TrinoTokenizer
from infra.local.athena.plan import Column, Context, Output, Plan, StatementError, Table, TrinoStep

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import TableTypeDef

COMPRESSION_PROPERTIES = ("write.compression", "parquet.compress", "parquet.compression", "orc.compress")


def plan_select(sql: str, _: Context) -> Plan:
    return Plan("DML", "SELECT", (TrinoStep(sql),), Output.ROWS)


def plan_insert(sql: str, context: Context) -> Plan:
    """The manifest lists what is new below a Hive table's location; Athena writes none for an Iceberg table."""
    table = _insert_target(sql, context)
    if table is None or catalog.is_iceberg(table) or not catalog.location_of(table):
        return Plan("DML", "INSERT", (TrinoStep(sql),), Output.FILES)
    step = TrinoStep(sql, session=_compression_of(table))
    return Plan("DML", "INSERT", (step,), Output.FILES, written_location=catalog.location_of(table).rstrip("/") + "/")


def plan_update(sql: str, _: Context) -> Plan:
    return Plan("DML", "UPDATE", (TrinoStep(sql),), Output.ROWS)


def plan_delete(sql: str, _: Context) -> Plan:
    return Plan("DML", "DELETE", (TrinoStep(sql),), Output.ROWS)


def plan_merge(sql: str, _: Context) -> Plan:
    return Plan("DML", "MERGE", (TrinoStep(sql),), Output.ROWS)


def plan_explain(sql: str, _: Context) -> Plan:
    return Plan("DML", "EXPLAIN", (TrinoStep(sql),), Output.TEXT, rewrite=split_explanation)


def plan_show_functions(sql: str, _: Context) -> Plan:
    return Plan("UTILITY", "SHOW_FUNCTIONS", (TrinoStep(sql),), Output.ROWS)


def plan_utility(sql: str, _: Context) -> Plan:
    """A statement that Athena has no name for: Trino judges it."""
    return Plan("UTILITY", None, (TrinoStep(sql),), Output.TEXT)


def split_explanation(columns: Sequence[Column], rows: Sequence[Sequence[str | None]]) -> Table:
    """One row for each line of the plan, with the line feed that Athena adds to it."""
    lines = [line for row in rows for line in f"{row[0] or ''}\n".split("\n")]
    return Table(tuple(columns), tuple((line,) for line in lines))


def _insert_target(sql: str, context: Context) -> TableTypeDef | None:
    cursor = Cursor(sql, TrinoTokenizer)
    try:
        cursor.expect("INSERT", "INTO")
        return catalog.find_table(context, cursor.table_name(context.database))
    except StatementError:
        return None


def _compression_of(table: TableTypeDef) -> dict[str, str]:
    """The session property for the codec that the table's properties name."""
    names = [table.get("Parameters", {}).get(key, "").upper() for key in COMPRESSION_PROPERTIES]
    codecs = [TRINO_CODECS[name] for name in names if name in TRINO_CODECS]
    return {"awsdatacatalog.compression_codec": codecs[0]} if codecs else {}
