"""Write, audit, publish: what a run writes stays on an Iceberg branch until it is whole and has been checked.

with Draft(lakehouse, (EVENTS, SESSIONS)) as draft:
    draft.replace_dates(EVENTS, frame, [date])   # from here on the draft reads EVENTS with these dates
    ...                                          # an error: the draft is dropped, no reader saw it
    draft.publish(SESSIONS, first, last)         # one commit on main for each table
    draft.publish(EVENTS, first, last)
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from pyiceberg.expressions import BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import DataFrame

from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.files import (
    between_dates,
    find_changed_dates,
    in_dates,
    list_files,
    list_snapshots_since,
    replace_files,
)
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.tables import Table
from spark_jobs.lake.views import Reference, View


class Draft(View):
    """The dates of `tables` that a run replaces. The draft reads them as if published; nobody else sees them.

    Tables that it has not written yet it reads at the snapshot that they had when it was opened, those of `pinned` at
    theirs. A table is published by one commit that replaces all its drafted dates. It fails with ConcurrentCommitError
    where somebody else has changed a date of the range that the run has read since the draft was opened: what was
    written from it may be wrong, and the run has to be repeated. Dates beyond that range may change meanwhile.
    """

    def __init__(
        self, lakehouse: Lakehouse, tables: tuple[Table, ...], pinned: Mapping[Table, Reference] | None = None
    ) -> None:
        """`name` is that of its branches; no other draft has it."""
        super().__init__(lakehouse, pinned or {})
        self.tables = tables
        self.name = f"draft_{uuid.uuid4().hex}"
        self._bases: dict[Table, int] = {}
        self._dates: dict[Table, set[dt.date]] = {table: set() for table in tables}

    def __enter__(self) -> Draft:
        self._bases = {table: self.lakehouse.ensure_snapshot(table) for table in self.tables}
        self._references |= self._bases
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for table in self.tables:
            if self._references.get(table) == self.name:
                self.lakehouse.remove_branch(table, self.name)

    def replace_dates(self, table: Table, frame: DataFrame, dates: list[dt.date]) -> None:
        """Replace the partitions of `dates` in the draft; a date without rows becomes empty."""
        self._ensure_branch(table)
        self.lakehouse.replace_dates(table, frame, dates, branch=self.name)
        self._dates[table] |= set(dates)

    def replace_rows(self, table: Table, rows: Sequence[tuple[Any, ...]], dates: list[dt.date]) -> None:
        """`replace_dates` with the few rows that a job holds in Python, each in the order of the table's columns."""
        self._ensure_branch(table)
        self.lakehouse.replace_rows(table, rows, dates, branch=self.name)
        self._dates[table] |= set(dates)

    def _ensure_branch(self, table: Table) -> None:
        if self._references[table] != self.name:
            self.lakehouse.create_branch(table, self.name, self._bases[table])
            self._references[table] = self.name

    @property
    def base(self) -> View:
        """The tables as the draft found them when it was opened."""
        return self.lakehouse.at(self._bases)

    def dates(self, table: Table) -> list[dt.date]:
        """The dates that the draft replaces, ascending."""
        return sorted(self._dates[table])

    def count_published_rows(self, table: Table) -> dict[dt.date, int]:
        """Rows that readers see now, for each drafted date."""
        published = self.lakehouse.main.count_rows(table)
        return {day: published.get(day, 0) for day in self.dates(table)}

    def list_drafted_files(self, table: Table) -> list[DataFile]:
        """The files, with their column statistics, that the draft holds in its dates."""
        if not self._dates[table]:
            return []
        loaded = self.lakehouse.load(table)
        head = loaded.snapshot_by_name(self.name)
        return [*list_files(loaded, head.snapshot_id if head else None, self._in_dates(table)).values()]

    def publish(
        self, table: Table, first_read: dt.date, last_read: dt.date, summary: dict[str, str] | None = None
    ) -> None:
        """Replace the drafted dates of `table` on main, in one commit; `summary` goes into its snapshot.

        `first_read` and `last_read` bound the dates of `table` on which the draft rests, its own among them.
        Nothing happens where the draft replaces no date. Raises ConcurrentCommitError.
        """
        if not self._dates[table]:
            return
        # One state of the table: what is compared is what the commit stands on.
        loaded = self.lakehouse.load(table)
        self._raise_if_changed(loaded, table, first_read, last_read)
        head = loaded.current_snapshot()
        replaced = list_files(loaded, head.snapshot_id if head else None, self._in_dates(table))
        replace_files(
            loaded,
            removed=replaced.values(),
            added=self.list_drafted_files(table),
            rests_on=between_dates(table, first_read, last_read),
            summary=summary or {},
            conflict=self._changed(table, first_read, last_read),
        )

    def raise_if_changed(self, table: Table, first_read: dt.date, last_read: dt.date) -> None:
        """Raise ConcurrentCommitError where others have changed a date from `first_read` to `last_read`, or compacted
        it, since the draft was opened, or nobody can tell."""
        self._raise_if_changed(self.lakehouse.load(table), table, first_read, last_read)

    def _raise_if_changed(self, loaded: IcebergTable, table: Table, first_read: dt.date, last_read: dt.date) -> None:
        since = list_snapshots_since(loaded, self._bases[table])
        if since is None or any(
            first_read <= day <= last_read for snapshot in since for day in find_changed_dates(loaded, snapshot)
        ):
            raise ConcurrentCommitError(self._changed(table, first_read, last_read))

    def _changed(self, table: Table, first_read: dt.date, last_read: dt.date) -> str:
        return f"{table.name} was changed by another run between {first_read} and {last_read}"

    def _in_dates(self, table: Table) -> BooleanExpression:
        return in_dates(table, self._dates[table])
