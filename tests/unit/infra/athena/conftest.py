"""The API in one process: S3 and Glue of moto, a Trino that answers from a script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from starlette.testclient import TestClient

from infra.local.athena.server import create_app, open_operations
from infra.local.athena.store import Store
from infra.local.athena.trino_client import TrinoStatementError

BUCKET = "results"
INTEGER = {"rawType": "integer", "arguments": []}
VARCHAR = {"rawType": "varchar", "arguments": [{"kind": "LONG", "value": 2147483647}]}


def column(name: str, signature: Mapping[str, Any] = INTEGER) -> dict[str, Any]:
    return {"name": name, "type": signature["rawType"], "typeSignature": signature}


@dataclass
class ScriptedStatement:
    """What Trino would answer; `release` holds its pages back."""

    columns: list[dict[str, Any]] | None = field(default_factory=lambda: [column("n")])
    rows: list[list[list[Any]]] = field(default_factory=lambda: [[[1]]])
    error: Exception | None = None
    update_type: str | None = None
    update_count: int | None = None
    stats: dict[str, Any] = field(default_factory=lambda: {"physicalInputBytes": 100, "elapsedTimeMillis": 5})
    id: str = "trino-1"
    release: threading.Event = field(default_factory=threading.Event)
    is_cancelled: bool = False

    def pages(self) -> Iterator[list[list[Any]]]:
        self.release.wait(10)
        if self.is_cancelled:
            raise TrinoStatementError("USER_CANCELED", "USER_ERROR", "Query was canceled")
        yield from self.rows
        if self.error:
            raise self.error

    def cancel(self) -> None:
        self.is_cancelled = True
        self.release.set()


class ScriptedTrino:
    """Gives `next_statement` to every statement, or raises it."""

    def __init__(self) -> None:
        self.next_statement: ScriptedStatement | Exception = finished()
        self.submitted: list[str] = []
        self.killed: list[str] = []

    def submit(self, sql: str, *_: Any) -> ScriptedStatement:
        self.submitted.append(sql)
        if isinstance(self.next_statement, Exception):
            raise self.next_statement
        return self.next_statement

    def submit_patiently(self, submit: Callable[[], Any], *_: Any) -> Any:
        return submit()

    def kill(self, query_id: str) -> None:
        self.killed.append(query_id)


def finished(**overrides: Any) -> ScriptedStatement:
    statement = ScriptedStatement(**overrides)
    statement.release.set()
    return statement


class Api:
    """Calls operations as a client does: over HTTP, but without a socket."""

    def __init__(self, client: TestClient, trino: ScriptedTrino, store: Store, s3: Any, glue: Any) -> None:
        self.client, self.trino, self.store, self.s3, self.glue = client, trino, store, s3, glue

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        status, answer = self.send(f"AmazonAthena.{operation}", json.dumps(request).encode())
        assert status == 200, answer
        return answer

    def fail(self, operation: str, **request: Any) -> dict[str, Any]:
        status, answer = self.send(f"AmazonAthena.{operation}", json.dumps(request).encode())
        assert status == 400, answer
        return answer

    def send(self, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        response = self.client.post("/", content=body, headers={"x-amz-target": target})
        answer: dict[str, Any] = response.json()
        return response.status_code, answer

    def run(self, sql: str = "select 1", **request: Any) -> dict[str, Any]:
        """The QueryExecution in its final state."""
        started = self.call("StartQueryExecution", QueryString=sql, **request)
        return self.wait(started["QueryExecutionId"])

    def wait(self, query_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            execution: dict[str, Any] = self.call("GetQueryExecution", QueryExecutionId=query_id)["QueryExecution"]
            if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return execution
            time.sleep(0.01)
        raise AssertionError(f"{query_id} does not end")

    def read_object(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return str(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


def open_api(home: Path, s3: Any, glue: Any, trino: ScriptedTrino) -> tuple[Api, Callable[[], None]]:
    operations, close_operations = open_operations(home, trino, s3, glue, f"s3://{BUCKET}/athena/")  # type: ignore[arg-type]
    client = TestClient(create_app(operations), raise_server_exceptions=False)
    client.__enter__()  # one event loop for all its requests

    def close() -> None:
        client.__exit__(None, None, None)
        close_operations()

    return Api(client, trino, Store(home / "athena.sqlite"), s3, glue), close


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with mock_aws():
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")  # noqa: S106
        s3, glue = session.client("s3"), session.client("glue")
        s3.create_bucket(Bucket=BUCKET)
        opened, close = open_api(tmp_path, s3, glue, ScriptedTrino())
        yield opened
        close()
