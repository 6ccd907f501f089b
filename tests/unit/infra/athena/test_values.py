from __future__ import annotations

import base64
from typing import Any

import pytest

from infra.local.athena.column_info import from_athena, from_trino
from infra.local.athena.plan import Column
from infra.local.athena.values import print_double, print_time, printer, row_printer
from tests.unit.infra.athena.conftest import INTEGER, VARCHAR, column

DOUBLE: dict[str, Any] = {"rawType": "double", "arguments": []}
ARRAY = {"rawType": "array", "arguments": [{"kind": "TYPE", "value": INTEGER}]}
MAP = {"rawType": "map", "arguments": [{"kind": "TYPE", "value": VARCHAR}, {"kind": "TYPE", "value": DOUBLE}]}
ROW = {
    "rawType": "row",
    "arguments": [
        {"kind": "NAMED_TYPE", "value": {"fieldName": {"name": "a"}, "typeSignature": INTEGER}},
        {"kind": "NAMED_TYPE", "value": {"typeSignature": ARRAY}},
    ],
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e10, "1.0E10"),
        (12345678.9, "1.23456789E7"),
        (9999999.0, "9999999.0"),
        (0.001, "0.001"),
        (0.00012, "1.2E-4"),
        (-2.5e-7, "-2.5E-7"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (123456789012345680000, "1.2345678901234568E20"),
        (1e16, "1.0E16"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
    ],
)
def test_double_is_printed_as_java_prints_it(value: Any, text: str) -> None:
    assert print_double(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2025-04-01 12:00:00", "2025-04-01 12:00:00.000"),
        ("2025-04-01 12:00:00.1", "2025-04-01 12:00:00.100"),
        ("2025-04-01 12:00:00.123456", "2025-04-01 12:00:00.123456"),
        ("2025-04-01 12:00:00 UTC", "2025-04-01 12:00:00.000 UTC"),
        ("2025-04-01 12:00:00.5 Europe/Berlin", "2025-04-01 12:00:00.500 Europe/Berlin"),
        ("12:00:00+02:00", "12:00:00.000+02:00"),
        ("-0044-03-15 12:00:00", "-0044-03-15 12:00:00.000"),
    ],
)
def test_timestamp_has_milliseconds_at_least(value: str, text: str) -> None:
    assert print_time(value) == text


@pytest.mark.parametrize(
    ("signature", "value", "text"),
    [
        ({"rawType": "boolean", "arguments": []}, True, "true"),
        ({"rawType": "boolean", "arguments": []}, False, "false"),
        ({"rawType": "varbinary", "arguments": []}, base64.b64encode(b"\x0a\xff").decode(), "0a ff"),
        ({"rawType": "varbinary", "arguments": []}, "", ""),
        ({"rawType": "decimal", "arguments": []}, "1.10", "1.10"),
        ({"rawType": "json", "arguments": []}, '{"a":1}', '{"a":1}'),
        ({"rawType": "bigint", "arguments": []}, 10**16 + 1, "10000000000000001"),
        (VARCHAR, "007", "007"),
        (VARCHAR, "🛒", "🛒"),
        (ARRAY, [1, 2], "[1, 2]"),
        (ARRAY, [None], "[null]"),
        (ARRAY, [], "[]"),
        (MAP, {"a": 1e10, "b": None}, "{a=1.0E10, b=null}"),
        (ROW, [1, [2, 3]], "{a=1, field1=[2, 3]}"),
    ],
)
def test_value_is_printed_as_athena_prints_it(signature: dict[str, Any], value: Any, text: str) -> None:
    assert printer(signature)(value) == text


def test_null_is_none_in_a_row() -> None:
    assert row_printer([column("n"), column("s", VARCHAR)])([None, ""]) == [None, ""]


@pytest.mark.parametrize(
    ("name", "kind", "precision", "scale"),
    [
        ("decimal(18,4)", "decimal", 18, 4),
        ("decimal(5)", "decimal", 5, 0),
        ("varchar", "varchar", 2147483647, 0),
        ("varchar(10)", "varchar", 10, 0),
        ("bigint", "bigint", 19, 0),
        ("timestamp(3) with time zone", "timestamp with time zone", 3, 0),
        ("array(row(a integer))", "array", 0, 0),
        ("array<string>", "array", 0, 0),
        ("string", "string", 0, 0),
    ],
)
def test_column_info_of_athena_type(name: str, kind: str, precision: int, scale: int) -> None:
    info = from_athena(Column("c", name))
    assert (info["Type"], info["Precision"], info["Scale"]) == (kind, precision, scale)


def test_column_info_is_complete() -> None:
    assert from_trino(column("total", {"rawType": "real", "arguments": []})) == {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": "total",
        "Label": "total",
        "Type": "float",
        "Precision": 17,
        "Scale": 0,
        "Nullable": "UNKNOWN",
        "CaseSensitive": False,
    }
