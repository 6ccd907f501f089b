"""What the stack has to know about one of its services."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import requests


class PreparationError(Exception):
    """What a service needs before it starts could not be made; the message holds what the command said."""


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


def answers(url: str) -> bool:
    """Whether an HTTP server of this machine says that all is well; no proxy stands before it."""
    try:
        return requests.get(url, timeout=2, proxies={"http": ""}).ok
    except requests.RequestException:
        return False


def run_logged(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a command of a preparation; its output goes to `log`. It starts in a folder that every user may enter."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        done = subprocess.run(command, env=environment, cwd="/", stdout=stream, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise PreparationError(f"{Path(command[0]).name} ended with {done.returncode}\n{tail(log)}")


def tail(file: Path, lines: int = 30) -> str:
    if not file.exists():
        return f"{file} does not exist"
    last = file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join([f"--- {file}", *(line[:240] for line in last)])
