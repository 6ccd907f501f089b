"""CREATE, DROP, ALTER and SHOW DATABASE(S); SCHEMA means the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from infra.local.athena.language import catalog
from infra.local.athena.language.tokens import Cursor, HiveTokenizer
from infra.local.athena.plan import Column, Context, Output, Plan, StatementError, Table

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import DatabaseInputTypeDef

DATABASE_INPUT_KEYS = ("Name", "Description", "LocationUri", "Parameters")


def plan_create_database(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("CREATE")
    _expect_database(cursor)
    if_not_exists = cursor.take("IF", "NOT", "EXISTS")
    entry: DatabaseInputTypeDef = {"Name": _database_name(cursor)}
    if cursor.take("COMMENT"):
        entry["Description"] = cursor.string()
    if cursor.take("LOCATION"):
        entry["LocationUri"] = cursor.string()
    if cursor.take("WITH", "DBPROPERTIES"):
        entry["Parameters"] = cursor.properties()
    cursor.end()
    return catalog.ddl("CREATE_DATABASE", catalog.step(lambda context: _create(context, entry, if_not_exists)))


def plan_drop_database(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("DROP")
    _expect_database(cursor)
    if_exists = cursor.take("IF", "EXISTS")
    name = _database_name(cursor)
    cascade = cursor.take("CASCADE")
    if not cascade:
        cursor.take("RESTRICT")
    cursor.end()
    return catalog.ddl("DROP_DATABASE", catalog.step(lambda context: _drop(context, name, if_exists, cascade)))


def plan_alter_database(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("ALTER")
    _expect_database(cursor)
    name = _database_name(cursor)
    cursor.expect("SET", "DBPROPERTIES")
    properties = cursor.properties()
    cursor.end()
    return catalog.ddl("ALTER_DATABASE", catalog.step(lambda context: _set_properties(context, name, properties)))


def plan_show_databases(sql: str, _: Context) -> Plan:
    cursor = Cursor(sql, HiveTokenizer)
    cursor.expect("SHOW")
    if not cursor.take("SCHEMAS"):
        cursor.expect("DATABASES")
    cursor.take("LIKE")
    pattern = cursor.string() if cursor.is_string() else None
    cursor.end()
    return Plan("UTILITY", "SHOW_DATABASES", (catalog.step(lambda context: _show(context, pattern)),), Output.TEXT)


def _expect_database(cursor: Cursor) -> None:
    if not cursor.take("SCHEMA"):
        cursor.expect("DATABASE")


def _database_name(cursor: Cursor) -> str:
    """`db` or `awsdatacatalog.db`. Raises StatementError for another catalog."""
    parts = cursor.parts()
    if len(parts) > 1 and parts[:-1] != ["awsdatacatalog"]:
        raise StatementError(f"Catalog '{'.'.join(parts[:-1])}' does not exist")
    return parts[-1]


def _create(context: Context, entry: DatabaseInputTypeDef, if_not_exists: bool) -> Table:
    try:
        context.glue.create_database(DatabaseInput=entry)
    except ClientError as error:
        if catalog.error_code(error) != "AlreadyExistsException":
            raise
        if not if_not_exists:
            raise catalog.execution_error(f"Database {entry['Name']} already exists") from error
    return catalog.NOTHING


def _drop(context: Context, name: str, if_exists: bool, cascade: bool) -> Table:
    """The entries of the tables go with CASCADE, their files stay."""
    if not _exists(context, name):
        if if_exists:
            return catalog.NOTHING
        raise catalog.missing_database(name)
    tables = [table["Name"] for table in catalog.list_tables(context, name)]
    if tables and not cascade:
        message = f"InvalidOperationException(message:Database {name} is not empty. One or more tables exist.)"
        raise catalog.execution_error(message)
    for table in tables:
        context.glue.delete_table(DatabaseName=name, Name=table)
    context.glue.delete_database(Name=name)
    return catalog.NOTHING


def _exists(context: Context, name: str) -> bool:
    try:
        context.glue.get_database(Name=name)
    except ClientError as error:
        if catalog.error_code(error) != "EntityNotFoundException":
            raise
        return False
    return True


def _set_properties(context: Context, name: str, properties: dict[str, str]) -> Table:
    if not _exists(context, name):
        raise catalog.missing_database(name)
    database = context.glue.get_database(Name=name)["Database"]
    kept = {key: value for key, value in database.items() if key in DATABASE_INPUT_KEYS}
    kept["Parameters"] = dict(database.get("Parameters", {})) | properties
    context.glue.update_database(Name=name, DatabaseInput=cast("DatabaseInputTypeDef", kept))
    return catalog.NOTHING


def _show(context: Context, pattern: str | None) -> Table:
    pages = context.glue.get_paginator("get_databases").paginate()
    names = sorted(database["Name"] for page in pages for database in page["DatabaseList"])
    rows = tuple((name,) for name in names if catalog.matches_pattern(name, pattern))
    return Table((Column("database_name", "string"),), rows)
