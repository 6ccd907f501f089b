"""SHOW PARTITIONS, MSCK REPAIR TABLE, and ALTER TABLE ... ADD, DROP and RENAME PARTITION."""

from __future__ import annotations

from infra.local.athena.language import catalog
from infra.local.athena.language.partition_specs import (
    create_partitions,
    delete_partitions,
    list_partitions,
    partition_folders,
    partition_input,
    partition_path,
    read_spec,
    spec_values,
)
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName
from infra.local.athena.plan import Column, Context, FailedStatementError, Output, Plan, Table


def plan_show_partitions(sql: str, context: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW", "PARTITIONS")
    name = cursor.table_name(context.database)
    spec = read_spec(cursor) if cursor.at("PARTITION") else {}
    cursor.end()
    return Plan("UTILITY", "SHOW_PARTITIONS", (catalog.step(lambda context: _show(context, name, spec)),), Output.TEXT)


def plan_repair(sql: str, context: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("MSCK", "REPAIR", "TABLE")
    name = cursor.table_name(context.database)
    cursor.end()
    return catalog.ddl("MSCK_REPAIR", catalog.step(lambda context: _repair(context, name)))


def plan_add(cursor: Cursor, name: TableName) -> Plan:
    """`[IF NOT EXISTS] PARTITION (...) [LOCATION '...'] ...`."""
    if_not_exists = cursor.take("IF", "NOT", "EXISTS")
    added = [_read_added(cursor)]
    while cursor.at("PARTITION"):
        added.append(_read_added(cursor))
    cursor.end()

    def run(context: Context) -> Table:
        table = catalog.require_hive_table(context, name)
        entries = [partition_input(table, spec_values(table, spec), location) for spec, location in added]
        create_partitions(context, name, entries, if_not_exists)
        return catalog.NOTHING

    return catalog.ddl("ALTER_TABLE_ADD_PARTITION", catalog.step(run))


def plan_drop(cursor: Cursor, name: TableName) -> Plan:
    """`[IF EXISTS] PARTITION (...), ...`: each names one partition, or all that share the values given."""
    if_exists = cursor.take("IF", "EXISTS")
    specs = [read_spec(cursor)]
    while cursor.take(","):
        specs.append(read_spec(cursor))
    cursor.take("PURGE")
    cursor.end()
    return catalog.ddl(
        "ALTER_TABLE_DROP_PARTITION", catalog.step(lambda context: _drop(context, name, specs, if_exists))
    )


def plan_rename(cursor: Cursor, name: TableName, spec: dict[str, str]) -> Plan:
    """`PARTITION (...)`, the new values."""
    renamed = read_spec(cursor)
    cursor.end()

    def run(context: Context) -> Table:
        table = catalog.require_hive_table(context, name)
        old = spec_values(table, spec)
        found = [partition for partition in list_partitions(context, name) if partition["Values"] == old]
        if not found:
            raise _missing_partition(spec)
        location = found[0].get("StorageDescriptor", {}).get("Location")
        entry = partition_input(table, spec_values(table, renamed), location)
        context.glue.update_partition(
            DatabaseName=name.database, TableName=name.name, PartitionValueList=old, PartitionInput=entry
        )
        return catalog.NOTHING

    return catalog.ddl("ALTER_TABLE_RENAME_PARTITION", catalog.step(run))


def _read_added(cursor: Cursor) -> tuple[dict[str, str], str | None]:
    spec = read_spec(cursor)
    return spec, cursor.string() if cursor.take("LOCATION") else None


def _drop(context: Context, name: TableName, specs: list[dict[str, str]], if_exists: bool) -> Table:
    table = catalog.require_hive_table(context, name)
    keys = catalog.partition_names_of(table)
    known = [partition["Values"] for partition in list_partitions(context, name)]
    dropped: list[list[str]] = []
    for spec in specs:
        found = [values for values in known if spec.items() <= dict(zip(keys, values, strict=True)).items()]
        if not found and not if_exists:
            raise _missing_partition(spec)
        dropped += [values for values in found if values not in dropped]
    delete_partitions(context, name, dropped)
    return catalog.NOTHING


def _missing_partition(spec: dict[str, str]) -> Exception:
    return FailedStatementError(
        "FAILED: SemanticException [Error 10006]: Partition not found "
        f"({', '.join(f'{key} = {value}' for key, value in spec.items())})",
        2,
        catalog.EXECUTION_CODE,
    )


def _show(context: Context, name: TableName, spec: dict[str, str]) -> Table:
    table = catalog.require_hive_table(context, name)
    keys = catalog.partition_names_of(table)
    if not keys:
        raise catalog.execution_error(f"Table {name.name} is not a partitioned table")
    paths = sorted(
        partition_path(keys, partition["Values"])
        for partition in list_partitions(context, name)
        if spec.items() <= dict(zip(keys, partition["Values"], strict=True)).items()
    )
    return Table((Column("partition", "string"),), tuple((path,) for path in paths))


def _repair(context: Context, name: TableName) -> Table:
    """Adds the folders that the catalog does not know, and lists the partitions whose folder is gone."""
    table = catalog.find_table(context, name)
    if table is None:
        return _report([f"Tables not in metastore:\t{name.name}"])
    if catalog.is_iceberg(table):
        raise catalog.unsupported_on_iceberg()
    if catalog.is_view(table):
        raise catalog.execution_error("Can not create a Path from an empty string")
    if not catalog.has_files(context, catalog.location_of(table)):
        return _report([f"Tables missing on filesystem:\t{name.name}"])
    keys = catalog.partition_names_of(table)
    known = {tuple(partition["Values"]) for partition in list_partitions(context, name)} if keys else set()
    folders = partition_folders(context, catalog.location_of(table), keys) if keys else {}
    added = [partition_input(table, values, folders[values]) for values in sorted(folders.keys() - known)]
    create_partitions(context, name, added, if_not_exists=True)
    new, gone = (
        [f"{name.name}:{partition_path(keys, values)}" for values in sorted(found)]
        for found in (folders.keys() - known, known - folders.keys())
    )
    lines = ["\t".join(["Partitions not in metastore:", *new])] if new else []
    lines += ["\t".join(["Partitions missing from filesystem:", *gone])] if gone else []
    return _report(lines + [f"Repair: Added partition to metastore {path}" for path in new])


def _report(lines: list[str]) -> Table:
    return Table((Column("result", "string"),), tuple((line,) for line in lines))
