"""The statements of `sql/`: what is asked with them, the tables they read, their text for certain snapshots of those.

In a file `{sessions}` is a table, as `tables` of config/s3_paths.yaml calls it, and `{sessions.partitions}` Iceberg's
metadata table of its partitions. `:name` is a parameter; a list becomes an ARRAY.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from config.loader import Paths

FOLDER = Path(__file__).parent / "sql"

Parameter = str | int | bool | dt.date | tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A statement of `sql/` and the values of its parameters, by name and in the order of the names."""

    query: str
    parameters: tuple[tuple[str, Parameter], ...]

    @classmethod
    def of(cls, query: str, **parameters: Parameter) -> Question:
        return cls(query, tuple(sorted(parameters.items())))


@dataclass(frozen=True)
class TableReference:
    """A table as a statement names it: at one snapshot, so that the answer stays that of the snapshot."""

    database: str
    name: str
    snapshot_id: int | None

    @property
    def partitions(self) -> str:
        return f'{self.database}."{self.name}$partitions"'

    def __str__(self) -> str:
        version = "" if self.snapshot_id is None else f" FOR VERSION AS OF {self.snapshot_id}"
        return f"{self.database}.{self.name}{version}"


@functools.cache
def read_template(query: str) -> str:
    """The text of `sql/<query>.sql`."""
    return (FOLDER / f"{query}.sql").read_text(encoding="utf-8").strip()


@functools.cache
def tables_of(query: str) -> tuple[str, ...]:
    """Keys of the tables that a query reads, each once."""
    fields = (field for _, field, _, _ in Formatter().parse(read_template(query)) if field)
    return tuple(dict.fromkeys(field.partition(".")[0] for field in fields))


def render(query: str, paths: Paths, snapshots: Mapping[str, int | None]) -> str:
    """The statement over the given snapshot of each of its tables; parameters stay `:name`."""
    names = dataclasses.asdict(paths.tables)
    references = {table: TableReference(paths.database, names[table], snapshots[table]) for table in tables_of(query)}
    return read_template(query).format(**references)
