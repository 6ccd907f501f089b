"""The door: the Iceberg tables by name. A job reads and writes through it and never sees a bucket or an endpoint.

Rows are Spark's, metadata is PyIceberg's: tables, columns, branches, snapshots and what they note.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from config import Settings
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.catalog import CatalogError, Place, folder_place, glue_place
from spark_jobs.lake.conflicts import raise_on_conflict
from spark_jobs.lake.files import QuickTransaction, in_dates
from spark_jobs.lake.notes import JOB_STARTED_MS, Note
from spark_jobs.lake.schema import ensure_table
from spark_jobs.lake.session import open_session
from spark_jobs.lake.tables import Table
from spark_jobs.lake.views import MAIN, Reference, View

T = TypeVar("T")


class Lakehouse:
    """The tables of one database: in the Glue catalog, or with `output_path` in a folder.

    The tables of `inputs` are those of another folder, with `input_path`. The session is the caller's. A table is
    created when it is touched first, and gets the columns that its definition has and it has not.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        *,
        output_path: str | None = None,
        input_path: str | None = None,
        inputs: tuple[Table, ...] = (),
    ) -> None:
        self.started_ms = time.time_ns() // 1_000_000
        self.spark = spark
        self.settings = settings
        self.models_path = f"{output_path}/models" if output_path else settings.paths.models
        self._place = folder_place(output_path) if output_path else glue_place(settings)
        self._input_place = folder_place(input_path) if input_path else self._place
        self._inputs = inputs if input_path else ()
        self._catalogs: dict[str, Catalog] = {}
        self._ensured = set[Table]()
        self.main = View(self, {})
        for place in (self._place, self._input_place):
            place.register(spark)

    # -- views --------------------------------------------------------------------------------------------------------

    def at(self, references: Mapping[Table, Reference]) -> View:
        """The tables at these branches or snapshots, the others at main."""
        return View(self, references)

    def pin(self, *tables: Table) -> dict[Table, Reference]:
        """The snapshots that the tables have now, as `at` takes them."""
        heads = {table: self.load(table).current_snapshot() for table in tables}
        return {table: head.snapshot_id if head else None for table, head in heads.items()}

    # -- tables -------------------------------------------------------------------------------------------------------

    def identifier(self, table: Table) -> str:
        """Catalog, database and name, for SQL. The table is there afterwards."""
        self._ensure(table)
        return ".".join((self._place_of(table).name, *self._path(table)))

    def load(self, table: Table) -> IcebergTable:
        """PyIceberg's table as it is now."""
        self._ensure(table)
        return self._catalog_of(table).load_table(self._path(table))

    def _place_of(self, table: Table) -> Place:
        return self._input_place if table in self._inputs else self._place

    def _catalog_of(self, table: Table) -> Catalog:
        place = self._place_of(table)
        if place.name not in self._catalogs:
            self._catalogs[place.name] = place.open()
        return self._catalogs[place.name]

    def _path(self, table: Table) -> tuple[str, str]:
        return self.settings.paths.database, asdict(self.settings.paths.tables)[table.name]

    def _ensure(self, table: Table) -> None:
        if table in self._ensured:
            return
        catalog, path = self._catalog_of(table), self._path(table)
        if table not in self._inputs:
            ensure_table(catalog, path, table)
        elif not catalog.table_exists(path):
            folder = self._input_place.options["warehouse"].removeprefix("file://")
            raise CatalogError(
                f"{folder} has no table {table.name}; run the job that writes it, or name another folder"
            )
        self._ensured.add(table)

    def exists(self, table: Table) -> bool:
        """Whether anybody has touched the table yet."""
        return table in self._ensured or self._catalog_of(table).table_exists(self._path(table))

    def read_rows(self, table: Table) -> list[dict[str, Any]]:
        """Every row of a small table as it is now, in plain values; without Spark, whose job takes longer.

        A map is a list of pairs, a struct a dict.
        """
        columns = tuple(table.column_names)
        rows: list[dict[str, Any]] = self.load(table).scan(selected_fields=columns).to_arrow().to_pylist()
        return rows

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def ensure_snapshot(self, table: Table) -> int:
        """Id of the newest snapshot; an empty table gets its first one, so that there is always one to compare with."""
        newest = self.load(table).current_snapshot()
        return newest.snapshot_id if newest else self.note_on(table, {})

    def note_on(self, table: Table, summary: dict[str, str]) -> int:
        """An empty commit that carries `summary`; returns its id."""
        loaded = self.load(table)
        with QuickTransaction(loaded) as transaction:
            append = transaction.update_snapshot(snapshot_properties=summary).fast_append()
            append.commit()
        return append.snapshot_id

    def list_history(self, table: Table, newest: int | None = None) -> Iterator[Snapshot]:
        """The retained snapshots of main, or snapshot `newest` and its ancestors; newest first."""
        loaded = self.load(table)
        head = loaded.current_snapshot() if newest is None else loaded.snapshot_by_id(newest)
        return iter(ancestors_of(head, loaded.metadata))

    def find_notes(self, table: Table, note: Note[T], newest: int | None = None) -> Iterator[T]:
        """`note` of every snapshot of `list_history` that has one; newest first."""
        values = (note.read(snapshot) for snapshot in self.list_history(table, newest))
        return (value for value in values if value is not None)

    def find_note(self, table: Table, note: Note[T]) -> T | None:
        """`note` of the newest snapshot of main that has one."""
        return next(self.find_notes(table, note), None)

    def snapshot_columns(self, table: Table, snapshot_id: int) -> set[str]:
        """The columns that the table had in a snapshot; all of today's where it has expired."""
        loaded = self.load(table)
        snapshot = loaded.snapshot_by_id(snapshot_id)
        schemas = loaded.schemas()
        schema = schemas.get(snapshot.schema_id) if snapshot and snapshot.schema_id is not None else None
        return {field.name for field in (schema or loaded.schema()).fields}

    def describe_job(self) -> dict[str, str]:
        """What every job notes: when it started."""
        return JOB_STARTED_MS.write(self.started_ms)

    # -- writing ------------------------------------------------------------------------------------------------------

    def replace_dates(
        self,
        table: Table,
        frame: DataFrame,
        dates: list[dt.date],
        summary: dict[str, str] | None = None,
        branch: str = MAIN,
    ) -> None:
        """Replace the partitions of `dates` by `frame` in one commit; a date without rows becomes empty.

        Every row of `frame` must lie in `dates`.
        """
        name = self.identifier(table) if branch == MAIN else f"{self.identifier(table)}.branch_{branch}"
        writer = frame.select(*table.column_names).writeTo(name)
        for key, value in (summary or {}).items():
            writer = writer.option(f"snapshot-property.{key}", value)
        writer.overwrite(F.col(table.partition_column).isin([F.lit(day) for day in dates]))

    def replace_rows(
        self, table: Table, rows: Sequence[tuple[Any, ...]], dates: list[dt.date], branch: str = MAIN
    ) -> None:
        """`replace_dates` with the few rows that a job holds in Python, each in the order of the table's columns.

        Spark would take longer to plan the write than PyIceberg takes for it. Not for others' branches: one commit
        removes the partitions, the next one fills them.
        """
        loaded = self.load(table)
        schema = loaded.schema().as_arrow()
        columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
        by_name = dict(zip(table.column_names, columns, strict=True))
        arrays = [pa.array([*map(to_arrow_value, by_name[field.name])], type=field.type) for field in schema]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Delete operation did not match any records")
            with QuickTransaction(loaded) as transaction:
                transaction.overwrite(pa.table(arrays, schema=schema), in_dates(table, dates), branch=branch)

    def merge_rows(self, table: Table, frame: DataFrame, key: str) -> None:
        """Insert the rows of `frame`, or put them in the place of those with the same `key`, in one commit.

        Raises ConcurrentCommitError where another run was faster.
        """
        name = self.identifier(table)
        merge = frame.alias("new").mergeInto(name, F.col(f"{name}.{key}") == F.col(f"new.{key}"))
        with raise_on_conflict(f"{table.name} was changed by another run meanwhile"):
            merge.whenMatched().updateAll().whenNotMatched().insertAll().merge()

    def run_sql(self, table: Table, statement: str) -> None:
        """One UPDATE, DELETE or MERGE of `table`; `{table}` in it stands for its name.

        Raises ConcurrentCommitError where another run was faster.
        """
        with raise_on_conflict(f"{table.name} was changed by another run meanwhile"):
            self.spark.sql(statement.replace("{table}", self.identifier(table)))

    def append_if_unchanged(
        self, table: Table, frame: DataFrame, base: int, summary: dict[str, str]
    ) -> tuple[int, int]:
        """Append `frame` on top of snapshot `base`, or fail where somebody else has committed since.

        The rows go to a branch of `base`; main moves to its end by compare-and-swap. Returns the new snapshot's id and
        its rows. Raises ConcurrentCommitError and leaves the table as it was when main has moved.
        """
        branch = f"append_{uuid.uuid4().hex}"
        self.create_branch(table, branch, base)
        try:
            writer = frame.select(*table.column_names).writeTo(f"{self.identifier(table)}.branch_{branch}")
            for key, value in summary.items():
                writer = writer.option(f"snapshot-property.{key}", value)
            writer.append()
            return self._move_main(table, branch, base)
        finally:
            self.remove_branch(table, branch)

    def _move_main(self, table: Table, branch: str, base: int) -> tuple[int, int]:
        """Main to the end of `branch`, which goes in the same commit; its snapshot's id and rows."""
        end = self.load(table).snapshot_by_name(branch)
        if end is None:
            raise ConcurrentCommitError(f"{table.name}: the branch {branch} was dropped meanwhile")

        def swap(loaded: IcebergTable) -> None:
            head = loaded.current_snapshot()
            if head and head.snapshot_id == end.snapshot_id:
                return  # the answer to an earlier attempt was lost
            if head is None or head.snapshot_id != base:
                raise ConcurrentCommitError(f"{table.name} has changed since snapshot {base}")
            move = SetSnapshotRefUpdate(
                ref_name=MAIN,
                type=SnapshotRefType.BRANCH,
                snapshot_id=end.snapshot_id,
                max_ref_age_ms=None,
                max_snapshot_age_ms=None,
                min_snapshots_to_keep=None,
            )
            loaded.catalog.commit_table(
                loaded,
                (AssertRefSnapshotId(ref=MAIN, snapshot_id=base),),
                (move, RemoveSnapshotRefUpdate(ref_name=branch)),
            )

        self._change_metadata(table, swap)
        rows = end.summary.additional_properties.get("added-records", "0") if end.summary else "0"
        return end.snapshot_id, int(rows)

    # -- branches -----------------------------------------------------------------------------------------------------

    def create_branch(self, table: Table, branch: str, snapshot_id: int) -> None:
        """A branch that begins at a snapshot. Raises ConcurrentCommitError where that has expired."""

        def create(loaded: IcebergTable) -> None:
            if loaded.snapshot_by_id(snapshot_id) is None:
                raise ConcurrentCommitError(f"{table.name} has changed since snapshot {snapshot_id}, which has expired")
            if branch not in loaded.refs():
                loaded.manage_snapshots().create_branch(snapshot_id, branch).commit()

        self._change_metadata(table, create)

    def remove_branch(self, table: Table, branch: str) -> None:
        """Drop a branch where there is one; main stays as it is."""

        def remove(loaded: IcebergTable) -> None:
            if branch in loaded.refs():
                loaded.manage_snapshots().remove_branch(branch).commit()

        self._change_metadata(table, remove)

    def _change_metadata(self, table: Table, change: Callable[[IcebergTable], None]) -> None:
        """Make a change of refs, again on the table as it is then where another commit came between."""
        attempts = Retrying(
            stop=stop_after_attempt(10),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            retry=retry_if_exception_type(CommitFailedException),
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                change(self.load(table))

    # -- files --------------------------------------------------------------------------------------------------------

    def write_text(self, table: Table, uri: str, text: str) -> None:
        """Put a file of UTF-8 in the place of another, where the tables' files lie."""
        with self.load(table).io.new_output(uri).create(overwrite=True) as stream:
            stream.write(text.encode())


def to_arrow_value(value: Any) -> Any:
    """Arrow takes a map as its pairs."""
    return [*value.items()] if isinstance(value, Mapping) else value


def to_sql(text: str) -> str:
    """Any text as a literal of Spark SQL. Spark Connect binds no parameters in UPDATE, DELETE and MERGE."""
    return f"CAST(X'{text.encode().hex()}' AS STRING)"


@contextmanager
def open_lakehouse(app_name: str, settings: Settings, **paths: Any) -> Iterator[Lakehouse]:
    """A lake in a session of its own, or in the active one; what a job's `main` begins with."""
    with open_session(app_name, settings) as spark:
        yield Lakehouse(spark, settings, **paths)
