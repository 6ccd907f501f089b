"""What the tables hold, seen from one place: main, a snapshot, or a draft. A view names it; no session setting does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyiceberg.table import Table as IcebergTable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from config.catalog import count_partition_rows
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.files import between_dates, count_nulls, list_files, partition_date, read_bound
from spark_jobs.lake.tables import Table

if TYPE_CHECKING:
    from spark_jobs.lake.lakehouse import Lakehouse

MAIN = "main"
Reference = str | int | None  # a branch, a snapshot, or a table that had no snapshot yet


class View:
    """Reads each table at its reference of `references`, every other one at main as it is when it is read.

    A view never changes: two reads of a table that it names a snapshot for are equal, whatever others commit.
    """

    def __init__(self, lakehouse: Lakehouse, references: Mapping[Table, Reference]) -> None:
        self.lakehouse = lakehouse
        self._references = dict(references)

    def reference(self, table: Table) -> Reference:
        """Where the view reads the table."""
        return self._references.get(table, MAIN)

    def read(self, table: Table) -> DataFrame:
        """Every row; the caller bounds the partition column on both sides.

        A column that the table got after the snapshot is null.
        """
        reference, name = self.reference(table), self.lakehouse.identifier(table)
        spark = self.lakehouse.spark
        if reference == MAIN:
            return spark.read.table(name).select(*table.column_names)
        if reference is None:
            return spark.read.table(name).select(*table.column_names).limit(0)
        if isinstance(reference, str):
            return spark.read.table(f"{name}.branch_{reference}").select(*table.column_names)
        known = self.lakehouse.snapshot_columns(table, reference)
        columns = [
            F.col(column.name) if column.name in known else F.lit(None).cast(column.type).alias(column.name)
            for column in table.columns
        ]
        return spark.read.table(f"{name}.snapshot_id_{reference}").select(*columns)

    def read_dates(self, table: Table, first: dt.date, last: dt.date) -> DataFrame:
        """The partitions from `first` to `last`, both included."""
        return self.read(table).where(F.col(table.partition_column).between(F.lit(first), F.lit(last)))

    def count_rows(self, table: Table) -> dict[dt.date, int]:
        """The rows of each date that has some, ascending; reads metadata only."""
        loaded = self.lakehouse.load(table)
        snapshot_id = self._find_snapshot(table, loaded)
        return {} if snapshot_id is None else count_partition_rows(loaded, snapshot_id)

    def _find_snapshot(self, table: Table, loaded: IcebergTable) -> int | None:
        """Where the view reads the table; None where it has no snapshot yet. Raises ConcurrentCommitError."""
        reference = self.reference(table)
        if isinstance(reference, str):
            head = loaded.snapshot_by_name(reference)
            return head.snapshot_id if head else None
        if reference is not None and loaded.snapshot_by_id(reference) is None:
            raise ConcurrentCommitError(f"{table.name}: what this run read was expired meanwhile")
        return reference

    def find_bounds(self, table: Table, column: str, first: dt.date, last: dt.date) -> dict[dt.date, tuple[Any, Any]]:
        """Least and greatest value of a column of numbers or moments, for each date that has rows, ascending.

        From the statistics of the files; Spark reads the data only where a file has none, or nulls alone.
        """
        loaded = self.lakehouse.load(table)
        field = loaded.schema().find_field(column)
        bounds: dict[dt.date, tuple[Any, Any]] = {}
        for file in list_files(loaded, self._find_snapshot(table, loaded), between_dates(table, first, last)).values():
            low, high = read_bound(field, file.lower_bounds), read_bound(field, file.upper_bounds)
            if low is None or high is None:
                return self._measure_bounds(table, column, first, last)
            day = partition_date(file)
            least, greatest = bounds.get(day, (low, high))
            bounds[day] = min(least, low), max(greatest, high)
        return dict(sorted(bounds.items()))

    def count_nulls(self, table: Table, date: dt.date, columns: Collection[str]) -> tuple[int, dict[str, int]] | None:
        """Rows of a date, and nulls in each of its columns of numbers, by the statistics of the files: no data is read.

        None where these do not tell, or where some value is NaN or infinite.
        """
        loaded = self.lakehouse.load(table)
        files = list_files(loaded, self._find_snapshot(table, loaded), between_dates(table, date, date)).values()
        nulls = {name: count_nulls(files, loaded.schema().find_field(name)) for name in columns}
        told = {name: count for name, count in nulls.items() if count is not None}
        return (sum(file.record_count for file in files), told) if told.keys() == nulls.keys() else None

    def _measure_bounds(
        self, table: Table, column: str, first: dt.date, last: dt.date
    ) -> dict[dt.date, tuple[Any, Any]]:
        rows = self.read_dates(table, first, last).where(F.col(column).isNotNull()).groupBy(table.partition_column)
        bounds = rows.agg(F.min(column).alias("least"), F.max(column).alias("greatest")).toArrow().to_pylist()
        return dict(sorted((row[table.partition_column], (row["least"], row["greatest"])) for row in bounds))

    def list_dates(self, table: Table) -> list[dt.date]:
        """The dates that have rows, ascending; reads metadata only."""
        return list(self.count_rows(table))

    def digest_dates(self, table: Table, dates: Sequence[dt.date], columns: Sequence[str]) -> dict[dt.date, str]:
        """A fingerprint of `columns` in the rows of each date that has some, whatever their order."""
        date = F.col(table.partition_column)
        rows = self.read_dates(table, min(dates), max(dates)).where(date.isin([F.lit(day) for day in dates]))
        total = F.sum(F.xxhash64(*columns).cast("decimal(38,0)"))
        digests = rows.groupBy(date).agg(F.count("*"), total).collect()
        return {day: f"{count}:{digest}" for day, count, digest in digests}

    def digest_date(self, table: Table, date: dt.date, columns: Sequence[str]) -> str:
        """The fingerprint of one date."""
        return self.digest_dates(table, [date], columns).get(date, "0:None")

    @contextmanager
    def explain_expiry(self) -> Iterator[None]:
        """Where others have expired a snapshot that the view reads, any error becomes ConcurrentCommitError."""
        try:
            yield
        except ConcurrentCommitError:
            raise
        except Exception as error:
            for table, reference in self._references.items():
                if isinstance(reference, int) and self.lakehouse.load(table).snapshot_by_id(reference) is None:
                    raise ConcurrentCommitError(f"{table.name}: what this run read was expired meanwhile") from error
            raise
