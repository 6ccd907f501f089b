"""What the pages ask of the lake: queries of `sql/` in Athena, each answered once for the snapshots that it reads.

Before a page asks, Glue says which metadata file each table has: the snapshot in it is part of an answer's key, so that
unchanged tables cost no query, and a new commit costs one.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import awswrangler as wr
import boto3
import pandas as pd  # type: ignore[import-untyped]
import streamlit as st
from awswrangler.exceptions import QueryCancelled, QueryFailed
from botocore.exceptions import BotoCoreError, ClientError

import config
from config import Settings
from config.catalog import catalog_properties
from dashboard.queries import render, tables_of

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient

POLL_SECONDS = 0.03
MOST_ANSWERS = 500  # that are kept, the least used go first
ASKED = "answers of this page"
MB, TERABYTE = 10**6, 10**12
SMALLEST_CHARGE_MB = 10

Parameter = str | int | bool | dt.date | tuple[str, ...] | tuple[int, ...]


class LakeError(Exception):
    """A page cannot be shown: what is the matter, and what to do about it."""

    title = "The lake has no answer"

    def __init__(self, matter: str, remedy: str) -> None:
        super().__init__(f"{matter} {remedy}")
        self.matter, self.remedy = matter, remedy


class EmptyLakeError(LakeError):
    title = "Nothing here yet"


class NoDateError(EmptyLakeError):
    title = "Which dates?"


class MissingTableError(LakeError):
    title = "A table is missing"


class ServiceAwayError(LakeError):
    title = "The lake does not answer"


class ScanLimitError(LakeError):
    title = "The query reads too much"


class QueryRefusedError(LakeError):
    title = "Athena refuses the query"


@dataclass(frozen=True)
class Answer:
    """Rows of a query, bytes that Athena read for them, and its milliseconds."""

    rows: pd.DataFrame
    scanned_bytes: int
    milliseconds: int


@dataclass(frozen=True)
class Lake:
    """Clients of one environment."""

    settings: Settings
    session: boto3.Session

    @functools.cached_property
    def athena(self) -> AthenaClient:
        return self.session.client("athena", endpoint_url=wr.config.athena_endpoint_url)

    def metadata_locations(self) -> dict[str, str]:
        """Glue's name of each Iceberg table of the database -> its current metadata file."""
        glue = self.session.client("glue", endpoint_url=wr.config.glue_endpoint_url)
        pages = glue.get_paginator("get_tables").paginate(DatabaseName=self.settings.paths.database)
        parameters = {table["Name"]: table.get("Parameters", {}) for page in pages for table in page["TableList"]}
        return {name: found["metadata_location"] for name, found in parameters.items() if "metadata_location" in found}

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Rows of a SELECT, executed. Raises LakeError."""
        with self._explained():
            rows = wr.athena.read_sql_query(
                sql,
                database=self.settings.paths.database,
                ctas_approach=False,
                params=dict(parameters) if parameters else None,
                workgroup=self.settings.pipeline.dashboard.work_group,
                s3_output=f"{self.settings.paths.athena_results}/",
                boto3_session=self.session,
                athena_query_wait_polling_delay=POLL_SECONDS,
            )
        return _answer_of(rows, rows.query_metadata)

    def describe(self, sql: str) -> Answer:
        """What SHOW, DESCRIBE or EXPLAIN prints, as texts: Athena writes no CSV of it. Raises LakeError."""
        with self._explained():
            execution = wr.athena.start_query_execution(
                sql,
                database=self.settings.paths.database,
                workgroup=self.settings.pipeline.dashboard.work_group,
                s3_output=f"{self.settings.paths.athena_results}/",
                boto3_session=self.session,
                athena_query_wait_polling_delay=POLL_SECONDS,
                wait=True,
            )
            pages = list(
                self.athena.get_paginator("get_query_results").paginate(QueryExecutionId=execution["QueryExecutionId"])
            )
        names = [column["Name"] for column in pages[0]["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]]
        lines = [[datum.get("VarCharValue") for datum in row["Data"]] for p in pages for row in p["ResultSet"]["Rows"]]
        return _answer_of(pd.DataFrame(lines, columns=names), execution)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (QueryFailed, QueryCancelled, ClientError, BotoCoreError) as error:
            raise explain(error, self.settings) from error


def _answer_of(rows: pd.DataFrame, execution: Mapping[str, Any]) -> Answer:
    statistics = execution["Statistics"]
    return Answer(rows, statistics["DataScannedInBytes"], statistics["TotalExecutionTimeInMillis"])


@dataclass(frozen=True)
class NamedQuery:
    """A query that Athena keeps under a name."""

    description: str
    sql: str


@st.cache_resource(show_spinner=False)
def open_lake() -> Lake:
    """The lake of the environment that LAKEHOUSE_ENV names: the stack's endpoints on one machine, AWS's elsewhere."""
    settings = config.load()
    environment = settings.environment
    if environment.stack:
        wr.config.athena_endpoint_url = f"http://{environment.stack.bind_host}:{environment.stack.ports.athena}"
    if endpoint := environment.aws.endpoint_url:
        wr.config.s3_endpoint_url = wr.config.glue_endpoint_url = wr.config.sts_endpoint_url = endpoint
    wr.config.botocore_config = botocore_config()
    credentials = environment.any_credentials
    session = boto3.Session(credentials, credentials, region_name=environment.aws.region)
    return Lake(settings, session)


def ask(query: str, **parameters: Parameter) -> pd.DataFrame:
    """Rows of `sql/<query>.sql` for the tables' current snapshots; no query starts where they are known.

    Raises LakeError: EmptyLakeError, MissingTableError, ServiceAwayError, ScanLimitError, QueryRefusedError.
    """
    snapshots = current_snapshots(tables_of(query))
    answer = _answer(query, tuple(sorted(parameters.items())), tuple(snapshots.items()))
    st.session_state.setdefault(ASKED, []).append(answer)
    return answer.rows


def named_queries() -> dict[str, NamedQuery]:
    """Athena's own of the primary work group, by name. Raises LakeError."""
    lake = open_lake()
    try:
        found = [
            query
            for page in lake.athena.get_paginator("list_named_queries").paginate()
            if page["NamedQueryIds"]
            for query in lake.athena.batch_get_named_query(NamedQueryIds=page["NamedQueryIds"])["NamedQueries"]
        ]
    except (ClientError, BotoCoreError) as error:
        raise explain(error, lake.settings) from error
    return {
        query["Name"]: NamedQuery(query.get("Description", ""), query["QueryString"])
        for query in sorted(found, key=lambda query: query["Name"])
    }


def current_snapshots(tables: tuple[str, ...]) -> dict[str, int | None]:
    """Snapshot id of each table, by its key in config; None where it never had one. Raises LakeError."""
    lake = open_lake()
    names = lake.settings.paths.tables
    try:
        locations = lake.metadata_locations()
    except (ClientError, BotoCoreError) as error:
        raise explain(error, lake.settings) from error
    if not locations:
        raise EmptyLakeError(
            f"The database {lake.settings.paths.database} has no tables.",
            "`make run` fills it with three generated dates; `make backfill` with a range of your own.",
        )
    missing = [name for table in tables if (name := getattr(names, table)) not in locations]
    if missing:
        raise MissingTableError(
            f"Glue's database {lake.settings.paths.database} has no {', '.join(missing)}.",
            "The next run of the pipeline creates it; or a name in config/s3_paths.yaml is not the one in Glue.",
        )
    return {table: _snapshot_of(locations[getattr(names, table)]) for table in tables}


@st.cache_data(show_spinner=False, max_entries=MOST_ANSWERS)
def _snapshot_of(metadata_location: str) -> int | None:
    """A metadata file never changes."""
    from pyiceberg.table import StaticTable  # half a second to import, which most pages are spared

    properties = catalog_properties(open_lake().settings)
    return StaticTable.from_metadata(metadata_location, properties).metadata.current_snapshot_id


@st.cache_data(show_spinner="Athena is asked …", max_entries=MOST_ANSWERS)
def _answer(
    query: str, parameters: tuple[tuple[str, Parameter], ...], snapshots: tuple[tuple[str, int | None], ...]
) -> Answer:
    lake = open_lake()
    return lake.query(render(query, lake.settings.paths, dict(snapshots)), dict(parameters))


def explain(error: Exception, settings: Settings) -> LakeError:
    """What a client's error means for who looks at a page."""
    text = str(error)
    limit = settings.pipeline.dashboard.scan_limit_mb
    if "scanned limit" in text:
        return ScanLimitError(
            f"It reads more than the {limit:,} MB that the work group allows.",
            "Choose fewer dates, or filter on the partition; the limit is `dashboard.scan_limit_mb` in "
            "config/pipeline.yaml.",
        )
    if isinstance(error, BotoCoreError):
        return ServiceAwayError(
            text, "On one machine `make status` shows what is down and `make up` starts it; on AWS look at the network."
        )
    if "EntityNotFoundException" in text:
        return EmptyLakeError(text, "`make run` fills the lake with three generated dates.")
    return QueryRefusedError(text, "`make logs SERVICE=athena` shows more; on AWS the query's history does.")


def botocore_config() -> Any:
    """Waits no minute for an endpoint that is away."""
    from botocore.config import Config

    return Config(connect_timeout=3, read_timeout=120, retries={"total_max_attempts": 2, "mode": "standard"})


def estimate_price(scanned_bytes: int, usd_per_terabyte: float) -> float:
    """Athena's price of one query in USD: by the megabyte, rounded up, ten at least (AWS's page of Athena's prices)."""
    megabytes = max(math.ceil(scanned_bytes / MB), SMALLEST_CHARGE_MB)
    return megabytes * MB / TERABYTE * usd_per_terabyte
