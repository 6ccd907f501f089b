"""ALTER TABLE: of a Hive table in Glue, of an Iceberg table as statements for Trino."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.local.athena.language import alter_iceberg, catalog, partitions
from infra.local.athena.language.create_table import glue_column
from infra.local.athena.language.partition_specs import list_partitions, partition_input, read_spec, spec_values
from infra.local.athena.language.table_definition import ColumnDefinition, read_column
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Context, FailedStatementError, Plan, StatementError, Table

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import ColumnTypeDef, TableTypeDef

NOT_IN_HIVE_CODE = 1006
Change = Callable[["TableTypeDef"], dict[str, object]]


@dataclass(frozen=True)
class Alteration:
    """Cursor after the table's name; `spec` is the partition that is named before the action."""

    cursor: Cursor
    name: TableName
    spec: dict[str, str] | None
    context: Context

    def iceberg_table(self) -> TableTypeDef | None:
        table = catalog.find_table(self.context, self.name)
        return table if table is not None and catalog.is_iceberg(table) else None


def plan_alter_table(sql: str, context: Context) -> Plan:
    """Raises StatementError."""
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("ALTER", "TABLE")
    name = cursor.table_name(context.database)
    spec = read_spec(cursor) if cursor.at("PARTITION") else None
    alteration = Alteration(cursor, name, spec, context)
    for words, plan in ACTIONS.items():
        if cursor.take(*words):
            if spec is not None and plan not in (_rename, _set_location):
                raise StatementError(f"{' '.join(words)} of one partition is not served on one machine")
            return plan(alteration)
    raise cursor.unrecognized("alter table statement")


def _add_partition(alteration: Alteration) -> Plan:
    return partitions.plan_add(alteration.cursor, alteration.name)


def _drop_partition(alteration: Alteration) -> Plan:
    return partitions.plan_drop(alteration.cursor, alteration.name)


def _rename(alteration: Alteration) -> Plan:
    if alteration.spec is not None:
        return partitions.plan_rename(alteration.cursor, alteration.name, alteration.spec)
    renamed = alteration.cursor.table_name(alteration.name.database)
    alteration.cursor.end()
    if alteration.iceberg_table() is not None:
        return alter_iceberg.plan("ALTER_TABLE_RENAME", alter_iceberg.rename(alteration.name, renamed))
    return catalog.ddl("ALTER_TABLE_RENAME", catalog.step(lambda context: _refuse_rename(context, alteration.name)))


def _add_columns(alteration: Alteration) -> Plan:
    columns = alteration.cursor.several(lambda: read_column(alteration.cursor))
    alteration.cursor.end()
    if alteration.iceberg_table() is not None:
        return alter_iceberg.plan("ALTER_TABLE_ADD_COLUMN", *alter_iceberg.add_columns(alteration.name, columns))
    added = [glue_column(column) for column in columns]
    return _change_columns("ALTER_TABLE_ADD_COLUMN", alteration, lambda existing: existing + added)


def _replace_columns(alteration: Alteration) -> Plan:
    columns = alteration.cursor.several(lambda: read_column(alteration.cursor))
    alteration.cursor.end()
    replaced = [glue_column(column) for column in columns]
    return _change_columns("ALTER_TABLE_REPLACE_COLUMN", alteration, lambda _: replaced)


def _change_column(alteration: Alteration) -> Plan:
    """`[COLUMN] old new type [COMMENT '...'] [FIRST | AFTER column]`."""
    cursor = alteration.cursor
    cursor.take("COLUMN")
    old, column = cursor.name(), read_column(cursor)
    first = cursor.take("FIRST")
    after = cursor.name() if cursor.take("AFTER") else None
    cursor.end()
    table = alteration.iceberg_table()
    if table is not None and (first or after):
        error = FailedStatementError(
            "NOT_SUPPORTED: Columns of an Iceberg table keep their order", 2, catalog.NOT_SUPPORTED_CODE
        )
        return catalog.ddl("ALTER_TABLE_CHANGE_COLUMN", catalog.fail(error))
    if table is not None:
        steps = alter_iceberg.change_column(alteration.name, table, old, column)
        return alter_iceberg.plan("ALTER_TABLE_CHANGE_COLUMN", *steps)
    return _change_columns(
        "ALTER_TABLE_CHANGE_COLUMN", alteration, lambda existing: _changed(existing, old, column, first, after)
    )


def _drop_column(alteration: Alteration) -> Plan:
    line, place = alteration.cursor.line_and_column(-1)
    column = alteration.cursor.name()
    alteration.cursor.end()
    if alteration.iceberg_table() is not None:
        return alter_iceberg.plan("ALTER_TABLE_DROP_COLUMN", alter_iceberg.drop_column(alteration.name, column))
    reason = f"FAILED: ParseException line {line}:{place} mismatched input 'COLUMN' expecting PARTITION"
    return catalog.ddl("ALTER_TABLE_DROP_COLUMN", catalog.fail(FailedStatementError(reason, 2, NOT_IN_HIVE_CODE)))


def _set_properties(alteration: Alteration) -> Plan:
    properties = alteration.cursor.properties()
    alteration.cursor.end()
    if alteration.iceberg_table() is not None:
        step = alter_iceberg.set_properties(alteration.name, properties)
        return alter_iceberg.plan("ALTER_TABLE_PROPERTIES", *step)
    return _change_table(
        "ALTER_TABLE_PROPERTIES",
        alteration,
        lambda table: {"Parameters": dict(table.get("Parameters", {})) | properties},
    )


def _set_location(alteration: Alteration) -> Plan:
    location = alteration.cursor.string()
    alteration.cursor.end()
    spec = alteration.spec
    if spec is not None:
        step = catalog.step(lambda context: _move_partition(context, alteration.name, spec, location))
        return catalog.ddl("ALTER_TABLE_SET_LOCATION", step)
    return _change_table(
        "ALTER_TABLE_SET_LOCATION",
        alteration,
        lambda table: {"StorageDescriptor": catalog.storage_of(table) | {"Location": location}},
    )


def _change_table(substatement: str, alteration: Alteration, change: Change) -> Plan:
    name = alteration.name

    def run(context: Context) -> Table:
        table = catalog.require_hive_table(context, name)
        catalog.update_table(context, name, table, **change(table))
        return catalog.NOTHING

    return catalog.ddl(substatement, catalog.step(run))


def _change_columns(
    substatement: str, alteration: Alteration, change: Callable[[list[ColumnTypeDef]], list[ColumnTypeDef]]
) -> Plan:
    def changed(table: TableTypeDef) -> dict[str, object]:
        return {"StorageDescriptor": catalog.storage_of(table) | {"Columns": change(catalog.columns_of(table))}}

    return _change_table(substatement, alteration, changed)


def _changed(
    existing: list[ColumnTypeDef], old: str, column: ColumnDefinition, first: bool, after: str | None
) -> list[ColumnTypeDef]:
    """Raises FailedStatementError for an unknown column."""
    names = [entry["Name"] for entry in existing]
    for wanted in (old, after):
        if wanted is not None and wanted not in names:
            raise catalog.execution_error(f"Invalid column reference {wanted}")
    changed = glue_column(column)
    if not first and after is None:
        return [changed if entry["Name"] == old else entry for entry in existing]
    rest = [entry for entry in existing if entry["Name"] != old]
    position = 0 if first else [entry["Name"] for entry in rest].index(after or "") + 1
    return [*rest[:position], changed, *rest[position:]]


def _move_partition(context: Context, name: TableName, spec: dict[str, str], location: str) -> Table:
    table = catalog.require_hive_table(context, name)
    values = spec_values(table, spec)
    if not any(partition["Values"] == values for partition in list_partitions(context, name)):
        raise catalog.execution_error(f"Partition not found {spec}")
    context.glue.update_partition(
        DatabaseName=name.database,
        TableName=name.name,
        PartitionValueList=values,
        PartitionInput=partition_input(table, values, location),
    )
    return catalog.NOTHING


def _refuse_rename(context: Context, name: TableName) -> Table:
    catalog.require_table(context, name)
    raise FailedStatementError("Table cannot be renamed", 2, NOT_IN_HIVE_CODE)


ACTIONS: dict[tuple[str, ...], Callable[[Alteration], Plan]] = {
    ("ADD", "COLUMNS"): _add_columns,
    ("ADD",): _add_partition,
    ("DROP", "COLUMN"): _drop_column,
    ("DROP",): _drop_partition,
    ("RENAME", "TO"): _rename,
    ("REPLACE", "COLUMNS"): _replace_columns,
    ("CHANGE",): _change_column,
    ("SET", "TBLPROPERTIES"): _set_properties,
    ("SET", "LOCATION"): _set_location,
}
