"""CREATE TABLE ... AS SELECT with Athena's properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import Token

from infra.local.athena.language import catalog, trino_text
from infra.local.athena.language.compression import trino_codec
from infra.local.athena.language.iceberg_properties import table_properties
from infra.local.athena.language.table_definition import partition_name, partition_transform
from infra.local.athena.language.tokens import Cursor, TableName, TrinoTokenizer, depths, is_word
from infra.local.athena.plan import Context, Output, Plan, StatementError, Step, Table, TrinoStep

QUERY_STARTS = ("(", "SELECT", "TABLE", "VALUES", "WITH")
COMPRESSIONS = ("write_compression", "parquet_compression", "orc_compression", "compression")
HIVE_ONLY_MARKS = ("table_type", "is_external", "compression_level")
FILE_FORMATS = {"TEXT": "TEXTFILE"}


@dataclass(frozen=True)
class TableQuery:
    """`properties` hold SQL text by Athena's name; `header` is what stands between the name and WITH or AS; `query`
    goes to the end and includes WITH [NO] DATA."""

    name: TableName
    if_not_exists: bool
    header: str
    properties: dict[str, str]
    query: str

    @property
    def is_iceberg(self) -> bool:
        return text_value(self.properties.get("table_type", "")).upper() == "ICEBERG"


def is_create_table_as(tokens: Sequence[Token]) -> bool:
    """Whether a CREATE TABLE has a query: an AS outside of parentheses, but not that of STORED AS or DEFINED AS."""
    open_at = depths(tokens)
    return any(
        is_word(token, "AS") and open_at[index] == 0 and tokens[index - 1].text.upper() not in ("STORED", "DEFINED")
        for index, token in enumerate(tokens)
    )


def plan_create_table_as(sql: str, context: Context) -> Plan:
    """Raises StatementError."""
    table = read_table_query(Cursor(sql, TrinoTokenizer), context.database)
    return _plan_iceberg(table, context) if table.is_iceberg else plan_hive_table(table, context)


def read_table_query(cursor: Cursor, default_database: str) -> TableQuery:
    cursor.expect("CREATE", "TABLE")
    if_not_exists = cursor.take("IF", "NOT", "EXISTS")
    name = cursor.table_name(default_database)
    header = _read_header(cursor)
    properties = read_properties(cursor) if cursor.take("WITH") else {}
    cursor.expect("AS")
    if not any(cursor.at(word) for word in QUERY_STARTS):
        raise cursor.mismatch(*QUERY_STARTS)
    return TableQuery(name, if_not_exists, header, properties, cursor.rest())


def read_properties(cursor: Cursor) -> dict[str, str]:
    """`( name = value, ... )` with the values as they are written; names in lower case."""
    return dict(cursor.several(lambda: _read_property(cursor)))


def text_value(literal: str) -> str:
    """The text of a SQL literal: without quotes, a doubled quote once."""
    return literal[1:-1].replace("''", "'") if literal.startswith("'") else literal


def text_values(array: str) -> list[str]:
    """The texts of `ARRAY['a', 'b']`."""
    cursor = Cursor(array, TrinoTokenizer)
    cursor.expect("ARRAY", "[")
    texts = [] if cursor.at("]") else [cursor.string()]
    while cursor.take(","):
        texts.append(cursor.string())
    cursor.expect("]")
    cursor.end()
    return texts


def plan_hive_table(table: TableQuery, context: Context) -> Plan:
    """The files go to `external_location`, which must be empty, or below the query's results."""
    given = table.properties.get("external_location")
    location = text_value(given) if given else f"{context.output_location}tables/{context.query_id}"
    step = TrinoStep(hive_statement(table, location), session=hive_session(table.properties))
    return Plan(
        "DDL",
        "CREATE_TABLE_AS_SELECT",
        (_empty_location_step(table, location), step),
        Output.FILES,
        written_location=location.rstrip("/") + "/",
    )


def hive_statement(table: TableQuery, location: str) -> str:
    """Trino's CREATE TABLE AS of a Hive table with these files."""
    properties = {
        "format": trino_text.quote_text(_file_format(table.properties)),
        "external_location": trino_text.quote_text(location),
    }
    for name, value in table.properties.items():
        if name == "field_delimiter":
            properties["textfile_field_separator"] = trino_text.quote_text(_delimiter(value))
        elif name not in (*COMPRESSIONS, *HIVE_ONLY_MARKS, "format", "external_location"):
            properties[name] = value
    return _statement(table, "awsdatacatalog", properties)


def hive_session(properties: dict[str, str]) -> dict[str, str]:
    """The session property that stands for Athena's compression. Raises StatementError for an unknown codec."""
    codecs = [trino_codec(text_value(properties[name])) for name in COMPRESSIONS if name in properties]
    return {"awsdatacatalog.compression_codec": codecs[0]} if codecs else {}


def _plan_iceberg(table: TableQuery, context: Context) -> Plan:
    """The table's catalog stands in its name, so that the query's names mean what they mean in a SELECT."""
    properties = dict(table.properties)
    location = text_value(properties.pop("location", "")) or f"{context.output_location}tables/{context.query_id}"
    trino_properties = {"location": trino_text.quote_text(location.rstrip("/"))}
    if "partitioning" in properties:
        transforms = [_trino_transform(text) for text in text_values(properties.pop("partitioning"))]
        trino_properties["partitioning"] = trino_text.array(transforms)
    session = {}
    for name in COMPRESSIONS:
        if name in properties:
            session["iceberg.compression_codec"] = trino_codec(text_value(properties.pop(name)))
    trino_properties |= table_properties({name: text_value(value) for name, value in properties.items()})
    step = TrinoStep(_statement(table, "iceberg", trino_properties), session=session)
    return Plan("DDL", "CREATE_TABLE_AS_SELECT", (step,), Output.FILES)


def _statement(table: TableQuery, catalog_name: str, properties: dict[str, str]) -> str:
    words = "CREATE TABLE IF NOT EXISTS" if table.if_not_exists else "CREATE TABLE"
    header = f" {table.header}" if table.header else ""
    name = trino_text.qualify(table.name, catalog_name)
    return f"{words} {name}{header}{trino_text.with_clause(properties)} AS {table.query}"


def _empty_location_step(table: TableQuery, location: str) -> Step:
    def run(context: Context) -> Table:
        if catalog.find_table(context, table.name) is None:
            catalog.check_empty(context, location, table.name)
        return catalog.NOTHING

    return catalog.step(run)


def _read_header(cursor: Cursor) -> str:
    """A column list and a comment."""
    start = cursor.position
    open_at = depths(cursor.tokens)
    while cursor.peek() is not None and not (
        open_at[cursor.position] == open_at[start] and (cursor.at("WITH") or cursor.at("AS"))
    ):
        cursor.next_token()
    if cursor.position == start:
        return ""
    return cursor.sql[cursor.tokens[start].start : cursor.tokens[cursor.position - 1].end + 1]


def _read_property(cursor: Cursor) -> tuple[str, str]:
    name = cursor.name()
    cursor.expect("=")
    start = cursor.position
    open_at = depths(cursor.tokens)
    while cursor.peek() is not None and not (
        open_at[cursor.position] <= open_at[start] and (cursor.at(",") or cursor.at(")"))
    ):
        cursor.next_token()
    if cursor.position == start:
        raise cursor.mismatch("<expression>")
    return name, cursor.sql[cursor.tokens[start].start : cursor.tokens[cursor.position - 1].end + 1]


def _file_format(properties: dict[str, str]) -> str:
    name = text_value(properties.get("format", "PARQUET")).upper()
    return FILE_FORMATS.get(name, name)


def _delimiter(literal: str) -> str:
    """One character; `\\t` is a tab."""
    text = text_value(literal).replace("\\t", "\t")
    if len(text) != 1:
        raise StatementError(f"field_delimiter must be a single character: {text!r}")
    return text


def _trino_transform(text: str) -> str:
    """`day(ts)` and the like, with the arguments in Trino's order."""
    cursor = Cursor(text, TrinoTokenizer)
    name = cursor.name()
    if cursor.peek() is None:
        return partition_name(name)
    arguments = cursor.several(cursor.next_token)
    cursor.end()
    return partition_transform(name, [argument.text.lower() for argument in arguments])
