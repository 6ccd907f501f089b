"""Named queries and prepared statements: SQL that a work group keeps."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.athena.paging import page_of
from infra.local.athena.plan import StatementError
from infra.local.athena.protocol import Answer, InvalidRequestError, Request, ResourceNotFoundError, select_members
from infra.local.athena.store import Store
from infra.local.athena.work_groups import PRIMARY, WorkGroups

NAMED, PREPARED = "named_query", "prepared_statement"


@dataclass(frozen=True)
class NamedQueries:
    store: Store
    groups: WorkGroups

    def create_named_query(self, request: Request) -> Answer:
        group = request.get("WorkGroup", PRIMARY)
        self.groups.require(group)
        identity = str(uuid.uuid4())
        self.store.put(NAMED, identity, {**request, "NamedQueryId": identity, "WorkGroup": group}, group)
        return {"NamedQueryId": identity}

    def get_named_query(self, request: Request) -> Answer:
        return {"NamedQuery": select_members(self._require(request["NamedQueryId"]), "NamedQuery")}

    def batch_get_named_query(self, request: Request) -> Answer:
        identities = request["NamedQueryIds"]
        found = [query for identity in identities if (query := self.store.find(NAMED, identity))]
        known = {query["NamedQueryId"] for query in found}
        return {
            "NamedQueries": [select_members(query, "NamedQuery") for query in found],
            "UnprocessedNamedQueryIds": [
                {"NamedQueryId": identity, "ErrorCode": "INTERNAL_FAILURE", "ErrorMessage": _no_named_query(identity)}
                for identity in identities
                if identity not in known
            ],
        }

    def list_named_queries(self, request: Request) -> Answer:
        group = request.get("WorkGroup", PRIMARY)
        self.groups.require(group)
        identities = [str(query["NamedQueryId"]) for query in self.store.documents(NAMED, group)]
        return page_of(identities, request, "NamedQueryIds", str)

    def update_named_query(self, request: Request) -> Answer:
        query = self._require(request["NamedQueryId"])
        changed = {**query, **select_members(request, "UpdateNamedQueryInput")}
        self.store.put(NAMED, query["NamedQueryId"], changed, query["WorkGroup"])
        return {}

    def delete_named_query(self, request: Request) -> Answer:
        query = self._require(request["NamedQueryId"])
        self.store.delete(NAMED, query["NamedQueryId"], query["WorkGroup"])
        return {}

    def _require(self, identity: str) -> dict[str, Any]:
        query = self.store.find(NAMED, identity)
        if query is None:
            raise InvalidRequestError(_no_named_query(identity))
        return query


@dataclass(frozen=True)
class PreparedStatements:
    store: Store
    groups: WorkGroups

    def text_of(self, group: str) -> Callable[[str], str]:
        """How a statement of this work group finds those that it executes by name."""

        def find(name: str) -> str:
            known = find_prepared(self.store, name, group)
            if known is None:
                raise StatementError(f"PreparedStatement {name} was not found in workGroup {group}")
            return str(known["QueryStatement"])

        return find

    def create_prepared_statement(self, request: Request) -> Answer:
        self.groups.require(request["WorkGroup"])
        if self.store.get(PREPARED, request["StatementName"], request["WorkGroup"]) is not None:
            raise InvalidRequestError(f"Prepared statement {request['StatementName']} is already created")
        self._put(request)
        return {}

    def get_prepared_statement(self, request: Request) -> Answer:
        found = self._require(request["StatementName"], request["WorkGroup"])
        return {"PreparedStatement": select_members(found, "PreparedStatement")}

    def batch_get_prepared_statement(self, request: Request) -> Answer:
        group = request["WorkGroup"]
        self.groups.require(group)
        found = {name: self.store.get(PREPARED, name, group) for name in request["PreparedStatementNames"]}
        return {
            "PreparedStatements": [select_members(body, "PreparedStatement") for body in found.values() if body],
            "UnprocessedPreparedStatementNames": [
                {"StatementName": name, "ErrorCode": "STATEMENT_NOT_FOUND", "ErrorMessage": _no_prepared(name, group)}
                for name, body in found.items()
                if not body
            ],
        }

    def list_prepared_statements(self, request: Request) -> Answer:
        self.groups.require(request["WorkGroup"])
        summaries = [
            select_members(statement, "PreparedStatementSummary")
            for statement in self.store.documents(PREPARED, request["WorkGroup"])
        ]
        return page_of(summaries, request, "PreparedStatements", lambda summary: str(summary["StatementName"]))

    def update_prepared_statement(self, request: Request) -> Answer:
        self._put({**self._require(request["StatementName"], request["WorkGroup"]), **request})
        return {}

    def delete_prepared_statement(self, request: Request) -> Answer:
        self._require(request["StatementName"], request["WorkGroup"])
        self.store.delete(PREPARED, request["StatementName"], request["WorkGroup"])
        return {}

    def _put(self, statement: Mapping[str, Any]) -> None:
        name, group = statement["StatementName"], statement["WorkGroup"]
        body = {**statement, "WorkGroupName": group, "LastModifiedTime": time.time()}
        self.store.put(PREPARED, name, body, group)

    def _require(self, name: str, group: str) -> dict[str, Any]:
        self.groups.require(group)
        found = self.store.get(PREPARED, name, group)
        if found is None:
            raise ResourceNotFoundError(_no_prepared(name, group), name)
        return found


def find_prepared(store: Store, name: str, group: str) -> dict[str, Any] | None:
    """By the name in a statement, where capitals do not count; those of the API keep theirs."""
    exact = store.get(PREPARED, name, group)
    if exact is not None:
        return exact
    found = (known for known in store.documents(PREPARED, group) if known["StatementName"].lower() == name.lower())
    return next(found, None)


def _no_named_query(identity: str) -> str:
    return f"NamedQuery {identity} was not found"


def _no_prepared(name: str, group: str) -> str:
    return f"PreparedStatement {name} was not found in workGroup {group}"
