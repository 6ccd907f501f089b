"""Names, literals and properties in Trino's spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.local.athena.language.tokens import TableName


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def qualify(table: TableName, catalog: str) -> str:
    """`"catalog"."database"."table"`."""
    return ".".join(quote_name(part) for part in (catalog, table.database, table.name))


def array(texts: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(quote_text(text) for text in texts)}]"


def text_map(pairs: Mapping[str, str]) -> str:
    return f"MAP({array(pairs.keys())}, {array(pairs.values())})"


def with_clause(properties: Mapping[str, str]) -> str:
    """` WITH (name = value, ...)` with the values as SQL text; empty without properties."""
    if not properties:
        return ""
    return f" WITH ({assignments(properties)})"


def assignments(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in properties.items())
