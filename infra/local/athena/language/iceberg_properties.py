"""Athena's properties of Iceberg tables as Trino's.

What Trino has no property for (vacuum_max_snapshot_age_seconds, optimize_rewrite_..., write.parquet...) is stored as it
is with `extra_properties`, which the catalog must allow (`iceberg.allowed-extra-properties=*`).
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.local.athena.language.compression import trino_codec
from infra.local.athena.language.trino_text import quote_text, text_map
from infra.local.athena.plan import StatementError

IGNORED = frozenset({"table_type", "is_external", "classification", "external"})
FORMAT_VERSIONS = ("format_version", "format-version")
FILE_FORMATS = ("PARQUET", "ORC", "AVRO")


def table_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Trino's properties with their values as SQL text. Raises StatementError for an unknown format."""
    result: dict[str, str] = {}
    extra: dict[str, str] = {}
    file_format = properties.get("format", "parquet").upper()
    if file_format not in FILE_FORMATS:
        raise StatementError(f"Unsupported table property value for 'format': {properties['format']}")
    for name, value in properties.items():
        if name == "format":
            result["format"] = quote_text(file_format)
        elif name in FORMAT_VERSIONS:
            result["format_version"] = _digits(name, value)
        elif name == "write_compression":
            extra[f"write.{file_format.lower()}.compression-codec"] = trino_codec(value).lower()
        elif name.lower() not in IGNORED:
            extra[name] = value
    if extra:
        result["extra_properties"] = text_map(extra)
    return result


def _digits(name: str, value: str) -> str:
    if not value.isdecimal():
        raise StatementError(f"Unsupported table property value for '{name}': {value}")
    return value
