"""Rows of two lakes, as they are compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def to_text(row: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """A row as PyIceberg gives it, without some columns; a map has no order: each kind of session writes its own."""
    return str({name: _sort_map(value) for name, value in row.items() if name not in without})


def _sort_map(value: Any) -> Any:
    is_map = isinstance(value, list) and all(isinstance(entry, tuple) for entry in value)
    return sorted(value, key=str) if is_map else value
