"""Queries: start, stop, list, and read their state and their results."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from infra.local.athena.executor import Executor
from infra.local.athena.language import bind_parameters, plan_statement
from infra.local.athena.paging import DEFAULT_PAGE, decode_token, encode_token
from infra.local.athena.plan import Context, FailedStatementError, Output, Plan, StatementError
from infra.local.athena.protocol import Answer, InvalidRequestError, Request, select_members
from infra.local.athena.query import Query
from infra.local.athena.results import MissingResultError, Results, object_uri
from infra.local.athena.run import Run
from infra.local.athena.saved_queries import PreparedStatements
from infra.local.athena.store import Store, TokenTakenError
from infra.local.athena.work_groups import PRIMARY, WorkGroups, choose_result_configuration

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

DEFAULT_CATALOG, DEFAULT_DATABASE = "awsdatacatalog", "default"
LARGEST_RESULT_PAGE = 1000
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Queries:
    store: Store
    executor: Executor
    results: Results
    groups: WorkGroups
    prepared: PreparedStatements
    glue: GlueClient
    s3: S3Client

    def start_query_execution(self, request: Request) -> Answer:
        """Raises InvalidRequestError for SQL that does not parse and for a request that has no place for its result."""
        token = request.get("ClientRequestToken")
        if token is None:
            return {"QueryExecutionId": self._start(request, None)}
        known = self.store.request_of_token(token)
        if known is None:
            try:
                return {"QueryExecutionId": self._start(request, token)}
            except TokenTakenError:  # by an equal request at the same time
                return self.start_query_execution(request)
        if known[0] != _digest(request):
            raise InvalidRequestError("Idempotent parameters do not match: this ClientRequestToken was used before")
        return {"QueryExecutionId": known[1]}

    def stop_query_execution(self, request: Request) -> Answer:
        self.executor.stop(self._require(request["QueryExecutionId"]).id)
        return {}

    def get_query_execution(self, request: Request) -> Answer:
        return {"QueryExecution": self._require(request["QueryExecutionId"]).answer()}

    def batch_get_query_execution(self, request: Request) -> Answer:
        found = {identity: self.store.query(identity) for identity in request["QueryExecutionIds"]}
        return {
            "QueryExecutions": [query.answer() for query in found.values() if query],
            "UnprocessedQueryExecutionIds": [
                {"QueryExecutionId": identity, "ErrorCode": "QUERY_NOT_FOUND", "ErrorMessage": _not_found(identity)}
                for identity, query in found.items()
                if query is None
            ],
        }

    def list_query_executions(self, request: Request) -> Answer:
        """Newest first."""
        group = request.get("WorkGroup", PRIMARY)
        self.groups.require(group)
        limit = request.get("MaxResults") or DEFAULT_PAGE
        found = self.store.query_ids(group, decode_token(request.get("NextToken"), int), limit + 1)
        answer: Answer = {"QueryExecutionIds": [identity for _, identity in found[:limit]]}
        if len(found) > limit:
            answer["NextToken"] = encode_token(found[limit - 1][0])
        return answer

    def get_query_results(self, request: Request) -> Answer:
        """Rows of the stored object; the token is the byte at which the next page begins."""
        query = self._require_succeeded(request["QueryExecutionId"])
        offset = decode_token(request.get("NextToken"), int) or 0
        limit = request.get("MaxResults") or LARGEST_RESULT_PAGE
        answer: Answer = {"ResultSet": {"Rows": [], "ResultSetMetadata": {"ColumnInfo": query.columns}}}
        if query.update_count is not None:
            answer["UpdateCount"] = query.update_count
        if query.output_location.endswith((f".{Output.ROWS.value}", f".{Output.TEXT.value}")):
            try:
                page = self.results.read_page(query, offset, limit)
            except MissingResultError as error:
                raise InvalidRequestError(f"Could not find results: {error}") from error
            answer["ResultSet"]["Rows"] = [{"Data": [_datum(field) for field in row]} for row in page.rows]
            if page.next_offset is not None:
                answer["NextToken"] = encode_token(page.next_offset)
        return answer

    def get_query_runtime_statistics(self, request: Request) -> Answer:
        query = self._require(request["QueryExecutionId"])
        statistics = {
            "Timeline": select_members(query.statistics, "QueryRuntimeStatisticsTimeline"),
            "Rows": select_members(query.statistics.get("Rows", {}), "QueryRuntimeStatisticsRows"),
        }
        return {"QueryRuntimeStatistics": statistics}

    def _start(self, request: Request, token: str | None) -> str:
        name = request.get("WorkGroup", PRIMARY)
        group = self.groups.require_enabled(name)
        configuration = choose_result_configuration(group, request.get("ResultConfiguration", {}))
        identity = str(uuid.uuid4())
        asked = request.get("QueryExecutionContext", {})
        context = Context(
            query_id=identity,
            catalog=asked.get("Catalog", DEFAULT_CATALOG).lower(),
            database=asked.get("Database", DEFAULT_DATABASE).lower(),
            output_location=configuration["OutputLocation"],
            glue=self.glue,
            s3=self.s3,
            prepared=self.prepared.text_of(name),
        )
        plan = _plan(request, context)
        query = Query(
            id=identity,
            text=request["QueryString"],
            work_group=name,
            statement_type=plan.statement_type,
            substatement_type=plan.substatement_type,
            context=dict(asked),
            parameters=list(request.get("ExecutionParameters", [])),
            result_configuration={
                **configuration,
                "OutputLocation": object_uri(context.output_location, identity, plan.output),
            },
            reuse=request.get("ResultReuseConfiguration"),
            submitted_at=time.time(),
        )
        if reused := self._reuse(query, plan):
            self.store.add_query(reused, token, _digest(request))
            return identity
        self.store.add_query(query, token, _digest(request))
        try:
            self.executor.start(Run(query, plan, context, group["Configuration"].get("BytesScannedCutoffPerQuery")))
        except InvalidRequestError:
            self.store.remove_query(identity)
            raise
        return identity

    def _reuse(self, query: Query, plan: Plan) -> Query | None:
        """The query, done by the result of an equal one that is young enough."""
        asked = (query.reuse or {}).get("ResultReuseByAgeConfiguration", {})
        if not asked.get("Enabled") or plan.output is not Output.ROWS:
            return None
        now = time.time()
        age = asked.get("MaxAgeInMinutes", 60) * SECONDS_PER_MINUTE
        source = self.store.newest_success(query.fingerprint, now - age)
        if source is None or source.update_count != 0 or not self.results.exists(source.output_location):
            return None
        statistics = {**source.statistics, "DataScannedInBytes": 0, "TotalExecutionTimeInMillis": 1}
        return replace(
            source,
            id=query.id,
            reuse=query.reuse,
            submitted_at=query.submitted_at,
            completed_at=now,
            trino_ids=[],
            statistics={**statistics, "ResultReuseInformation": {"ReusedPreviousResult": True}},
        )

    def _require(self, identity: str) -> Query:
        query = self.store.query(identity)
        if query is None:
            raise InvalidRequestError(_not_found(identity))
        return query

    def _require_succeeded(self, identity: str) -> Query:
        query = self._require(identity)
        if query.state == "FAILED":
            raise InvalidRequestError(f"Query did not finish successfully. Final query state: FAILED: {query.reason}")
        if query.state == "CANCELLED":
            raise InvalidRequestError("Query did not finish successfully. Final query state: CANCELLED")
        if query.state != "SUCCEEDED":
            raise InvalidRequestError(f"Query has not yet finished. Current state: {query.state}")
        return query


def _plan(request: Request, context: Context) -> Plan:
    try:
        sql = request["QueryString"]
        parameters = request.get("ExecutionParameters")
        return plan_statement(bind_parameters(sql, parameters) if parameters else sql, context)
    except StatementError as error:
        raise InvalidRequestError(str(error), "MALFORMED_QUERY") from error
    except FailedStatementError as error:
        raise InvalidRequestError(str(error)) from error


def _digest(request: Request) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _datum(value: str | None) -> Mapping[str, Any]:
    return {} if value is None else {"VarCharValue": value}


def _not_found(identity: str) -> str:
    return f"QueryExecution {identity} was not found"
