"""The text of a result object: rows to CSV or tab-separated lines, and back for GetQueryResults.

In the CSV NULL is empty and everything else is quoted, the empty string as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Fields = list[str | None]

_QUOTED = rb'"[^"]*(?:""[^"]*)*"'
_FIELD = rb"(?:%b|)" % _QUOTED
_CSV_ROW = re.compile(rb"%b(?:,%b)*\n" % (_FIELD, _FIELD))
_CSV_FIELD = re.compile(rb"(%b)?(?:,|\n)" % _QUOTED)


@dataclass(frozen=True)
class ReadRow:
    """`end` is the offset in the object after this row, in bytes."""

    fields: Fields
    end: int


def csv_line(fields: Sequence[str | None]) -> str:
    return ",".join("" if field is None else _quoted(field) for field in fields) + "\n"


def text_line(fields: Sequence[str | None]) -> str:
    return "\t".join("" if field is None else field for field in fields) + "\n"


def read_csv(chunks: Iterable[bytes], start: int) -> Iterator[ReadRow]:
    """Rows of a CSV object from the offset `start`, the beginning of a row."""
    left, end = b"", start
    for chunk in chunks:
        left += chunk
        position = 0
        while match := _CSV_ROW.match(left, position):
            position = match.end()
            end += len(match[0])
            yield ReadRow(_csv_fields(match[0]), end)
        left = left[position:]


def read_text(chunks: Iterable[bytes], start: int, columns: int) -> Iterator[ReadRow]:
    """Lines of a text object; where there is one column, a tab belongs to its value."""
    left, end = b"", start
    for chunk in (*chunks, b""):
        left += chunk
        *lines, left = left.split(b"\n")
        for line in lines:
            end += len(line) + 1
            text = line.decode("utf-8")
            yield ReadRow([text] if columns <= 1 else list(text.split("\t")), end)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _csv_fields(line: bytes) -> Fields:
    values = (match[1] for match in _CSV_FIELD.finditer(line))
    return [None if value is None else value[1:-1].replace(b'""', b'"').decode("utf-8") for value in values]
