"""Athena, Glue and their errors, as the pages need them: statements executed, and what is the matter where none is."""

from __future__ import annotations

import math
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import awswrangler as wr
import boto3
import pandas as pd  # type: ignore[import-untyped]
import streamlit as st
from awswrangler.exceptions import QueryCancelled, QueryFailed, UnsupportedType
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import config
from config import Settings

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient

POLL_SECONDS = 0.1  # each look costs a client of boto3
MOST_ROWS = 100_000  # of a statement from the editor
MB, TERABYTE = 10**6, 10**12
PASSING = ("Throttl", "TooManyRequests", "Expired")  # in the codes of AWS for what another attempt may bring
ENGINE_IS_AWAY = "ENGINE_UNAVAILABLE"  # how the endpoint on one machine begins the reason
SMALLEST_CHARGE_MB = 10


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
    """Rows of a query, bytes that Athena read for them, and its milliseconds. `has_more`: the rows are not all."""

    rows: pd.DataFrame
    scanned_bytes: int
    milliseconds: int
    has_more: bool = False


@dataclass(frozen=True)
class NamedQuery:
    """A query that Athena keeps under a name."""

    description: str
    sql: str


@dataclass(frozen=True)
class Lake:
    """One environment. Its sessions of boto3 wait in `idle`: a session is for one thread at a time."""

    settings: Settings
    idle: queue.LifoQueue[boto3.Session] = field(default_factory=queue.LifoQueue)

    @contextmanager
    def session(self) -> Iterator[boto3.Session]:
        """A session that no other thread uses meanwhile. Errors of the clients within become LakeErrors."""
        environment = self.settings.environment
        try:
            session = self.idle.get_nowait()
        except queue.Empty:
            credentials = environment.any_credentials
            session = boto3.Session(credentials, credentials, region_name=environment.aws.region)
        try:
            yield session
        except (QueryFailed, QueryCancelled, UnsupportedType, ClientError, BotoCoreError) as error:
            raise explain(error, self.settings) from error
        finally:
            self.idle.put(session)

    def metadata_locations(self) -> dict[str, str]:
        """Glue's name of each Iceberg table of the database -> its current metadata file. Raises LakeError."""
        with self.session() as session:
            glue = session.client("glue", endpoint_url=wr.config.glue_endpoint_url, config=wr.config.botocore_config)
            pages = glue.get_paginator("get_tables").paginate(DatabaseName=self.settings.paths.database)
            parameters = {table["Name"]: table.get("Parameters", {}) for page in pages for table in page["TableList"]}
        return {name: found["metadata_location"] for name, found in parameters.items() if "metadata_location" in found}

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None, most: int | None = None) -> Answer:
        """Rows of a SELECT, executed; the first `most` of them. Raises LakeError."""
        with self.session() as session:
            found: Any = wr.athena.read_sql_query(
                sql,
                database=self.settings.paths.database,
                ctas_approach=False,
                chunksize=most,
                params=dict(parameters) if parameters else None,
                workgroup=self.settings.pipeline.dashboard.work_group,
                s3_output=f"{self.settings.paths.athena_results}/",
                boto3_session=session,
                athena_query_wait_polling_delay=POLL_SECONDS,
            )
            if most is None:
                return _answer_of(found, found.query_metadata)
            chunks = iter(found)
            rows = next(chunks)
            return _answer_of(rows, rows.query_metadata, has_more=next(chunks, None) is not None)

    def describe(self, sql: str) -> Answer:
        """What SHOW, DESCRIBE or EXPLAIN prints, as texts: Athena writes no CSV of it. Raises LakeError."""
        with self.session() as session:
            execution = wr.athena.start_query_execution(
                sql,
                database=self.settings.paths.database,
                workgroup=self.settings.pipeline.dashboard.work_group,
                s3_output=f"{self.settings.paths.athena_results}/",
                boto3_session=session,
                athena_query_wait_polling_delay=POLL_SECONDS,
                wait=True,
            )
            pages = (
                athena_of(session)
                .get_paginator("get_query_results")
                .paginate(QueryExecutionId=execution["QueryExecutionId"])
            )
            results = [page["ResultSet"] for page in pages]
        names = [column["Name"] for column in results[0]["ResultSetMetadata"]["ColumnInfo"]]
        lines = [[datum.get("VarCharValue") for datum in row["Data"]] for result in results for row in result["Rows"]]
        return _answer_of(pd.DataFrame([_fit(line, len(names)) for line in lines], columns=names), execution)

    def named_queries(self) -> dict[str, NamedQuery]:
        """Athena's own of the primary work group, by name, in its order. Raises LakeError."""
        with self.session() as session:
            athena = athena_of(session)
            found = [
                query
                for page in athena.get_paginator("list_named_queries").paginate()
                if page["NamedQueryIds"]
                for query in athena.batch_get_named_query(NamedQueryIds=page["NamedQueryIds"])["NamedQueries"]
            ]
        by_name = sorted(found, key=lambda query: query["Name"])
        return {query["Name"]: NamedQuery(query.get("Description", ""), query["QueryString"]) for query in by_name}

    def read_scan_limit(self) -> int | None:
        """Bytes at which the dashboard's work group stops a query; None: it never does. Raises LakeError."""
        with self.session() as session:
            group = athena_of(session).get_work_group(WorkGroup=self.settings.pipeline.dashboard.work_group)
        return group["WorkGroup"].get("Configuration", {}).get("BytesScannedCutoffPerQuery")


def athena_of(session: boto3.Session) -> AthenaClient:
    return session.client("athena", endpoint_url=wr.config.athena_endpoint_url, config=wr.config.botocore_config)


@st.cache_resource(show_spinner=False)
def open_lake() -> Lake:
    """The lake of the environment that LAKEHOUSE_ENV names: the stack's endpoints on one machine, AWS's elsewhere."""
    settings = config.load()
    environment = settings.environment
    if environment.stack:
        wr.config.athena_endpoint_url = f"http://{environment.stack.bind_host}:{environment.stack.ports.athena}"
    if endpoint := environment.aws.endpoint_url:
        wr.config.s3_endpoint_url = wr.config.glue_endpoint_url = wr.config.sts_endpoint_url = endpoint
    # No minute is waited for an endpoint that is away.
    retries: Any = {"total_max_attempts": 2, "mode": "standard"}
    wr.config.botocore_config = Config(connect_timeout=3, read_timeout=120, retries=retries)
    return Lake(settings)


def _answer_of(rows: pd.DataFrame, execution: Mapping[str, Any], *, has_more: bool = False) -> Answer:
    statistics = execution["Statistics"]
    return Answer(rows, statistics["DataScannedInBytes"], statistics["TotalExecutionTimeInMillis"], has_more)


def _fit(line: list[str | None], width: int) -> list[str | None]:
    """A line of text as so many fields: DESCRIBE may put all of them into one, with tabs between."""
    fields = list[str | None](line[0].split("\t")) if len(line) == 1 and width > 1 and line[0] else line
    return [*fields, *[None] * width][:width]


def explain(error: Exception, settings: Settings) -> LakeError:
    """What a client's error means for who looks at a page."""
    text = str(error)
    if "scanned limit" in text:
        return ScanLimitError(
            f"It reads more than the {settings.pipeline.dashboard.scan_limit_mb:,} MB that the work group allows.",
            "Choose fewer dates, or filter on the partition; the limit is `dashboard.scan_limit_mb` in "
            "config/pipeline.yaml.",
        )
    if isinstance(error, UnsupportedType):
        return QueryRefusedError(f"A column has a type that a table cannot show: {text}", "CAST it to varchar.")
    if isinstance(error, BotoCoreError):
        return ServiceAwayError(
            text,
            "On one machine `make status` shows what is down and `make up` starts it; on AWS look at the credentials "
            "and the network.",
        )
    response = error.response if isinstance(error, ClientError) else {}
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500 or any(word in code for word in PASSING) or ENGINE_IS_AWAY in text:
        return ServiceAwayError(
            text, "It passes: reload the page. On AWS credentials that have expired are renewed by a new start."
        )
    if "EntityNotFoundException" in text:
        return EmptyLakeError(text, "`make run` fills the lake with three generated dates.")
    return QueryRefusedError(text, "`make logs SERVICE=athena` shows more; on AWS the query's history does.")


def estimate_price(scanned_bytes: int, usd_per_terabyte: float) -> float:
    """Athena's price of one query in USD: by the megabyte, rounded up, ten at least (AWS's page of Athena's prices)."""
    megabytes = max(math.ceil(scanned_bytes / MB), SMALLEST_CHARGE_MB)
    return megabytes * MB / TERABYTE * usd_per_terabyte
