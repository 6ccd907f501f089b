"""One Spark Connect server for a whole test run: for both processes of pytest, and for jobs that they start.

The first test that needs Spark starts it; who runs the tests stops it at the end. `SPARK_REMOTE` names it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from infra.local.class_archive import ARCHIVE, class_path_variables
from infra.local.java import find_java_home
from infra.local.spark_connect import connect_command

FOLDER = "LAKEHOUSE_TEST_RUN"  # what the run shares: the server's address, process and log
HOST = "127.0.0.1"
READY_SECONDS = 120
LOG_SETTINGS = "rootLogger.level = error\n"
# Rows are few in tests: compiling code for them, and planning again after each stage, takes longer than running them.
# The tests of what segments are worth set these back for their own session.
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.connect.session.manager.defaultSessionTimeout": "60m",
    "spark.cleaner.periodicGC.interval": "5min",
}


def prepare_run() -> Path:
    """The folder that the processes of this run share, made by the first of them."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="lakehouse-tests-")
    return Path(os.environ[FOLDER])


def ensure_server() -> str:
    """The address of the run's server, as SPARK_REMOTE; started where it does not run yet."""
    folder = prepare_run()
    with locked(folder / "lock"):
        address = folder / "spark-remote"
        if not address.exists():
            port = free_port()
            start_server(folder, port)
            address.write_text(f"sc://{HOST}:{port}")
        return address.read_text()


def start_server(folder: Path, port: int) -> None:
    """Start it, and wait until it answers."""
    log4j, log = folder / "log4j2.properties", folder / "spark.log"
    log4j.write_text(LOG_SETTINGS)
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.exists() else []
    java_options = [f"-Dlog4j2.configurationFile={log4j}", "-XX:+UseParallelGC", *archive]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    # The keys of a stack that a test starts later; its endpoint checks none.
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    variables = {
        **kept,
        **class_path_variables(find_java_home()),
        "SPARK_LOCAL_IP": HOST,
        "PYSPARK_PYTHON": sys.executable,
        **keys,
    }
    with log.open("w") as output:
        server = subprocess.Popen(
            connect_command(HOST, port, "local[2]", "3g", java_options, SETTINGS),
            env=variables,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "spark.pid").write_text(str(server.pid))
    deadline = time.monotonic() + READY_SECONDS
    while not answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the Spark Connect server of the tests did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def stop_server() -> None:
    """Stop the run's server, where one was started."""
    folder = os.environ.pop(FOLDER, None)
    pid = Path(folder) / "spark.pid" if folder else None
    if pid and pid.exists():
        with suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGTERM)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Only one process of the run at a time."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
