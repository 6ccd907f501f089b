"""What the tables hold, seen from one place: main, a snapshot, or a draft. A view names it; no session setting does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from config.catalog import count_partition_rows
from spark_jobs.errors import ConcurrentCommitError
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
        reference, loaded = self.reference(table), self.lakehouse.load(table)
        if reference is None:
            return {}
        snapshot = loaded.snapshot_by_name(reference) if isinstance(reference, str) else None
        if isinstance(reference, int):
            snapshot = loaded.snapshot_by_id(reference)
            if snapshot is None:
                raise ConcurrentCommitError(f"{table.name}: what this run read was expired meanwhile")
        return {} if snapshot is None else count_partition_rows(loaded, snapshot.snapshot_id)

    def list_dates(self, table: Table) -> list[dt.date]:
        """The dates that have rows, ascending; reads metadata only."""
        return list(self.count_rows(table))

    def digest_date(self, table: Table, date: dt.date, columns: Sequence[str]) -> str:
        """A fingerprint of `columns` in a date's rows, whatever their order."""
        digest = F.xxhash64(*columns).cast("decimal(38,0)")
        rows, total = self.read_dates(table, date, date).agg(F.count("*"), F.sum(digest)).collect()[0]
        return f"{rows}:{total}"

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
