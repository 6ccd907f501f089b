"""Types in Hive's, Trino's and Iceberg's spelling."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.athena.language.column_types import iceberg_type_text, parse_type
from infra.local.athena.plan import StatementError


@pytest.mark.parametrize(
    ("text", "glue", "trino"),
    [
        ("STRING", "string", "varchar"),
        ("INTEGER", "int", "integer"),
        ("float", "float", "real"),
        ("double precision", "double", "double"),
        ("binary", "binary", "varbinary"),
        ("timestamp", "timestamp", "timestamp(6)"),
        ("varchar( 10 )", "varchar(10)", "varchar"),
        ("decimal", "decimal(10,0)", "decimal(10, 0)"),
        ("DECIMAL(18, 4)", "decimal(18,4)", "decimal(18, 4)"),
        ("ARRAY < int >", "array<int>", "array(integer)"),
        ("MAP<int, STRING>", "map<int,string>", "map(integer, varchar)"),
        (
            "STRUCT<a: int, B: array<struct<c:date>>>",
            "struct<a:int,b:array<struct<c:date>>>",
            'row("a" integer, "b" array(row("c" date)))',
        ),
    ],
)
def test_type_has_two_spellings(text: str, glue: str, trino: str) -> None:
    kind = parse_type(text)
    assert (kind.glue(), kind.trino()) == (glue, trino)


@pytest.mark.parametrize("text", ["text", "array", "map<int>", "struct<a int>", "row(a int)", "int int", "'int'", ""])
def test_unknown_type_is_refused(text: str) -> None:
    with pytest.raises(StatementError):
        parse_type(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("long", "bigint"),
        ("timestamptz", "timestamp"),
        ("decimal(10, 2)", "decimal(10, 2)"),
        ({"type": "list", "element": "string"}, "array<string>"),
        ({"type": "map", "key": "string", "value": "int"}, "map<string, int>"),
        (
            {"type": "struct", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]},
            "struct<a: int, b: string>",
        ),
    ],
)
def test_iceberg_type_is_printed_as_describe_does(kind: Any, text: str) -> None:
    assert iceberg_type_text(kind) == text
