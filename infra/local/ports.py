"""Who has a port that the stack needs."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil


class PortTakenError(Exception):
    """The message names the port, the service, the file in which to change it and, where it can be seen, the owner."""


def check_ports_are_free(host: str, ports: Mapping[str, int], file: Path) -> None:
    """`ports` maps keys of `stack.ports` to ports."""
    faults = [_fault(key, port, file) for key, port in ports.items() if _is_taken(host, port)]
    if faults:
        raise PortTakenError("\n".join(faults))


def _fault(key: str, port: int, file: Path) -> str:
    owner = owner_of(port)
    taker = f"by {owner}" if owner else "by another process"
    return f"port {port} of {key} is taken {taker}: stop that, or change stack.ports.{key} in {file}"


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def owner_of(port: int) -> str | None:
    """`name (pid 123)` of the process that listens; None where the system does not say."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            is_listening = connection.status == psutil.CONN_LISTEN and connection.pid
            if is_listening and connection.laddr and connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return None
    return None
