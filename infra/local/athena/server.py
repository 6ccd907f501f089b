"""Athena's JSON API in front of Trino: `python -m infra.local.athena.server`, a service of the stack."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import boto3
import uvicorn
from botocore.config import Config
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.local.athena.executor import Executor
from infra.local.athena.metadata import Metadata
from infra.local.athena.protocol import (
    CONTENT_TYPE,
    Answer,
    AthenaError,
    Request,
    SerializationError,
    UnknownOperationError,
    encode,
    parse_body,
    parse_target,
)
from infra.local.athena.queries import Queries
from infra.local.athena.results import Results
from infra.local.athena.saved_queries import NamedQueries, PreparedStatements
from infra.local.athena.store import Store
from infra.local.athena.tags import Tags
from infra.local.athena.trino_client import Trino
from infra.local.athena.work_groups import WorkGroups
from infra.local.layout import Layout, open_layout

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

REQUEST_THREADS = 64
LARGEST_BODY_BYTES = 4 << 20
Operations = Mapping[str, Callable[[Request], Answer]]


def create_app(operations: Operations, close: Callable[[], None] = lambda: None) -> Starlette:
    """`operations` maps Athena's names of its operations to what answers them."""

    async def answer(http_request: HttpRequest) -> Response:
        target = http_request.headers.get("x-amz-target", "")
        try:
            body = await _read_body(http_request)
            return _response(await run_in_threadpool(answer_request, operations, target, body))
        except AthenaError as error:
            return _response(error.body(), error)
        except Exception as error:
            logger.exception("%s failed", target)
            return _response(AthenaError(f"{type(error).__name__}: see the log of the service athena").body(), error)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = REQUEST_THREADS
        yield
        close()

    routes = [Route("/", answer, methods=["POST"]), Route("/health", lambda _: PlainTextResponse("ok"))]
    return Starlette(routes=routes, lifespan=lifespan)


def answer_request(operations: Operations, target: str, body: bytes) -> Answer:
    """Raises AthenaError."""
    operation = parse_target(target)
    handle = operations.get(snake_case(operation))
    if handle is None:
        raise UnknownOperationError(f"{operation} is not served on one machine: it belongs to Athena for Spark")
    return handle(parse_body(operation, body))


def snake_case(operation: str) -> str:
    """`start_query_execution` of `StartQueryExecution`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def open_stack_operations(layout: Layout) -> tuple[Operations, Callable[[], None]]:
    """The operations of this stack, and what ends them in an orderly way."""
    aws = layout.environment.aws
    config = Config(max_pool_connections=REQUEST_THREADS, retries={"mode": "standard", "max_attempts": 5})
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=aws.region)  # noqa: S106
    glue = session.client("glue", config=config, endpoint_url=aws.endpoint_url)
    s3 = session.client("s3", config=config, endpoint_url=aws.endpoint_url)
    trino = Trino(layout.stack.bind_host, layout.stack.ports.trino)
    return open_operations(layout.state / "athena", trino, s3, glue, f"{layout.settings.paths.athena_results}/")


def open_operations(
    home: Path, trino: Trino, s3: S3Client, glue: GlueClient, output_location: str
) -> tuple[Operations, Callable[[], None]]:
    """Operations whose state is below `home`, and what ends them; `output_location` is the primary work group's."""
    store = Store(home / "athena.sqlite")
    results = Results(s3, home / "spool")
    executor = Executor(store, trino, results)
    if given_up := executor.recover():
        logger.warning("%d queries were running when the endpoint stopped; they are FAILED now", given_up)
    tags = Tags(store)
    groups = WorkGroups(store, tags)
    groups.ensure_primary(output_location)
    metadata = Metadata(store, glue, tags)
    metadata.ensure_default_catalog()
    prepared = PreparedStatements(store, groups)
    queries = Queries(store, executor, results, groups, prepared, glue, s3)

    def close() -> None:
        executor.close()
        store.close()

    return collect_operations(queries, groups, NamedQueries(store, groups), prepared, metadata, tags), close


def collect_operations(*parts: object) -> Operations:
    """Every public method is an operation if Athena has one of its name."""
    methods = {name: getattr(part, name) for part in parts for name in vars(type(part)) if not name.startswith("_")}
    return {name: method for name, method in methods.items() if callable(method)}


async def _read_body(http_request: HttpRequest) -> bytes:
    body = b""
    async for chunk in http_request.stream():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise SerializationError(f"the body is longer than {LARGEST_BODY_BYTES} bytes")
    return body


def _response(body: Answer, error: Exception | None = None) -> Response:
    status = getattr(error, "status", 500) if error else 200
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    if error:
        headers["x-amzn-ErrorType"] = str(body["__type"])
    return Response(encode(body), status, headers, CONTENT_TYPE)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    layout = open_layout()
    Path(layout.state / "athena").mkdir(parents=True, exist_ok=True)
    operations, close = open_stack_operations(layout)
    uvicorn.run(
        create_app(operations, close),
        host=layout.stack.bind_host,
        port=layout.stack.ports.athena,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
