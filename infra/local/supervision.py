"""The supervisor: its configuration, its process, and the calls that start and stop services."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Error as RpcError
from xmlrpc.client import ServerProxy

import psutil

from config.loader import PROJECT_ROOT
from infra.local.credentials import write_private
from infra.local.layout import VENV, Layout
from infra.local.service import Service

# Marks every process of a stack, so that what outlives a killed supervisor can be found again.
MARKER = "LAKEHOUSE_STACK_STATE"
LOG_BYTES, LOG_BACKUPS = "10MB", 3


class SupervisorError(Exception):
    """The supervisor or one of its services does not run; the message says where to look."""


class Supervisor:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        address = f"{layout.stack.bind_host}:{layout.stack.ports.supervisor}"
        self._url = f"http://stack:{layout.credentials.supervisor_password}@{address}/RPC2"

    def is_running(self) -> bool:
        """True when our supervisor answers; somebody else's refuses the password."""
        try:
            self._rpc().getState()
        except (OSError, RpcError):
            return False
        return True

    def start(self, services: Iterable[Service]) -> None:
        layout = self._layout
        layout.logs.mkdir(parents=True, exist_ok=True)
        file = layout.state / "supervisord.conf"
        write_private(file, render(layout, services))
        environment = {**os.environ, MARKER: str(layout.state), "LAKEHOUSE_ENV": layout.environment_name}
        command = [str(VENV / "bin" / "python"), "-m", "supervisor.supervisord", "-c", str(file)]
        run = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
        if run.returncode != 0 or not _within(10, self.is_running):
            raise SupervisorError(
                f"the supervisor did not start: {(run.stdout + run.stderr).strip()}; see {layout.logs}"
            )

    def states(self) -> dict[str, str]:
        return {str(process["name"]): str(process["statename"]) for process in self._processes()}

    def pids(self) -> dict[str, int]:
        """Of the services that have a process at this moment."""
        return {str(process["name"]): int(process["pid"]) for process in self._processes() if process["pid"]}

    def pid(self) -> int:
        return int(self._rpc().getPID())

    def start_service(self, name: str) -> None:
        self._rpc().startProcess(name, False)

    def stop_service(self, name: str) -> None:
        self._rpc().stopProcess(name, False)

    def shut_down(self) -> None:
        self._rpc().shutdown()
        if not _within(60, lambda: not self.is_running()):
            raise SupervisorError(f"the supervisor does not end; see {self._layout.logs / 'supervisord.log'}")

    def _processes(self) -> list[Mapping[str, Any]]:
        return cast(list[Mapping[str, Any]], self._rpc().getAllProcessInfo())

    def _rpc(self) -> Any:
        return ServerProxy(self._url).supervisor


def render(layout: Layout, services: Iterable[Service]) -> str:
    """supervisord.conf. `%` begins an expansion there, so that it is doubled."""
    host, port = layout.stack.bind_host, layout.stack.ports.supervisor
    sections = [
        _section(
            "supervisord",
            logfile=layout.logs / "supervisord.log",
            logfile_maxbytes=LOG_BYTES,
            logfile_backups=LOG_BACKUPS,
            pidfile=layout.state / "supervisord.pid",
            childlogdir=layout.logs,
            directory=PROJECT_ROOT,
            **({"user": "root"} if os.geteuid() == 0 else {}),
        ),
        _section(
            "inet_http_server",
            port=f"{host}:{port}",
            username="stack",
            password=layout.credentials.supervisor_password,
        ),
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
    ]
    for priority, service in enumerate(services, start=1):
        sections.append(
            _section(
                f"program:{service.name}",
                command=shlex.join([str(VENV / "bin" / "python"), "-m", "infra.local.run_service", service.name]),
                directory=PROJECT_ROOT,
                priority=priority,
                autostart="false",
                autorestart="true",
                startsecs=2,
                startretries=5,
                redirect_stderr="true",
                stdout_logfile=log_file(layout, service.name),
                stdout_logfile_maxbytes=LOG_BYTES,
                stdout_logfile_backups=LOG_BACKUPS,
                stopsignal=service.stop_signal,
                stopwaitsecs=service.stop_seconds,
                killasgroup="true",
            )
        )
    return "\n".join(sections)


def log_file(layout: Layout, service: str) -> Path:
    return layout.logs / f"{service}.log"


def record_process(state: Path, service: str) -> None:
    """Remember the calling process as one of a service; `exec` changes neither its id nor its birth.

    Those before it stay on record: the children of a service that was killed live on, in its group, with their work.
    """
    folder = state / "pids"
    folder.mkdir(exist_ok=True)
    with (folder / service).open("a", encoding="utf-8") as record:
        record.write(f"{os.getpid()} {psutil.Process().create_time()}\n")


def leftovers(state: Path) -> list[psutil.Process]:
    """Processes of the stack of this state folder, whoever their parent is by now.

    They are known by the marker in their environment, or, because a process that sets its title overwrites what the
    system shows of its environment, by the process group that the supervisor gave to their service.
    """
    groups = _recorded_groups(state)
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _belongs(process, state, groups)]


def _belongs(process: psutil.Process, state: Path, groups: set[int]) -> bool:
    try:
        if process.environ().get(MARKER) == str(state):
            return True
        folder = Path(process.cwd()) if os.getpgid(process.pid) in groups else None
    except (psutil.Error, OSError):
        return False
    return folder is not None and (folder == PROJECT_ROOT or folder.is_relative_to(state))


def _recorded_groups(state: Path) -> set[int]:
    """Group ids of the recorded processes, without those whose id has gone to somebody else since."""
    groups = set()
    records = [line for file in (state / "pids").glob("*") for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        pid, _, birth = record.partition(" ")
        try:
            is_reused = psutil.Process(int(pid)).create_time() != float(birth)
        except psutil.NoSuchProcess:
            is_reused = False
        if not is_reused:
            groups.add(int(pid))
    return groups


def end_leftovers(state: Path, patience_seconds: float = 15) -> int:
    """End what a killed supervisor left behind: politely, then not. Returns how many there were."""
    processes = leftovers(state)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                process.send_signal(signal_number)
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(processes, timeout=patience_seconds)
        if not alive:
            break
    shutil.rmtree(state / "pids", ignore_errors=True)
    return len(processes)


def _section(name: str, /, **options: object) -> str:
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _within(seconds: float, condition: Any) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
