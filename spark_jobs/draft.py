"""Write, audit, publish: what a run writes stays on an Iceberg branch until it is whole and has been checked.

with Draft(lakehouse, (EVENTS, SESSIONS)) as draft:
    draft.replace_dates(EVENTS, frame, [date])   # from here on the session reads the draft of EVENTS
    ...                                          # an error: the draft is dropped, no reader saw it
    draft.publish(SESSIONS, first, last)         # one commit on main for each table
    draft.publish(EVENTS, first, last)
"""

from __future__ import annotations

import datetime as dt
import uuid
from types import TracebackType
from typing import Any

from pyspark.sql import DataFrame

from spark_jobs.lakehouse import Lakehouse, first_date, losing_to_others
from spark_jobs.tables import Table

_WAP_ENABLED = "write.wap.enabled"
_WAP_BRANCH = "spark.wap.branch"


class Draft:
    """The dates of `tables` that a run replaces. The session sees them as if published; nobody else sees them.

    A table is published by one commit that replaces all its drafted dates. It fails with `ConcurrentCommitError` where
    somebody else has changed a date of the range that the run has read since the draft was opened: what was written
    from it may be wrong, and the run has to be repeated. Dates beyond that range may change meanwhile.
    """

    def __init__(self, lakehouse: Lakehouse, tables: tuple[Table, ...]) -> None:
        """`name` is that of its branches; no other draft has it."""
        self.lakehouse = lakehouse
        self.tables = tables
        self.name = f"draft_{uuid.uuid4().hex}"
        self._bases: dict[Table, int] = {}
        self._dates: dict[Table, set[dt.date]] = {table: set() for table in tables}

    def __enter__(self) -> Draft:
        for table in self.tables:
            loaded = self.lakehouse.load(table)
            if loaded.properties().get(_WAP_ENABLED) != "true":
                loaded.updateProperties().set(_WAP_ENABLED, "true").commit()
            self._bases[table] = self.lakehouse.start_history(table)
        self.lakehouse.spark.conf.set(_WAP_BRANCH, self.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.lakehouse.spark.conf.unset(_WAP_BRANCH)
        for table in self.tables:
            if self.lakehouse.load(table).snapshot(self.name) is not None:
                self.lakehouse.remove_branch(table, self.name)

    def replace_dates(self, table: Table, frame: DataFrame, dates: list[dt.date]) -> None:
        """Replace the partitions of `dates` in the draft; a date without rows becomes empty."""
        self.lakehouse.replace_dates(table, frame, dates)
        self._dates[table] |= set(dates)

    def dates(self, table: Table) -> list[dt.date]:
        """The dates that the draft replaces, ascending."""
        return sorted(self._dates[table])

    def partitions(self, table: Table) -> dict[dt.date, int]:
        """The rows of each date that has some in the draft."""
        return self.lakehouse.partitions(table, self.name if self._dates[table] else "main")

    def published_rows(self, table: Table) -> dict[dt.date, int]:
        """Rows that readers see now, for each drafted date."""
        published = self.lakehouse.partitions(table)
        return {day: published.get(day, 0) for day in self.dates(table)}

    def files(self, table: Table) -> list[tuple[dt.date, Any]]:
        """Date and Iceberg's DataFile, with its column statistics, of each file that the draft holds in its dates."""
        if not self._dates[table]:
            return []
        scan = self.lakehouse.load(table).newScan().useRef(self.name).filter(self._in_dates(table))
        files = [task.file() for task in scan.includeColumnStats().planFiles().iterator()]
        return [(first_date(file.partition()), file) for file in files]

    def publish(
        self, table: Table, first_read: dt.date, last_read: dt.date, summary: dict[str, str] | None = None
    ) -> None:
        """Replace the drafted dates of `table` on main, in one commit; `summary` goes into its snapshot.

        `first_read` and `last_read` bound the dates of `table` on which the draft rests, its own among them.
        Nothing happens where the draft replaces no date. Raises `ConcurrentCommitError`.
        """
        if not self._dates[table]:
            return
        expressions = self.lakehouse.iceberg.expressions.Expressions
        column = table.partition_column
        rests_on = getattr(expressions, "and")(
            expressions.greaterThanOrEqual(column, str(first_read)), expressions.lessThanOrEqual(column, str(last_read))
        )
        files = self.files(table)
        overwrite = self.lakehouse.load(table).newOverwrite().overwriteByRowFilter(self._in_dates(table))
        for _, file in files:
            overwrite.addFile(file)
        overwrite.validateFromSnapshot(self._bases[table]).conflictDetectionFilter(rests_on)
        overwrite.validateNoConflictingData().validateNoConflictingDeletes()
        for key, value in (summary or {}).items():
            overwrite.set(key, value)
        name = self.lakehouse.identifier(table)
        with losing_to_others(f"{name} was changed by another run between {first_read} and {last_read}"):
            overwrite.commit()

    def _in_dates(self, table: Table) -> Any:
        dates = [str(day) for day in self.dates(table)]
        return getattr(self.lakehouse.iceberg.expressions.Expressions, "in")(table.partition_column, dates)
