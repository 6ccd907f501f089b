"""A real stack for tests, on ports and in a folder of its own, and commands that see it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyathena
import yaml
from pyiceberg.catalog import Catalog

from config import Settings
from config.catalog import open_catalog
from config.loader import CONFIG_DIR, PROJECT_ROOT
from infra.local.environment import client_environment
from infra.local.layout import Layout, open_layout
from infra.local.service import tail
from infra.local.services import services
from infra.local.stack import READY_TIMEOUT_SECONDS, start_services
from infra.local.supervision import Supervisor
from tests import spark_server

EPOCH = datetime.fromtimestamp(0, UTC)
STORAGE = ("kafka", "aws")
COMMAND_SECONDS = 1800
UP_SECONDS = READY_TIMEOUT_SECONDS + 60


@dataclass(frozen=True)
class RunningStack:
    """`environment` is what `make env` prints."""

    layout: Layout
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        return self.layout.settings

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.layout)

    def pids(self) -> dict[str, int]:
        """Process of each service that has one at this moment."""
        return self.supervisor.pids()

    def kill(self, service: str) -> None:
        os.kill(self.pids()[service], signal.SIGKILL)

    def kill_and_wait(self, service: str) -> None:
        """Kill a service and wait until the supervisor has brought it back and it answers."""
        killed = self.pids()[service]
        self.kill(service)
        wait_until(lambda: self.pids().get(service, killed) != killed and self.is_ready(service), COMMAND_SECONDS)

    def revive(self, service: str) -> None:
        """Wait until a service answers; where the supervisor has given it up, it is started."""
        wait_until(lambda: self.supervisor.states()[service] in ("RUNNING", "FATAL"), COMMAND_SECONDS)
        if self.supervisor.states()[service] == "FATAL":
            self.supervisor.start_service(service)
        wait_until(lambda: self.is_ready(service), COMMAND_SECONDS)

    def is_ready(self, name: str) -> bool:
        service = next(service for service in services(self.layout) if service.name == name)
        return self.supervisor.states()[name] == "RUNNING" and service.is_ready(EPOCH)

    def open_lake(self) -> Catalog:
        """An outside client: PyIceberg on the Glue endpoint, with the credentials that `make env` prints."""
        os.environ |= {name: value for name, value in self.environment.items() if name.startswith("AWS_")}
        return open_catalog(self.settings)

    def start(self) -> None:
        """Start what does not run yet, and wait until everything answers."""
        up = self.command("up")
        assert up.returncode == 0, f"{up.stdout}\n{up.stderr}\n{self.log_tails()}"

    def command(self, *arguments: str, timeout: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """`python -m infra.local.stack <arguments>`; the caller judges the result."""
        return stack_command(*arguments, environment_file=self.layout.environment_file, timeout=timeout)

    def run(self, *command: str, timeout: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in the project's folder that sees the stack; its output is part of the error when it fails."""
        environment = {**inherited_variables(), **self.environment, **variables}
        done = subprocess.run(
            command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def log_tails(self) -> str:
        return "\n".join(tail(file, 12) for file in sorted(self.layout.logs.glob("*.log")))


@dataclass(frozen=True)
class Ended:
    """What a command said, and its exit code: make's is 2 for every failure, a killed one's is negative."""

    out: str
    err: str
    code: int

    def last_words(self) -> list[str]:
        """Lines that begin with the name of a command; spark-submit prints a job's stderr on its own stdout."""
        return [line for line in [*self.out.splitlines(), *self.err.splitlines()] if re.match("[a-z_]+: ", line)]


class Running:
    """A command in a process group of its own, as a terminal starts it; `variables` go beside those of the stack."""

    def __init__(self, stack: RunningStack, folder: Path, command: tuple[str, ...], **variables: str) -> None:
        self._files = folder / "out", folder / "err"
        with self._files[0].open("w") as out, self._files[1].open("w") as err:
            self._process = subprocess.Popen(
                command,
                env={**inherited_variables(), **stack.environment, **variables},
                cwd=PROJECT_ROOT,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def wait_for_line(self, *words: str) -> None:
        def is_there() -> bool:
            assert self.is_running(), self.end()
            return any(all(word in line for word in words) for line in self._files[0].read_text().splitlines())

        wait_until(is_there, seconds=COMMAND_SECONDS)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, signal_number: signal.Signals) -> None:
        """A signal to the whole group, where it still runs."""
        if self.is_running():
            os.killpg(self._process.pid, signal_number)

    def end(self, signal_number: signal.Signals | None = None, timeout: float = COMMAND_SECONDS) -> Ended:
        """Its end, after a signal to the whole group as Ctrl-C sends one; past `timeout` seconds it is killed.

        Raises subprocess.TimeoutExpired.
        """
        if signal_number:
            self.send(signal_number)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            raise
        out, err = (file.read_text() for file in self._files)
        return Ended(out, err, code)


def inherited_variables() -> dict[str, str]:
    """The environment of the tests, without what makes their own session one of the run's Spark server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}


def stack_command(
    *arguments: str, environment_file: Path, timeout: float = UP_SECONDS
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.stack", *arguments],
        env={**inherited_variables(), "LAKEHOUSE_ENV": str(environment_file)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def write_environment(folder: Path, spark_remote: str | None = None) -> Path:
    """An environment like `local`, but for ports, bucket, state folder, and where its jobs find Spark."""
    content = yaml.safe_load((CONFIG_DIR / "environments" / "local.yaml").read_text(encoding="utf-8"))
    ports = content["stack"]["ports"]
    content["stack"] |= {
        "state_dir": str(folder / "state of the stack"),
        "ports": dict(zip(ports, free_ports(len(ports)), strict=True)),
    }
    content["spark"] |= {"remote": spark_remote, "shuffle_partitions": 1}  # one task for a few rows, not four
    # A bucket of its own: in a warm Spark, Hadoop keeps a client for each bucket, whatever its endpoint is by now.
    content["aws"]["bucket"] = f"lakehouse-{content['stack']['ports']['aws']}"
    content["mlflow_tracking_uri"] = str(folder / "mlflow")
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def free_ports(count: int) -> list[int]:
    """Below the range from which the system serves clients, so that none of them takes one in the meantime."""
    found: list[int] = []
    for port in random.sample(range(20000, 30000), 500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports between 20000 and 30000")


def wait_until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true within {seconds} s"
        time.sleep(0.2)


@contextmanager
def open_stack(folder: Path, spark_remote: str | None = None) -> Iterator[RunningStack]:
    """A stack on ports and in a folder of its own; LAKEHOUSE_ENV points at it. It is down at the end."""
    file = write_environment(folder, spark_remote)
    before = os.environ.get("LAKEHOUSE_ENV")
    os.environ["LAKEHOUSE_ENV"] = str(file)
    layout = open_layout()
    try:
        yield RunningStack(layout=layout, environment=client_environment(layout))
    finally:
        stack_command("down", environment_file=file)
        shutil.rmtree(layout.state, ignore_errors=True)
        if before is None:
            del os.environ["LAKEHOUSE_ENV"]
        else:
            os.environ["LAKEHOUSE_ENV"] = before


@contextmanager
def start_stack(folder: Path) -> Iterator[RunningStack]:
    """The whole stack; its jobs, those of Airflow too, work in the warm Spark of the tests."""
    with open_stack(folder, spark_server.ensure_server()) as running:
        running.start()
        yield running


@contextmanager
def start_storage(folder: Path, names: Collection[str] = STORAGE) -> Iterator[RunningStack]:
    """Kafka, S3 and Glue alone, or the services that are named; `start` adds the rest."""
    with open_stack(folder) as running:
        known = services(running.layout)
        running.supervisor.start(known)
        start_services(running.layout, running.supervisor, [service for service in known if service.name in names])
        yield running


@contextmanager
def athena_cursor(stack: RunningStack) -> Iterator[Any]:
    """An outside client of Athena: PyAthena."""
    paths = stack.settings.paths
    connection = pyathena.connect(s3_staging_dir=f"{paths.athena_results}/", schema_name=paths.database)
    with closing(connection), connection.cursor() as cursor:
        yield cursor
