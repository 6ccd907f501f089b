"""One Spark Connect server for a whole test run: for both processes of pytest, and for jobs that they start.

The first test that needs Spark starts it; it ends with the run. `SPARK_REMOTE` names it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import config
from infra.local.class_archive import ARCHIVE, class_path_variables
from infra.local.java import find_java_home
from infra.local.layout import LOCAL
from infra.local.spark_connect import connect_command

FOLDER = "LAKEHOUSE_TEST_RUN"  # what the run shares: the server's address, process and log
HOST = "127.0.0.1"
READY_SECONDS = 120
MASTER = "local[4]"  # as many tasks as two processes of pytest have: no job waits for the other's to end
LOG_SETTINGS = LOCAL / "spark-log4j2.properties"
# Rows are few in tests: compiling code for them, and planning again after each stage, takes longer than running them.
# The tests of what segments are worth set these back for their own session.
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.default.parallelism": "2",
    "spark.connect.session.manager.defaultSessionTimeout": "60m",
    "spark.cleaner.periodicGC.interval": "5min",
    # Pages and blocks for a few rows: with those for millions, every task clears megabytes of memory first.
    "spark.buffer.pageSize": "1m",
    "spark.broadcast.blockSize": "128k",
    "spark.sql.ui.explainMode": "simple",
}


def prepare_run() -> Path:
    """The folder that the processes of this run share, made by the first of them."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="lakehouse-tests-")
        (Path(os.environ[FOLDER]) / "run.pid").write_text(str(os.getpid()))
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
    log = folder / "spark.log"
    spark = config.load("local").environment.spark
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.exists() else []
    java_options = [f"-Dlog4j2.configurationFile={LOG_SETTINGS}", *shlex.split(spark.java_options), *archive]
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
            connect_command(HOST, port, MASTER, spark.driver_memory, java_options, SETTINGS),
            env=variables,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stop_with_the_run(server.pid, int((folder / "run.pid").read_text()))
    deadline = time.monotonic() + READY_SECONDS
    while not answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the Spark Connect server of the tests did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def stop_with_the_run(server: int, run: int) -> None:
    """Stop the server when the run has ended, however it ended: a killed one cannot do so itself."""
    watch = f"while kill -0 {run} 2>/dev/null && kill -0 {server} 2>/dev/null; do sleep 1; done; kill {server}"
    subprocess.Popen(["sh", "-c", watch], stderr=subprocess.DEVNULL, start_new_session=True)


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
