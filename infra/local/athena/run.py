"""One query while it is worked on: whether it was taken, what it does in Trino, whether it has to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field, replace
from typing import Any

from infra.local.athena.failures import SCAN_LIMIT_REASON
from infra.local.athena.plan import Context, Plan
from infra.local.athena.query import Query
from infra.local.athena.trino_client import Row, TrinoStatement


class StoppedError(Exception):
    """The query has to stop; the message is its StateChangeReason."""


@dataclass
class Progress:
    """What Trino said of the statements of a query, in bytes, rows and milliseconds; the last one's is still moving."""

    finished: dict[str, int] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)

    def update(self, stats: dict[str, Any]) -> None:
        self.current = {name: value for name, value in stats.items() if isinstance(value, int)}

    def close_statement(self) -> None:
        self.finished = {name: self.total(name) for name in {*self.finished, *self.current}}
        self.current = {}

    def total(self, name: str) -> int:
        return self.finished.get(name, 0) + self.current.get(name, 0)


class Run:
    """Used by two threads: one works on the query, others may stop it. `cutoff` is in bytes."""

    def __init__(self, query: Query, plan: Plan, context: Context, cutoff: int | None) -> None:
        self.query, self.plan, self.context = query, plan, context
        self.progress = Progress()
        self.started = time.time()
        self._cutoff = cutoff
        self._lock = threading.Lock()
        self._statement: TrinoStatement | None = None
        self._stop_reason: str | None = None
        self._taken: Future[None] = Future()
        self._is_acknowledged = False

    def wait_until_taken(self, seconds: float) -> None:
        """Until Trino has parsed the statement or for `seconds`; raises what `refuse` was told."""
        try:
            self._taken.result(seconds)
        except FutureTimeoutError:
            with self._lock:
                self._is_acknowledged = True
            if self._taken.done():
                self._taken.result()

    def take(self) -> None:
        with self._lock:
            if not self._taken.done():
                self._taken.set_result(None)

    def refuse(self, error: Exception) -> bool:
        """Have the client told at once that its statement is none; False when it was told already that it is one."""
        with self._lock:
            if self._is_acknowledged or self._taken.done():
                return False
            self._taken.set_exception(error)
            return True

    def stop(self, reason: str) -> None:
        with self._lock:
            self._stop_reason = self._stop_reason or reason
            statement = self._statement
        if statement:
            statement.cancel()

    @property
    def stop_reason(self) -> str | None:
        return self._stop_reason

    def is_stopped(self) -> bool:
        return self._stop_reason is not None

    def check(self) -> None:
        """Raises StoppedError when somebody asked for it."""
        if self._stop_reason is not None:
            raise StoppedError(self._stop_reason)

    def attach(self, statement: TrinoStatement) -> None:
        """From now on `stop` stops this statement."""
        with self._lock:
            self._statement = statement
            is_stopped = self._stop_reason is not None
        if is_stopped:
            statement.cancel()
        self.query = replace(self.query, trino_ids=[*self.query.trino_ids, statement.id])

    def detach(self) -> None:
        with self._lock:
            self._statement = None
        self.progress.close_statement()

    def pages(self, statement: TrinoStatement) -> Iterator[list[Row]]:
        """The statement's pages, as long as nobody stops the query and it stays below its cutoff."""
        for page in statement.pages():
            self._watch(statement)
            yield page
        self._watch(statement)

    def _watch(self, statement: TrinoStatement) -> None:
        self.progress.update(statement.stats)
        if self._cutoff is not None and self.progress.total("physicalInputBytes") > self._cutoff:
            self.stop(SCAN_LIMIT_REASON)
        self.check()

    def statistics(self, now: float) -> dict[str, Any]:
        """Athena's, of Trino's own; times in milliseconds. No time is zero, because clients divide by them."""
        total = max(1, round((now - self.query.submitted_at) * 1000))
        waited = max(0, round((self.started - self.query.submitted_at) * 1000))
        queued = self.progress.total("queuedTimeMillis")
        engine = max(1, self.progress.total("elapsedTimeMillis") - queued)
        planning = self.progress.total("planningTimeMillis")
        return {
            **self.query.statistics,
            "DataScannedInBytes": self.progress.total("physicalInputBytes"),
            "EngineExecutionTimeInMillis": engine,
            "QueryPlanningTimeInMillis": max(1, planning),
            "QueryQueueTimeInMillis": max(1, waited + queued),
            "ServicePreProcessingTimeInMillis": max(1, waited),
            "ServiceProcessingTimeInMillis": max(1, total - engine - queued - waited),
            "TotalExecutionTimeInMillis": total,
            "ResultReuseInformation": {"ReusedPreviousResult": False},
        }

    def row_statistics(self) -> dict[str, int]:
        """For GetQueryRuntimeStatistics."""
        return {
            "InputRows": self.progress.total("processedRows"),
            "InputBytes": self.progress.total("processedBytes"),
            "OutputBytes": self.progress.total("physicalWrittenBytes"),
        }
