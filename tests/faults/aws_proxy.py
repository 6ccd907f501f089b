"""A proxy between the jobs and the S3 and Glue endpoint: it counts the catalog's commits and answers 503 on demand."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMITS = ("AWSGlue.CreateTable", "AWSGlue.UpdateTable")
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
FORWARD_SECONDS = 60
# They belong to one connection, not to the message.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Fault:
    """What S3 does wrong; Glue is left alone. `slow_down_share` of the requests (0..1) get 503."""

    slow_down_share: float = 0.0
    delay_seconds: float = 0.0


@dataclass
class AwsProxy:
    """The proxy's port, what it saw and what it does. It forwards everything as long as nobody tells it otherwise."""

    port: int
    randomness: random.Random
    fault: Fault = field(default_factory=Fault)
    commits: int = 0
    refused: int = 0
    delayed: int = 0
    _at_commit: dict[tuple[int, bool], Callable[[], None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start_count(self) -> None:
        """Forget what was seen and what was to happen."""
        with self._lock:
            self.commits = self.refused = self.delayed = 0
            self.fault = Fault()
            self._at_commit.clear()

    def at_commit(self, number: int, action: Callable[[], None], *, is_done: bool) -> None:
        """Call `action` at the commit of this number, counted from 1, while its caller waits for the answer.

        `is_done`: the commit has taken place and only its answer is missing; else it has not reached the catalog, and
        never does where `action` raises a ConnectionError.
        """
        self._at_commit[number, is_done] = action

    def begin_commit(self) -> int:
        with self._lock:
            self.commits += 1
            number = self.commits
        self.act(number, is_done=False)
        return number

    def act(self, number: int, *, is_done: bool) -> None:
        if action := self._at_commit.pop((number, is_done), None):
            action()

    def refuses(self) -> bool:
        """Whether S3 answers 503 this time."""
        with self._lock:
            is_refused = self.randomness.random() < self.fault.slow_down_share
            self.refused += is_refused
            return is_refused

    def wait(self) -> None:
        if self.fault.delay_seconds:
            self.delayed += 1
            time.sleep(self.fault.delay_seconds)


@contextmanager
def start_aws_proxy(bind_host: str, endpoint_port: int, randomness: random.Random) -> Iterator[AwsProxy]:
    """A proxy on a port of its own, which it has as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_request(self) -> None:
            body = self.read_body()
            action = self.headers.get("X-Amz-Target")
            if action is None:
                proxy.wait()
                if proxy.refuses():
                    self.answer(http.client.SERVICE_UNAVAILABLE, [("Content-Type", "application/xml")], SLOW_DOWN)
                    return
            number = proxy.begin_commit() if action in COMMITS else 0
            status, headers, content = self.forward(body)
            if number:
                proxy.act(number, is_done=True)
            self.answer(status, headers, content)

        def read_body(self) -> bytes:
            """As a whole, also where it comes in chunks, as PyArrow sends it."""
            if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
            return b"".join(chunks)

        def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(bind_host, endpoint_port, timeout=FORWARD_SECONDS)
            try:
                kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                connection.request(self.command, self.path, body, kept)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            is_sized = False
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    is_sized |= name.lower() == "content-length"
                    self.send_header(name, value)
            if not is_sized:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: a job makes thousands of requests."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Nothing: killed jobs leave their connections open, a killed endpoint does not answer."""

    with Server((bind_host, 0), Handler) as server:
        proxy = AwsProxy(port=server.server_address[1], randomness=randomness)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()
