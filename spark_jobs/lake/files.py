"""The data files of a table, from Iceberg's manifests: no data is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from math import isfinite
from threading import Lock
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, In, LessThanOrEqual
from pyiceberg.manifest import DataFile, ManifestEntryStatus, ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import TableUpdate
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.types import DoubleType, FloatType, NestedField, PrimitiveType, TimestamptzType
from pyiceberg.utils.datetime import micros_to_timestamptz

from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.tables import Table

EPOCH = dt.date(1970, 1, 1)
Files = dict[str, DataFile]  # by location


def partition_date(file: DataFile) -> dt.date:
    """The date of a file of a table that is partitioned by one."""
    return EPOCH + dt.timedelta(days=file.partition[0])


def in_dates(table: Table, dates: Iterable[dt.date]) -> BooleanExpression:
    """PyIceberg's condition for the partitions of `dates`."""
    return In(term=table.partition_column, literals=[str(day) for day in sorted(dates)])


def between_dates(table: Table, first: dt.date, last: dt.date) -> BooleanExpression:
    """PyIceberg's condition for the partitions from `first` to `last`, both included."""
    column = table.partition_column
    return And(GreaterThanOrEqual(term=column, value=str(first)), LessThanOrEqual(term=column, value=str(last)))


def list_files(loaded: IcebergTable, snapshot_id: int | None, condition: BooleanExpression | None = None) -> Files:
    """The files of a snapshot, with their column statistics; of None there are none.

    `condition` names partitions: a file belongs to it whole or not at all.
    """
    if snapshot_id is None:
        return {}
    scan = loaded.scan(row_filter=condition or AlwaysTrue(), snapshot_id=snapshot_id)
    return {task.file.file_path: task.file for task in scan.plan_files()}


def read_bound(field: NestedField, bounds: Mapping[int, bytes] | None) -> Any:
    """The value of a field in the lower or upper bounds of a file; None where it has none.

    A long text may be cut; numbers, dates and times are exact.
    """
    packed = (bounds or {}).get(field.field_id)
    if packed is None or not isinstance(field.field_type, PrimitiveType):
        return None
    value: Any = from_bytes(field.field_type, packed)
    return micros_to_timestamptz(value) if isinstance(field.field_type, TimestamptzType) else value


def count_nulls(files: Iterable[DataFile], field: NestedField) -> int | None:
    """Nulls in a column of numbers, by the files' statistics; None where these do not tell, or show NaN or infinity."""
    nulls, may_be_nan = 0, isinstance(field.field_type, DoubleType | FloatType)
    for file in files:
        nulls_of_file = (file.null_value_counts or {}).get(field.field_id)
        not_numbers = (file.nan_value_counts or {}).get(field.field_id) if may_be_nan else 0
        if nulls_of_file is None or not_numbers != 0:
            return None
        bounds = [read_bound(field, each) for each in (file.lower_bounds, file.upper_bounds)]
        if nulls_of_file < file.record_count and not all(bound is not None and isfinite(bound) for bound in bounds):
            return None
        nulls += nulls_of_file
    return nulls


def find_changed_dates(loaded: IcebergTable, snapshot: Snapshot) -> set[dt.date]:
    """The dates of which a snapshot added or removed files; reads only the manifests that it wrote."""
    return {
        partition_date(entry.data_file)
        for manifest in snapshot.manifests(loaded.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(loaded.io, discard_deleted=False)
        if entry.status != ManifestEntryStatus.EXISTING and entry.snapshot_id == snapshot.snapshot_id
    }


def list_snapshots_since(loaded: IcebergTable, base: int) -> list[Snapshot] | None:
    """The snapshots of main after `base`, newest first; None where main does not lead back to it any more."""
    history = list(ancestors_of(loaded.current_snapshot(), loaded.metadata))
    if base not in {snapshot.snapshot_id for snapshot in history}:
        return None
    return list(takewhile(lambda snapshot: snapshot.snapshot_id != base, history))


class QuickTransaction(Transaction):
    """PyIceberg's, which makes the table's metadata with all its snapshots anew at every look; here at every change."""

    _made: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        if self._made is None or self._made[0] is not base or self._made[1] is not updates:
            self._made = base, updates, super().table_metadata
        return self._made[2]


def evaluate_one_by_one(overwrite: _OverwriteFiles) -> None:
    """Let one thread at a time look at a manifest.

    PyIceberg 0.12 looks at the manifests of an overwrite in threads that share an evaluator, which holds the manifest
    that it looks at: they took each other's, and files that were there were "missing".
    """
    shared, lock = overwrite._build_manifest_evaluator, Lock()

    def build(spec_id: int) -> Callable[[ManifestFile], bool]:
        evaluate = shared(spec_id)

        def evaluate_alone(manifest: ManifestFile) -> bool:
            with lock:
                return evaluate(manifest)

        return evaluate_alone

    overwrite._build_manifest_evaluator = build  # type: ignore[method-assign]


def replace_files(
    loaded: IcebergTable,
    removed: Iterable[DataFile],
    added: Iterable[DataFile],
    rests_on: BooleanExpression,
    summary: dict[str, str],
    conflict: str,
) -> int:
    """Put files in the place of others, in one commit on main as `loaded` has it; returns the new snapshot's id.

    Raises ConcurrentCommitError, `conflict` with PyIceberg's own words, where others have changed a partition of
    `rests_on` since: PyIceberg looks for it should it have to repeat the commit.
    """
    try:
        with QuickTransaction(loaded) as transaction:
            overwrite = transaction.update_snapshot(snapshot_properties=summary).overwrite()
            overwrite.delete_by_predicate(rests_on)
            evaluate_one_by_one(overwrite)
            for file in removed:
                overwrite.delete_data_file(file)
            for file in added:
                overwrite.append_data_file(file)
            overwrite.commit()
    except (CommitFailedException, ValidationException) as error:
        raise ConcurrentCommitError(f"{conflict}: {error}") from error
    return overwrite.snapshot_id
