"""Values of a result as text, as Athena prints them: made of the JSON of Trino's protocol."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Printer = Callable[[Any], str | None]
SMALLEST_PLAIN, LARGEST_PLAIN = 1e-3, 1e7  # Java prints what lies between without an exponent
MILLISECONDS = 3
_SECONDS = re.compile(r"(:\d\d)(?:\.(\d+))?(?=$| |[+-]\d\d:)")


def row_printer(columns: Sequence[Mapping[str, Any]]) -> Callable[[Sequence[Any]], list[str | None]]:
    """Of the columns of Trino's protocol: what turns a row of JSON into text, None for NULL."""
    printers = [printer(column["typeSignature"]) for column in columns]
    return lambda row: [
        None if value is None else print_value(value) for print_value, value in zip(printers, row, strict=True)
    ]


def printer(signature: Mapping[str, Any]) -> Printer:
    """Of a type: a function from a JSON value that is not null to text."""
    kind = signature["rawType"]
    arguments = [argument["value"] for argument in signature["arguments"]]
    if kind == "array":
        return _array_printer(_nested(arguments[0]))
    if kind == "map":
        return _map_printer(_nested(arguments[1]))
    if kind == "row":
        names = [(argument.get("fieldName") or {}).get("name") for argument in arguments]
        return _row_printer(
            [name or f"field{index}" for index, name in enumerate(names)],
            [_nested(argument["typeSignature"]) for argument in arguments],
        )
    return _SIMPLE.get(kind, str)


def print_double(value: Any) -> str:
    """As `Double.toString` of Java; NaN and the infinities come from Trino as text."""
    if not isinstance(value, float | int):
        return str(value)
    text = repr(float(value))
    if value == 0 or SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN:
        return text if "e" not in text else f"{value:f}"
    sign, digits, exponent = _parts(text)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def print_binary(value: Any) -> str:
    """Pairs of hexadecimal digits: `0a ff`."""
    return base64.b64decode(value).hex(" ")


def print_time(value: Any) -> str:
    """With milliseconds at least: `2025-04-01 12:00:00.000`."""
    return _SECONDS.sub(lambda match: f"{match[1]}.{(match[2] or '').ljust(MILLISECONDS, '0')}", str(value), count=1)


def _parts(text: str) -> tuple[str, str, int]:
    """Sign, significant digits and the exponent of the first of them."""
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    skipped = len(whole + fraction) - len(digits)
    return sign, digits.rstrip("0") or "0", len(whole) - 1 - skipped + int(exponent or 0)


def _print_boolean(value: Any) -> str:
    return "true" if value else "false"


def _nested(signature: Mapping[str, Any]) -> Callable[[Any], str]:
    """Inside another value NULL is the word `null`."""
    print_value = printer(signature)
    return lambda value: "null" if value is None else str(print_value(value))


def _array_printer(print_item: Callable[[Any], str]) -> Printer:
    return lambda value: f"[{', '.join(print_item(item) for item in value)}]"


def _map_printer(print_item: Callable[[Any], str]) -> Printer:
    return lambda value: f"{{{', '.join(f'{key}={print_item(item)}' for key, item in value.items())}}}"


def _row_printer(names: Sequence[str], printers: Sequence[Callable[[Any], str]]) -> Printer:
    def print_row(value: Sequence[Any]) -> str:
        fields = zip(names, printers, value, strict=True)
        return f"{{{', '.join(f'{name}={print_field(item)}' for name, print_field, item in fields)}}}"

    return print_row


_SIMPLE: dict[str, Printer] = {
    "boolean": _print_boolean,
    "double": print_double,
    "real": print_double,
    "varbinary": print_binary,
    "timestamp": print_time,
    "timestamp with time zone": print_time,
    "time": print_time,
    "time with time zone": print_time,
}
