"""The edge between jobs and storage: one Spark session, and the Iceberg tables by name.

A job reads and writes through `Lakehouse`; it never sees a bucket, an endpoint or a catalog.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import IllegalArgumentException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from config import Settings
from spark_jobs.tables import TABLES, Table

CATALOG = "lakehouse"
INPUT_CATALOG = "lakehouse_input"
EPOCH = dt.date(1970, 1, 1)
BRANCH_ATTEMPTS = 10
_TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "commit.retry.num-retries": "10",
}


def open_session(app_name: str, settings: Settings, warehouses: dict[str, str | None]) -> SparkSession:
    """Session with one Iceberg catalog for each of `warehouses`: a folder, or Glue's where the folder is None.

    Everything that needs a new JVM (jars, memory) comes from spark-submit or SPARK_CONF_DIR; the rest stands here.
    """
    aws = settings.environment.aws
    conf = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        # Where in Python a column was made costs as much as making it; an error names the column and the job's line.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        # Unicode's tables for upper and lower case cost every job a second; ours lower-cases hexadecimal digits.
        "spark.sql.icu.caseMappings.enabled": "false",
        # Of a key that stands twice in an object the last value counts, as it does for from_json.
        "spark.sql.variant.allowDuplicateKeys": "true",
        # Distinct products are collected by hash up to this many sessions in a task, then by sorting; Spark's is 128.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
        "spark.sql.shuffle.partitions": str(settings.environment.spark.shuffle_partitions),
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint.region": aws.region,
    }
    if aws.endpoint_url:
        conf |= {"spark.hadoop.fs.s3a.endpoint": aws.endpoint_url, "spark.hadoop.fs.s3a.path.style.access": "true"}
    for name, folder in warehouses.items():
        options = _folder_catalog(folder) if folder else _glue_catalog(settings)
        conf[f"spark.sql.catalog.{name}"] = "org.apache.iceberg.spark.SparkCatalog"
        conf |= {f"spark.sql.catalog.{name}.{key}": value for key, value in options.items()}
    builder = SparkSession.builder.appName(app_name)
    for key, value in conf.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _folder_catalog(folder: str) -> dict[str, str]:
    return {"type": "hadoop", "warehouse": folder, "cache-enabled": "false"}


def _glue_catalog(settings: Settings) -> dict[str, str]:
    aws = settings.environment.aws
    options = {
        "type": "glue",
        "warehouse": settings.paths.warehouse,
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": aws.region,
        "cache-enabled": "false",
    }
    if aws.endpoint_url:
        options |= {"s3.endpoint": aws.endpoint_url, "s3.path-style-access": "true", "glue.endpoint": aws.endpoint_url}
    return options


class Lakehouse:
    """The tables of one database. `with Lakehouse(...)` stops the session at the end.

    Tables live in the Glue catalog; with `output_path` in a folder instead, and those of `inputs` with `input_path`.
    """

    def __init__(
        self,
        app_name: str,
        settings: Settings,
        *,
        output_path: str | None = None,
        input_path: str | None = None,
        inputs: tuple[Table, ...] = (),
    ) -> None:
        self.started_ms = time.time_ns() // 1_000_000
        self.settings = settings
        self._inputs = inputs if input_path else ()
        self._held: dict[Table, int | None] = {}
        self.models_path = f"{output_path}/models" if output_path else settings.paths.models
        warehouses = {CATALOG: output_path} | ({INPUT_CATALOG: input_path} if input_path else {})
        self.spark = open_session(app_name, settings, warehouses)

    def __enter__(self) -> Lakehouse:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.spark.stop()

    def identifier(self, table: Table) -> str:
        """Catalog, database and name, for SQL."""
        catalog = INPUT_CATALOG if table in self._inputs else CATALOG
        return f"{catalog}.{self.settings.paths.database}.{asdict(self.settings.paths.tables)[table.name]}"

    def create_tables(self) -> None:
        """Create what is missing, with every comment: tables, and columns of tables that an earlier version made."""
        database = self.settings.paths.database
        catalog = self.iceberg.spark.Spark3Util.loadIcebergCatalog(self.spark._jsparkSession, CATALOG)
        namespace = self.iceberg.catalog.TableIdentifier.parse(f"{database}.any").namespace()
        if not catalog.namespaceExists(namespace):
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {CATALOG}.{database}")
        existing = {table.name() for table in catalog.listTables(namespace)}
        for table in TABLES:
            if table in self._inputs:
                continue
            if self.identifier(table).rpartition(".")[2] in existing:
                self._add_missing_columns(table)
                continue
            columns = ", ".join(f"`{c.name}` {c.type} COMMENT '{_quote(c.comment)}'" for c in table.columns)
            partition = f"PARTITIONED BY (`{table.partition}`)" if table.partition else ""
            properties = ", ".join(f"'{key}'='{value}'" for key, value in _TABLE_PROPERTIES.items())
            self.spark.sql(
                f"CREATE TABLE IF NOT EXISTS {self.identifier(table)} ({columns}) USING iceberg {partition} "
                f"COMMENT '{_quote(table.comment)}' TBLPROPERTIES ({properties})"
            )

    def _add_missing_columns(self, table: Table) -> None:
        """Columns that the definition has and the table has not, in the definition's order; old rows are null there."""
        known = {field.name() for field in self.load(table).schema().columns()}
        before = "FIRST"
        for column in table.columns:
            if column.name not in known:
                self.spark.sql(
                    f"ALTER TABLE {self.identifier(table)} ADD COLUMNS "
                    f"(`{column.name}` {column.type} COMMENT '{_quote(column.comment)}' {before})"
                )
            before = f"AFTER `{column.name}`"

    @contextmanager
    def hold(self, table: Table) -> Iterator[None]:
        """Within it every read of `table` sees what it holds now, whatever others commit meanwhile.

        Raises ConcurrentCommitError in the place of Spark's error where others have expired what is read.
        """
        before, snapshot = self._held, self.load(table).currentSnapshot()
        held = None if snapshot is None else int(snapshot.snapshotId())
        self._held = {**before, table: held}
        try:
            yield
        except (Py4JJavaError, PySparkException) as error:
            if held is None or self.load(table).snapshot(held) is not None:
                raise
            raise ConcurrentCommitError(
                f"{self.identifier(table)}: what this run read was expired meanwhile"
            ) from error
        finally:
            self._held = before

    def read(self, table: Table) -> DataFrame:
        """Every row; the caller bounds the partition column on both sides."""
        reader = self.spark.read
        if (held := self._held.get(table)) is not None:
            reader = reader.option("snapshot-id", held)
        rows = reader.table(self.identifier(table)).select(*table.column_names)
        return rows.limit(0) if table in self._held and held is None else rows

    def read_dates(self, table: Table, first: dt.date, last: dt.date) -> DataFrame:
        """The partitions from `first` to `last`, both included."""
        return self.read(table).where(F.col(table.partition_column).between(F.lit(first), F.lit(last)))

    def partitions(self, table: Table, branch: str = "main") -> dict[dt.date, int]:
        """The rows of each date that has some, ascending; reads metadata only."""
        loaded = self.load(table)
        held = self._held.get(table, branch)
        snapshot = None if held is None else loaded.snapshot(held)
        if snapshot is None and isinstance(held, int):
            raise ConcurrentCommitError(f"{self.identifier(table)}: what this run read was expired meanwhile")
        if snapshot is None:
            return {}
        kind = self.iceberg.MetadataTableType.PARTITIONS
        scan = self.iceberg.MetadataTableUtils.createMetadataTableInstance(loaded, kind).newScan()
        found = {
            # At once: the iterator hands out the same row again with other members.
            first_date(_member(row, 0)): int(_member(row, 2))
            for task in scan.useSnapshot(snapshot.snapshotId()).planFiles().iterator()
            for row in task.asDataTask().rows().iterator()
        }
        return dict(sorted(found.items()))

    def partition_dates(self, table: Table) -> list[dt.date]:
        """The dates that have rows, ascending; reads metadata only."""
        return list(self.partitions(table))

    def digest_date(self, table: Table, date: dt.date, columns: Sequence[str]) -> str:
        """A fingerprint of `columns` in a date's rows, whatever their order."""
        digest = F.xxhash64(*columns).cast("decimal(38,0)")
        rows, total = self.read_dates(table, date, date).agg(F.count("*"), F.sum(digest)).collect()[0]
        return f"{rows}:{total}"

    def replace_dates(
        self, table: Table, frame: DataFrame, dates: list[dt.date], summary: dict[str, str] | None = None
    ) -> None:
        """Replace the partitions of `dates` by `frame` in one commit; a date without rows becomes empty.

        Every row of `frame` must lie in `dates`.
        """
        writer = frame.select(*table.column_names).writeTo(self.identifier(table))
        for key, value in (summary or {}).items():
            writer = writer.option(f"snapshot-property.{key}", value)
        writer.overwrite(F.col(table.partition_column).isin([F.lit(day) for day in dates]))

    def merge_rows(self, table: Table, frame: DataFrame, key: str) -> None:
        """Insert the rows of `frame`, or put them in the place of those with the same `key`, in one commit.

        Raises ConcurrentCommitError where another run was faster.
        """
        name = self.identifier(table)
        merge = frame.alias("new").mergeInto(name, F.col(f"{name}.{key}") == F.col(f"new.{key}"))
        with losing_to_others(f"{name} was changed by another run meanwhile"):
            merge.whenMatched().updateAll().whenNotMatched().insertAll().merge()

    def start_history(self, table: Table) -> int:
        """Id of the newest snapshot; an empty table gets its first one, so that there is always one to compare with."""
        if not self.load(table).currentSnapshot():
            self.load(table).newAppend().commit()
        return int(self.load(table).currentSnapshot().snapshotId())

    def append_if_unchanged(
        self, table: Table, frame: DataFrame, base: int, summary: dict[str, str]
    ) -> tuple[int, int]:
        """Append `frame` on top of snapshot `base`, or fail where somebody else has committed since.

        The rows go to a branch of `base`; fast-forwarding main to it is the compare-and-swap. Returns the new
        snapshot's id and its rows. Raises `ConcurrentCommitError` and leaves the table as it was when main has moved.
        """
        branch = f"append_{uuid.uuid4().hex}"
        name = self.identifier(table)
        with losing_to_others(f"{name} has changed since snapshot {base}, which has expired"):
            self._change_branches(table, lambda branches: branches.createBranch(branch, base))
        try:
            writer = frame.select(*table.column_names).writeTo(f"{name}.branch_{branch}")
            for key, value in summary.items():
                writer = writer.option(f"snapshot-property.{key}", value)
            writer.append()
            try:
                self._change_branches(table, lambda branches: branches.fastForwardBranch("main", branch))
            except IllegalArgumentException as error:  # main is no longer an ancestor of the branch
                raise ConcurrentCommitError(f"{name} has changed since snapshot {base}") from error
            snapshot = self.load(table).snapshot(branch)
            return int(snapshot.snapshotId()), int(snapshot.summary().getOrDefault("added-records", "0"))
        finally:
            self.remove_branch(table, branch)

    def remove_branch(self, table: Table, branch: str) -> None:
        """Drop a branch; main stays as it is."""
        self._change_branches(table, lambda branches: branches.removeBranch(branch))

    def _change_branches(self, table: Table, change: Callable[[Any], Any]) -> None:
        """Commit a change of Iceberg's SnapshotManager, again where another commit came between.

        Iceberg repeats it only on the metadata that it began with, which then can never fit.
        """
        for attempt in range(1, BRANCH_ATTEMPTS + 1):
            try:
                change(self.load(table).manageSnapshots()).commit()
                return
            except Py4JJavaError as error:
                is_overtaken = error.java_exception.getClass().getSimpleName() == "CommitFailedException"
                if not is_overtaken or attempt == BRANCH_ATTEMPTS:
                    raise

    def newest_summary(self, table: Table, key: str) -> str | None:
        """`key` of the newest snapshot of main whose summary has it."""
        return next(self.summaries(table, key), None)

    def summaries(self, table: Table, key: str, newest: int | None = None) -> Iterator[str]:
        """`key` of every snapshot of main, or of `newest` and its ancestors, whose summary has it; newest first."""
        values = (snapshot.summary().get(key) for snapshot in self.history(table, newest))
        return (str(value) for value in values if value is not None)

    def history(self, table: Table, newest: int | None = None) -> Iterator[Any]:
        """The retained snapshots of main, or snapshot `newest` and its ancestors; newest first."""
        loaded = self.load(table)
        snapshot = loaded.currentSnapshot() if newest is None else loaded.snapshot(newest)
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parentId()
            snapshot = None if parent is None else loaded.snapshot(parent)

    def write_text(self, uri: str, text: str) -> None:
        """Put a file of UTF-8 in the place of another, through Hadoop: a folder, S3."""
        hadoop = self.spark._jvm.org.apache.hadoop  # type: ignore[union-attr]
        path = hadoop.fs.Path(uri)
        stream = path.getFileSystem(self.spark._jsparkSession.sessionState().newHadoopConf()).create(path, True)
        try:
            stream.write(text.encode())
        finally:
            stream.close()

    @property
    def iceberg(self) -> Any:
        """Iceberg's Java packages: its own API answers in milliseconds what takes SQL a job."""
        return self.spark._jvm.org.apache.iceberg  # type: ignore[union-attr]

    def load(self, table: Table) -> Any:
        """Iceberg's Table as it is now."""
        return self.iceberg.spark.Spark3Util.loadIcebergTable(self.spark._jsparkSession, self.identifier(table))

    def job_summary(self, **values: Any) -> dict[str, str]:
        """What a job leaves in a snapshot: when it started (epoch milliseconds), and `values` as JSON."""
        described = {key.replace("_", "-"): json.dumps(value, default=str) for key, value in values.items()}
        return {"job-started-ms": str(self.started_ms)} | described


class ConcurrentCommitError(Exception):
    """Somebody else committed to the table first; read again and retry."""


@contextmanager
def losing_to_others(text: str) -> Iterator[None]:
    """Commits in which Iceberg finds that somebody else was faster raise ConcurrentCommitError(text)."""
    try:
        yield
    except Py4JJavaError as error:
        if error.java_exception.getClass().getSimpleName() not in ("ValidationException", "CommitFailedException"):
            raise
        raise ConcurrentCommitError(text) from error


def first_date(partition: Any) -> dt.date:
    """The date of an Iceberg partition by date."""
    return EPOCH + dt.timedelta(days=_member(partition, 0))


def _member(row: Any, position: int) -> Any:
    """A member of an Iceberg StructLike, such as a row of the partitions table."""
    return row.get(position, row.getClass().forName("java.lang.Object"))


def _quote(text: str) -> str:
    return text.replace("'", "\\'")
