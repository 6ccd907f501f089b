"""The stack on one machine: `python -m infra.local.stack up | down | status | logs | env | clean`."""

from __future__ import annotations

import argparse
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from config import ConfigError
from infra.local.environment import client_environment, export_lines
from infra.local.java import JavaMissingError
from infra.local.layout import Layout, NoStackError, open_layout
from infra.local.ports import PortTakenError, check_ports_are_free
from infra.local.service import PreparationError, Service, tail
from infra.local.services import services
from infra.local.supervision import Supervisor, SupervisorError, end_leftovers, log_file

EVER = datetime.fromtimestamp(0, UTC)
READY_TIMEOUT_SECONDS = 300  # a minute on two idle cores; a busy machine needs more
EXPECTED_ERRORS = (
    ConfigError,
    JavaMissingError,
    NoStackError,
    PortTakenError,
    PreparationError,
    SupervisorError,
)


def up(layout: Layout) -> None:
    """Start what does not run yet and wait until everything answers."""
    wanted = services(layout)
    supervisor = Supervisor(layout)
    with _lock(layout):
        if not supervisor.is_running():
            if ended := end_leftovers(layout.state):
                print(f"ended {ended} processes that an earlier supervisor left behind")
            ports = {key: port for service in wanted for key, port in service.ports.items()}
            ports["supervisor"] = layout.stack.ports.supervisor
            check_ports_are_free(layout.stack.bind_host, ports, layout.environment_file)
            supervisor.start(wanted)
        states = supervisor.states()
        missing = [s for s in wanted if states.get(s.name) != "RUNNING" or not s.is_ready(EVER)]
        if missing:
            start_services(layout, supervisor, missing)
        else:
            print("already up")
    print_addresses(layout)


def start_services(layout: Layout, supervisor: Supervisor, missing: Sequence[Service]) -> None:
    """Start each service as soon as those that it depends on answer; one line for each that does."""
    waiting, started = list(missing), dict[str, datetime]()
    unready = {service.name for service in missing}
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while waiting or unready:
        for service in [service for service in waiting if not unready.intersection(service.depends_on)]:
            service.prepare()
            started[service.name] = datetime.now(UTC)
            if supervisor.states()[service.name] not in ("STARTING", "RUNNING", "BACKOFF"):
                supervisor.start_service(service.name)
            waiting.remove(service)
        for service in [service for service in missing if service.name in unready and service.name in started]:
            if service.is_ready(started[service.name]):
                service.after_ready()
                seconds = (datetime.now(UTC) - started[service.name]).total_seconds()
                print(f"{service.name:<22} ready {seconds:5.1f} s", flush=True)
                unready.remove(service.name)
            elif supervisor.states()[service.name] == "FATAL" or time.monotonic() > deadline:
                raise SupervisorError(f"{service.name} does not start:\n{tail(log_file(layout, service.name))}")
        time.sleep(0.3)


def print_addresses(layout: Layout) -> None:
    host, ports = layout.stack.bind_host, layout.stack.ports
    print(f"Dashboard http://{host}:{ports.dashboard}")
    print(f"Airflow   http://{host}:{ports.airflow}  user admin, password {layout.credentials.airflow_admin_password}")
    print(f"Kafka     {layout.environment.kafka.bootstrap_servers}")
    print(f"S3, Glue  {layout.environment.aws.endpoint_url}")
    print(f"Athena    http://{host}:{ports.athena}")


def down(layout: Layout) -> None:
    """Stop every service in an orderly way, each after those that depend on it; the state stays."""
    supervisor = Supervisor(layout)
    with _lock(layout):
        if supervisor.is_running():
            stop_services(supervisor, services(layout))
            supervisor.shut_down()
            print("down")
        else:
            print("not running")
        end_leftovers(layout.state)


def stop_services(supervisor: Supervisor, running: Sequence[Service]) -> None:
    known = supervisor.states()
    left = [service for service in running if known.get(service.name, "STOPPED") not in ("STOPPED", "EXITED", "FATAL")]
    asked: set[str] = set()
    while left:
        for service in left:
            is_needed = any(service.name in other.depends_on for other in left)
            if not is_needed and service.name not in asked:
                supervisor.stop_service(service.name)
                asked.add(service.name)
        time.sleep(0.1)
        states = supervisor.states()
        for service in [service for service in left if states[service.name] in ("STOPPED", "EXITED", "FATAL")]:
            print(f"{service.name:<22} stopped", flush=True)
            left.remove(service)


def status(layout: Layout) -> int:
    """One line for each service; 0 when all of them answer."""
    supervisor = Supervisor(layout)
    is_running = supervisor.is_running()
    states = supervisor.states() if is_running else {}
    pids = supervisor.pids() if is_running else {}
    is_all_ready = True
    for service in services(layout):
        is_ready = states.get(service.name) == "RUNNING" and service.is_ready(datetime.fromtimestamp(0, UTC))
        is_all_ready = is_all_ready and is_ready
        state = "ready" if is_ready else states.get(service.name, "STOPPED").lower()
        ports = " ".join(str(port) for port in service.ports.values())
        print(f"{service.name:<22} {state:<9} {pids.get(service.name) or '-':>8}  {ports}".rstrip())
    return 0 if is_all_ready else 1


def logs(layout: Layout, service: str | None) -> None:
    """Follow the logs of one service, or of all."""
    known = [known.name for known in services(layout)]
    if service and service not in known:
        raise SupervisorError(f"no service is called {service!r}; there are: {', '.join(known)}")
    files = [file for name in ([service] if service else known) if (file := log_file(layout, name)).exists()]
    if not files:
        raise SupervisorError(f"{layout.logs} has no log yet: `make up` starts the stack")
    try:
        subprocess.run(["tail", "-n", "100", "-F", *map(str, files)], check=False)
    except KeyboardInterrupt:
        return


def clean(layout: Layout) -> None:
    down(layout)
    shutil.rmtree(layout.state, ignore_errors=False)
    print(f"removed {layout.state}")


def env(layout: Layout) -> None:
    print("\n".join(export_lines(client_environment(layout))))


@contextmanager
def _lock(layout: Layout) -> Iterator[TextIO]:
    """Two `make up` at once would start everything twice."""
    with (layout.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="infra.local.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "env", "clean"):
        commands.add_parser(name)
    commands.add_parser("logs").add_argument("service", nargs="?")
    arguments = parser.parse_args(argv)
    try:
        layout = open_layout()
        if arguments.command == "logs":
            logs(layout, arguments.service)
        elif arguments.command == "status":
            return status(layout)
        else:
            {"up": up, "down": down, "env": env, "clean": clean}[arguments.command](layout)
    except EXPECTED_ERRORS as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
