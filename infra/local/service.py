"""What the stack has to know about one of its services."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """One process under the supervisor.

    `ports` maps a key of `stack.ports` to its port. `prepare` runs before the process, `after_ready` when it answers;
    both may run at every start and must not mind. `is_ready` gets the time at which the process was started, because
    what an earlier process left behind (a heartbeat in a database) must not count.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[datetime], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    after_ready: Callable[[], None] = _nothing
    stop_signal: str = "TERM"
    stop_seconds: int = 30


def accepts_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
