"""Statements for Trino, page by page, through the low level of its own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests
from trino.client import ClientSession, TrinoRequest, TrinoStatus
from trino.exceptions import HttpError, TrinoConnectionError, TrinoQueryError

USER = "athena"
CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
RETRY_SECONDS = 0.5
GET_ATTEMPTS = 3

Row = list[Any]


class TrinoUnavailableError(Exception):
    """Trino does not answer, still starts, or was restarted under a statement."""


class TrinoStatementError(Exception):
    """Trino refused a statement or gave it up. `name` and `kind` are its errorName and errorType."""

    def __init__(self, name: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.name, self.kind = name, kind


class Trino:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def submit(self, sql: str, catalog: str, schema: str, properties: Mapping[str, str]) -> TrinoStatement:
        """Hand a statement over; on return Trino has parsed it. Raises TrinoStatementError, TrinoUnavailableError."""
        session = ClientSession(
            user=USER, source=USER, catalog=catalog, schema=schema, properties=dict(properties), timezone="UTC"
        )
        connection = requests.Session()
        connection.trust_env = False
        request = TrinoRequest(
            self._host,
            self._port,
            session,
            http_session=connection,
            http_scheme="http",
            max_attempts=1,  # a statement that was posted twice could write twice
            request_timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        return TrinoStatement(request, sql)

    def submit_patiently(
        self, submit: Callable[[], TrinoStatement], is_cancelled: Callable[[], bool], seconds: float
    ) -> TrinoStatement:
        """`submit`, again and again for at most `seconds` while Trino does not take statements."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return submit()
            except TrinoUnavailableError:
                if time.monotonic() >= deadline or is_cancelled():
                    raise
            time.sleep(RETRY_SECONDS)

    def kill(self, query_id: str) -> None:
        """Stop what runs under this id; an id that Trino does not know is none of its business any more."""
        url = f"http://{self._host}:{self._port}/v1/query/{query_id}"
        try:
            requests.delete(url, headers={"X-Trino-User": USER}, timeout=CONNECT_SECONDS, proxies={"http": ""})
        except requests.RequestException as error:
            raise TrinoUnavailableError(str(error)) from error


class TrinoStatement:
    """One statement that Trino has taken. `stats` are those of the page read last."""

    def __init__(self, request: TrinoRequest, sql: str) -> None:
        self._request = request
        self._pending: list[Row] = []
        self._next_uri: str | None = None
        self._cancelled = threading.Event()
        self.columns: list[dict[str, Any]] | None = None
        self.update_type: str | None = None
        self.update_count: int | None = None
        self.stats: dict[str, Any] = {}
        self.id = ""
        self._take(lambda: request.post(sql))
        request.max_attempts = GET_ATTEMPTS
        if self._next_uri:  # Trino parses at the first look at what was posted
            self._advance()

    def pages(self) -> Iterator[list[Row]]:
        """What is left of the result, as Trino writes it in JSON. Raises TrinoStatementError, TrinoUnavailableError."""
        while True:
            if self._pending:
                page, self._pending = self._pending, []
                yield page
            if self._next_uri is None:
                return
            self._advance()
            if not self._pending:
                yield []

    def cancel(self) -> None:
        """From any thread; the thread that reads the pages gets Trino's USER_CANCELED."""
        self._cancelled.set()
        if uri := self._next_uri:
            try:
                self._request.delete(uri)
            except requests.RequestException:
                return  # Trino is gone, and the statement with it

    def _advance(self) -> None:
        uri = self._next_uri
        if uri is None or self._cancelled.is_set():
            raise TrinoStatementError("USER_CANCELED", "USER_ERROR", "Query was canceled")
        self._take(lambda: self._request.get(uri))

    def _take(self, send: Callable[[], requests.Response]) -> None:
        status = _translate_errors(lambda: self._request.process(send()))
        self.id = status.id
        self.stats = status.stats
        self.columns = status.columns or self.columns
        self.update_type = status.update_type or self.update_type
        self.update_count = status.update_count if status.update_count is not None else self.update_count
        self._next_uri = status.next_uri
        self._pending.extend(status.rows if isinstance(status.rows, list) else [])


def _translate_errors(process: Callable[[], TrinoStatus]) -> TrinoStatus:
    try:
        return process()
    except TrinoQueryError as error:
        failure = TrinoStatementError(str(error.error_name), str(error.error_type), str(error.message))
        if failure.name == "SERVER_STARTING_UP":
            raise TrinoUnavailableError(str(failure)) from error
        raise failure from error
    except (requests.RequestException, TrinoConnectionError, HttpError) as error:
        raise TrinoUnavailableError(str(error)) from error
