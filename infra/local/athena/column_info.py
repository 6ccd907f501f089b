"""Columns of a result as Athena's ColumnInfo, made of Trino's types or of the names of Athena's."""

from __future__ import annotations

import re
from typing import Any

from infra.local.athena.plan import Column

LONGEST_VARCHAR = 2147483647
# Precision of the types that have one of their own, as Athena reports it.
PRECISIONS = {
    "tinyint": 3,
    "smallint": 5,
    "integer": 10,
    "bigint": 19,
    "float": 17,
    "double": 17,
    "varchar": LONGEST_VARCHAR,
    "varbinary": 1073741824,
    "timestamp": 3,
    "timestamp with time zone": 3,
    "time": 3,
    "time with time zone": 3,
    "interval day to second": 0,
}
ATHENA_NAMES = {"real": "float", "unknown": "unknown", "int": "integer"}
CASE_SENSITIVE = ("varchar", "char", "string")
MILLISECONDS = 3


def from_trino(column: dict[str, Any]) -> dict[str, Any]:
    """Of a column of Trino's protocol, which carries its type as a tree."""
    signature = column["typeSignature"]
    arguments = [argument["value"] for argument in signature["arguments"] if argument["kind"] == "LONG"]
    return _column_info(str(column["name"]), str(signature["rawType"]), arguments)


def from_athena(column: Column) -> dict[str, Any]:
    """Of a column whose type is written out: `decimal(18,4)`, `array(varchar)`, `string`."""
    match = re.fullmatch(r"\s*([a-z ]+?)\s*(?:\(([\d\s,]+)\)(.*))?", column.type, re.IGNORECASE)
    if match is None:
        return _column_info(column.name, re.split(r"[(<]", column.type)[0].strip().lower(), [])
    arguments = [int(number) for number in (match[2] or "").split(",") if number.strip()]
    return _column_info(column.name, f"{match[1]}{match[3] or ''}".lower(), arguments)


def _column_info(name: str, raw_type: str, arguments: list[int]) -> dict[str, Any]:
    kind = ATHENA_NAMES.get(raw_type, raw_type)
    precision, scale = _precision_and_scale(kind, arguments)
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": name,
        "Label": name,
        "Type": kind,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": kind in CASE_SENSITIVE,
    }


def _precision_and_scale(kind: str, arguments: list[int]) -> tuple[int, int]:
    if kind == "decimal":
        precision, scale = [*arguments, 38, 0][:2] if len(arguments) != 1 else (arguments[0], 0)
        return precision, scale
    if kind in ("char", "varchar") and arguments:
        return min(arguments[0], LONGEST_VARCHAR), 0
    if kind.startswith(("timestamp", "time")) and arguments:
        return max(arguments[0], MILLISECONDS), 0
    return PRECISIONS.get(kind, 0), 0
