"""Works on queries: runs the steps of their plans, leaves the result in S3 and the outcome in the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from infra.local.athena import column_info, failures
from infra.local.athena.plan import Column, GlueStep, Output, Step, Table, TrinoStep
from infra.local.athena.protocol import InvalidRequestError
from infra.local.athena.result_text import Fields
from infra.local.athena.results import Results
from infra.local.athena.run import Run, StoppedError
from infra.local.athena.saved_queries import PREPARED, find_prepared
from infra.local.athena.store import Store
from infra.local.athena.trino_client import Trino, TrinoStatement, TrinoStatementError, TrinoUnavailableError
from infra.local.athena.values import row_printer

logger = logging.getLogger(__name__)

CONCURRENT_QUERIES = 32
TAKEN_SECONDS = 2.0
TRINO_START_SECONDS = 120.0
RETRY_SECONDS = 0.5
NO_NODES = "NO_NODES_AVAILABLE"
STOPPED_BY_USER = "Query cancelled by user"
Pages = Iterator[list[Fields]]
T = TypeVar("T")


class Executor:
    def __init__(self, store: Store, trino: Trino, results: Results) -> None:
        self._store, self._trino, self._results = store, trino, results
        self._pool = ThreadPoolExecutor(CONCURRENT_QUERIES, thread_name_prefix="query")
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Run, Future[None]]] = {}

    def start(self, run: Run) -> None:
        """Begin with a query that the store knows; returns when Trino has parsed its first statement, or soon.

        Raises InvalidRequestError for SQL that does not parse; the query is nobody's then.
        """
        with self._lock:
            self._running[run.query.id] = (run, self._pool.submit(self._work, run))
        run.wait_until_taken(TAKEN_SECONDS)

    def stop(self, query_id: str) -> None:
        """A query that is not worked on any more stays as it is."""
        with self._lock:
            run, future = self._running.get(query_id, (None, None))
        if run is None or future is None:
            return
        run.stop(STOPPED_BY_USER)
        if future.cancel():
            self._finish(run, state="CANCELLED", reason=STOPPED_BY_USER)

    def recover(self) -> int:
        """Give up what an earlier process left unfinished, in Trino too; the number of such queries."""
        unfinished = self._store.unfinished_queries()
        failure = failures.Failure(failures.RESTART_REASON, failures.SYSTEM, failures.INTERNAL, is_retryable=True)
        for query in unfinished:
            for trino_id in query.trino_ids:
                self._kill(trino_id)
            self._store.update_query(
                replace(query, state="FAILED", reason=failure.reason, error=failure.error, completed_at=time.time())
            )
        return len(unfinished)

    def close(self) -> None:
        """Stop everything, as a restart would."""
        with self._lock:
            runs = [run for run, _ in self._running.values()]
        for run in runs:
            run.stop(failures.RESTART_REASON)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, run: Run) -> None:
        run.started = time.time()
        try:
            outcome = self._outcome(run)
        except InvalidRequestError as refusal:
            if run.refuse(refusal):
                self._forget(run)
                return
            outcome = _failed(failures.Failure(str(refusal), failures.USER, failures.USER_ERROR))
        run.take()
        try:
            self._finish(run, **outcome)
        except Exception:
            logger.exception("the outcome of query %s could not be kept", run.query.id)

    def _outcome(self, run: Run) -> dict[str, Any]:
        """State and what belongs to it. Raises InvalidRequestError for SQL that does not parse."""
        try:
            run.check()
            try:
                return {"state": "SUCCEEDED", **self._execute(run)}
            finally:
                self._clean_up(run)
        except InvalidRequestError:
            raise
        except StoppedError as error:
            return {"state": "CANCELLED", "reason": str(error)}
        except Exception as error:
            if run.stop_reason:
                return {"state": "CANCELLED", "reason": run.stop_reason}
            if not isinstance(error, failures.EXPECTED):
                logger.exception("query %s failed", run.query.id)
            return _failed(failures.describe(error))

    def _execute(self, run: Run) -> dict[str, Any]:
        plan = run.plan
        before = self._results.list_files(plan.written_location) if plan.written_location else set()
        for step in plan.steps[:-1]:
            self._run_quietly(run, step)
        outcome = self._deliver(run, plan.steps[-1]) if plan.steps else self._write_table(run, Table((), ()))
        if plan.prepare:
            self._prepare(run.query.work_group, *plan.prepare)
        if plan.written_location:
            written = sorted(self._results.list_files(plan.written_location) - before)
            manifest = self._results.write_manifest(run.query, written)
            run.query = replace(run.query, statistics={"DataManifestLocation": manifest})
        return outcome

    def _deliver(self, run: Run, step: Step) -> dict[str, Any]:
        """Run the last step and write the result object."""
        if isinstance(step, GlueStep):
            self._mark_running(run)
            return self._write_table(run, step.run(run.context))
        return self._follow(run, step, lambda statement: self._deliver_statement(run, statement))

    def _deliver_statement(self, run: Run, statement: TrinoStatement) -> dict[str, Any]:
        plan = run.plan
        pages = _RowPages(run, statement)
        if plan.rewrite:
            rows = [row for page in pages for row in page]
            described = [Column(str(column["name"]), str(column["type"])) for column in statement.columns or []]
            return self._write_table(run, plan.rewrite(described, rows))
        pages.read_ahead()
        if statement.update_type or plan.output is Output.FILES:
            _exhaust(pages)
            return self._write_update(run, statement)
        columns = [column_info.from_trino(column) for column in statement.columns or []]
        return self._write(run, columns, pages)

    def _write_table(self, run: Run, table: Table) -> dict[str, Any]:
        columns = [column_info.from_athena(column) for column in table.columns]
        if run.plan.output is Output.FILES:
            return {"columns": columns}
        return self._write(run, columns, [[list(row) for row in table.rows]])

    def _write(self, run: Run, columns: list[dict[str, Any]], pages: Iterable[list[Fields]]) -> dict[str, Any]:
        run.query = replace(run.query, columns=columns)
        self._results.write_rows(run.query, run.plan.output, [column["Name"] for column in columns], pages)
        self._results.write_metadata(run.query)
        return {"update_count": 0 if run.plan.output is Output.ROWS else None}

    def _write_update(self, run: Run, statement: TrinoStatement) -> dict[str, Any]:
        """A statement that writes has no rows for its client, only their number."""
        columns = [column_info.from_trino(column) for column in statement.columns or []]
        if run.plan.output is not Output.FILES:
            self._results.write_empty(run.query)
        return {"columns": columns, "update_count": statement.update_count}

    def _run_quietly(self, run: Run, step: Step) -> None:
        """For a step whose rows nobody reads."""
        if isinstance(step, GlueStep):
            self._mark_running(run)
            step.run(run.context)
            return
        self._follow(run, step, lambda statement: _exhaust(run.pages(statement)))

    def _follow(self, run: Run, step: TrinoStep, read: Callable[[TrinoStatement], T]) -> T:
        """Submit and read to the end. Trino that has just started refuses to run anything for some seconds."""
        deadline = time.monotonic() + TRINO_START_SECONDS
        while True:
            statement = self._submit(run, step)
            try:
                return read(statement)
            except TrinoStatementError as error:
                if error.name != NO_NODES or time.monotonic() > deadline or run.is_stopped():
                    raise
            finally:
                run.detach()
            time.sleep(RETRY_SECONDS)

    def _submit(self, run: Run, step: TrinoStep) -> TrinoStatement:
        try:
            statement = self._trino.submit_patiently(
                lambda: self._trino.submit(step.sql, step.catalog, run.context.database, step.session),
                run.is_stopped,
                TRINO_START_SECONDS,
            )
        except TrinoStatementError as error:
            if error.name == "SYNTAX_ERROR" and run.query.state == "QUEUED":
                raise InvalidRequestError(failures.syntax_message(error), "MALFORMED_QUERY") from error
            raise
        run.attach(statement)
        self._mark_running(run)
        return statement

    def _mark_running(self, run: Run) -> None:
        run.check()
        run.query = replace(run.query, state="RUNNING")
        self._store.update_query(run.query)
        run.take()

    def _clean_up(self, run: Run) -> None:
        for step in run.plan.cleanup:
            try:
                if isinstance(step, GlueStep):
                    step.run(run.context)
                else:
                    statement = self._trino.submit(step.sql, step.catalog, run.context.database, step.session)
                    _exhaust(statement.pages())
            except Exception as error:
                logger.warning("query %s: a step of its cleanup failed: %s", run.query.id, error)

    def _prepare(self, work_group: str, name: str, text: str | None) -> None:
        known = find_prepared(self._store, name, work_group) or {"StatementName": name}
        if text is None:
            self._store.delete(PREPARED, known["StatementName"], work_group)
            return
        body = {**known, "QueryStatement": text, "WorkGroupName": work_group, "LastModifiedTime": time.time()}
        self._store.put(PREPARED, known["StatementName"], body, work_group)

    def _finish(self, run: Run, **outcome: Any) -> None:
        now = time.time()
        statistics = {**run.statistics(now), "Rows": run.row_statistics()}
        run.query = replace(run.query, statistics=statistics, completed_at=now, **outcome)
        try:
            self._store.update_query(run.query)
        finally:
            self._forget(run)

    def _forget(self, run: Run) -> None:
        with self._lock:
            self._running.pop(run.query.id, None)

    def _kill(self, trino_id: str) -> None:
        try:
            self._trino.kill(trino_id)
        except TrinoUnavailableError as error:
            logger.warning("Trino does not answer, so that %s could not be stopped in it: %s", trino_id, error)


class _RowPages:
    """Pages of text of a statement, whose columns are known only with its first page."""

    def __init__(self, run: Run, statement: TrinoStatement) -> None:
        self._pages = run.pages(statement)
        self._statement = statement
        self._first: list[list[Any]] | None = None

    def read_ahead(self) -> None:
        """Up to the first page with rows, or to the end."""
        for page in self._pages:
            if page:
                self._first = page
                return

    def __iter__(self) -> Pages:
        if self._first is not None:
            first, self._first = self._first, None
            yield self._printed(first)
        for page in self._pages:
            yield self._printed(page)

    def _printed(self, page: Sequence[list[Any]]) -> list[Fields]:
        if not page:
            return []
        printed = row_printer(self._statement.columns or [])
        return [printed(row) for row in page]


def _exhaust(pages: Iterable[object]) -> None:
    for _ in pages:
        pass


def _failed(failure: failures.Failure) -> dict[str, Any]:
    return {"state": "FAILED", "reason": failure.reason, "error": failure.error}
