"""Column types: Hive's text as Glue stores it, Trino's, and Iceberg's as DESCRIBE prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.local.athena.language.tokens import Cursor, HiveTokenizer
from infra.local.athena.language.trino_text import quote_name

SYNONYMS = {"integer": "int", "dec": "decimal", "numeric": "decimal"}
NUMBERS = frozenset({"tinyint", "smallint", "int", "bigint", "float", "double", "decimal"})
PRIMITIVES = NUMBERS | {"boolean", "string", "varchar", "char", "binary", "date", "timestamp"}
TRINO_NAMES = {
    "int": "integer",
    "float": "real",
    "string": "varchar",
    "varchar": "varchar",
    "char": "varchar",
    "binary": "varbinary",
    "timestamp": "timestamp(6)",
}
ICEBERG_NAMES = {"long": "bigint", "timestamptz": "timestamp"}
DECIMAL_DEFAULT = (10, 0)


@dataclass(frozen=True)
class ColumnType:
    """`sizes` are those of decimal, varchar and char; `fields` are the element of an array, key and value of a map, or
    the named fields of a struct."""

    name: str
    sizes: tuple[int, ...] = ()
    fields: tuple[tuple[str, ColumnType], ...] = ()

    def glue(self) -> str:
        """`struct<a:int,b:array<string>>`: no blanks."""
        if self.name == "struct":
            return f"struct<{','.join(f'{name}:{kind.glue()}' for name, kind in self.fields)}>"
        if self.fields:
            return f"{self.name}<{','.join(kind.glue() for _, kind in self.fields)}>"
        return self.name + (f"({','.join(map(str, self.sizes))})" if self.sizes else "")

    def trino(self) -> str:
        """The type of an Iceberg column in Trino: Iceberg knows neither the length of a text nor char."""
        if self.name == "struct":
            return f"row({', '.join(f'{quote_name(name)} {kind.trino()}' for name, kind in self.fields)})"
        if self.fields:
            return f"{self.name}({', '.join(kind.trino() for _, kind in self.fields)})"
        if self.name == "decimal":
            return f"decimal({', '.join(map(str, self.sizes))})"
        return TRINO_NAMES.get(self.name, self.name)


def read_type(cursor: Cursor) -> ColumnType:
    """A type in Hive's grammar. Raises StatementError for an unknown one."""
    start = cursor.position
    name = cursor.name()
    name = SYNONYMS.get(name, name)
    if name == "double":
        cursor.take("PRECISION")
    if name in PRIMITIVES:
        return ColumnType(name, _read_sizes(cursor, name))
    if name in ("array", "map", "struct") and cursor.at("<"):
        return ColumnType(name, fields=_read_fields(cursor, name))
    cursor.position = start
    raise cursor.unrecognized("column type")


def parse_type(text: str) -> ColumnType:
    """The type that a Glue column has."""
    cursor = Cursor(text, HiveTokenizer)
    kind = read_type(cursor)
    cursor.end()
    return kind


def iceberg_type_text(kind: Any) -> str:
    """A type of Iceberg's metadata JSON as DESCRIBE prints it: `decimal(10, 2)`, `map<string, int>`."""
    if isinstance(kind, str):
        return ICEBERG_NAMES.get(kind, kind)
    if kind["type"] == "struct":
        fields = ", ".join(f"{field['name']}: {iceberg_type_text(field['type'])}" for field in kind["fields"])
        return f"struct<{fields}>"
    if kind["type"] == "list":
        return f"array<{iceberg_type_text(kind['element'])}>"
    return f"map<{iceberg_type_text(kind['key'])}, {iceberg_type_text(kind['value'])}>"


def _read_sizes(cursor: Cursor, name: str) -> tuple[int, ...]:
    if name not in ("decimal", "varchar", "char"):
        return ()
    if not cursor.at("("):
        return DECIMAL_DEFAULT if name == "decimal" else ()
    sizes = tuple(cursor.several(cursor.integer))
    return (*sizes, 0) if name == "decimal" and len(sizes) == 1 else sizes


def _read_fields(cursor: Cursor, name: str) -> tuple[tuple[str, ColumnType], ...]:
    cursor.expect("<")
    fields = [_read_field(cursor, name)]
    while cursor.take(","):
        fields.append(_read_field(cursor, name))
    if len(fields) != {"array": 1, "map": 2}.get(name, len(fields)):
        raise cursor.unrecognized("column type")
    cursor.expect(">")
    return tuple(fields)


def _read_field(cursor: Cursor, name: str) -> tuple[str, ColumnType]:
    if name != "struct":
        return "", read_type(cursor)
    field = cursor.name()
    cursor.expect(":")
    kind = read_type(cursor)
    if cursor.take("COMMENT"):
        cursor.string()
    return field, kind
