"""What survives a restart: queries, work groups, named queries, prepared statements, catalogs, tags. SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local.athena.query import FINAL_STATES, Query

_SCHEMA = """
create table if not exists queries (
    number integer primary key autoincrement,
    id text not null unique,
    work_group text not null,
    state text not null,
    fingerprint text not null,
    completed_at real,
    record text not null
);
create index if not exists queries_by_work_group on queries (work_group, number);
create index if not exists queries_by_fingerprint on queries (fingerprint, completed_at) where state = 'SUCCEEDED';
create table if not exists request_tokens (
    token text primary key,
    request text not null,
    query_id text not null
);
create table if not exists documents (
    kind text not null,
    scope text not null,
    name text not null,
    body text not null,
    primary key (kind, scope, name)
) without rowid;
"""


class TokenTakenError(Exception):
    """A query with this ClientRequestToken exists."""


class Store:
    """One connection, used by one thread at a time. Every method is one transaction.

    A document is a small JSON object with a kind (`work_group`, `named_query`, ...), a scope (the work group that it
    belongs to, or none) and a name.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        # A process that is killed loses nothing in this mode, only a machine that loses its power may.
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add_query(self, query: Query, token: str | None = None, request: str = "") -> None:
        """Raises TokenTakenError."""
        with self._transaction() as connection:
            if token:
                self._take_token(connection, token, request, query.id)
            connection.execute(
                "insert into queries (id, work_group, state, fingerprint, completed_at, record)"
                " values (?, ?, ?, ?, ?, ?)",
                (query.id, query.work_group, query.state, query.fingerprint, query.completed_at, _text(query)),
            )

    def update_query(self, query: Query) -> None:
        with self._transaction() as connection:
            connection.execute(
                "update queries set state = ?, completed_at = ?, record = ? where id = ?",
                (query.state, query.completed_at, _text(query), query.id),
            )

    def remove_query(self, query_id: str) -> None:
        """Forget a query that was refused after all, with its token."""
        with self._transaction() as connection:
            connection.execute("delete from queries where id = ?", (query_id,))
            connection.execute("delete from request_tokens where query_id = ?", (query_id,))

    def query(self, query_id: str) -> Query | None:
        return next(iter(self._queries("where id = ?", query_id)), None)

    def unfinished_queries(self) -> list[Query]:
        marks = ", ".join("?" for _ in FINAL_STATES)
        return self._queries(f"where state not in ({marks})", *FINAL_STATES)

    def newest_success(self, fingerprint: str, completed_after: float) -> Query | None:
        """The newest query with this fingerprint that succeeded at or after `completed_after` (epoch seconds)."""
        condition = "where fingerprint = ? and state = 'SUCCEEDED' and completed_at >= ? order by number desc limit 1"
        return next(iter(self._queries(condition, fingerprint, completed_after)), None)

    def query_ids(self, work_group: str, before: int | None, limit: int) -> list[tuple[int, str]]:
        """Numbers and ids, newest first; `before` continues below a number."""
        sql = "select number, id from queries where work_group = ? and number < ? order by number desc limit ?"
        return self._rows(sql, work_group, before if before is not None else 2**62, limit)

    def request_of_token(self, token: str) -> tuple[str, str] | None:
        """The request that came with the token, and the id of its query."""
        rows = self._rows("select request, query_id from request_tokens where token = ?", token)
        return rows[0] if rows else None

    def put(self, kind: str, name: str, body: Mapping[str, Any], scope: str = "") -> None:
        with self._transaction() as connection:
            connection.execute(
                "insert or replace into documents values (?, ?, ?, ?)", (kind, scope, name, json.dumps(body))
            )

    def get(self, kind: str, name: str, scope: str = "") -> dict[str, Any] | None:
        sql = "select body from documents where kind = ? and scope = ? and name = ?"
        rows = self._rows(sql, kind, scope, name)
        return json.loads(rows[0][0]) if rows else None

    def delete(self, kind: str, name: str, scope: str = "") -> None:
        with self._transaction() as connection:
            connection.execute("delete from documents where kind = ? and scope = ? and name = ?", (kind, scope, name))

    def delete_scope(self, scope: str) -> None:
        """Everything that belongs to a work group, its queries included."""
        with self._transaction() as connection:
            connection.execute("delete from documents where scope = ?", (scope,))
            connection.execute("delete from queries where work_group = ?", (scope,))

    def documents(self, kind: str, scope: str = "") -> list[dict[str, Any]]:
        """In the order of their names."""
        sql = "select body from documents where kind = ? and scope = ? order by name"
        return [json.loads(row[0]) for row in self._rows(sql, kind, scope)]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """A document whose scope is not known."""
        rows = self._rows("select body from documents where kind = ? and name = ?", kind, name)
        return json.loads(rows[0][0]) if rows else None

    def _queries(self, condition: str, *values: Any) -> list[Query]:
        rows = self._rows(f"select record from queries {condition}", *values)
        return [Query(**json.loads(row[0])) for row in rows]

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _take_token(self, connection: sqlite3.Connection, token: str, request: str, query_id: str) -> None:
        try:
            connection.execute("insert into request_tokens values (?, ?, ?)", (token, request, query_id))
        except sqlite3.IntegrityError as error:
            raise TokenTakenError(token) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")


def _text(query: Query) -> str:
    return json.dumps(asdict(query))
