"""A stack of its own for the faults, with both lakes on it, and a summary of what was done to it.

FAULTS_KILLS   how many kills (default: those of `make test`)
FAULTS_SEED    the seed that a failed run has printed: the same moments again, as far as times repeat
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from config.loader import CONFIG_DIR
from tests.altered_settings import work_little, write_altered
from tests.faults.aws_proxy import start_aws_proxy
from tests.faults.lakes import Lake, Lakes, Report, UndisturbedLake, undisturbed_variables
from tests.running_stack import RunningStack, start_storage

REPORT = "fault"
PAGE_BYTES = 4096


class SmallDisk:
    """A file system of an adjustable size, in memory; `reason` says why this machine has none."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        done = self._mount("size=4g")
        self.reason = done.stderr.strip() if done.returncode else None

    def fill(self) -> None:
        """No room for another byte, or for a page of them where it was empty: a size of 0 would be no limit."""
        used = shutil.disk_usage(self.folder).used
        self._mount(f"remount,size={max(used, PAGE_BYTES)}").check_returncode()

    def make_room(self) -> None:
        self._mount("remount,size=4g").check_returncode()

    def unmount(self) -> None:
        if self.reason is None:
            subprocess.run(["umount", str(self.folder)], check=True)

    def _mount(self, options: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))


@pytest.fixture(scope="session")
def faults_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def endpoint_disk(faults_folder: Path) -> Iterator[SmallDisk]:
    """Where the S3 and Glue endpoint of the stack keeps everything."""
    disk = SmallDisk(faults_folder / "state of the stack" / "aws")
    yield disk
    disk.unmount()


@pytest.fixture(scope="session")
def stack(faults_folder: Path, endpoint_disk: SmallDisk) -> Iterator[RunningStack]:
    """In place of the one that all integration tests share: nobody else may feel these faults."""
    assert endpoint_disk.folder.is_dir()
    with start_storage(faults_folder) as running:
        yield running


@pytest.fixture(scope="session")
def faults_seed() -> int:
    return int(os.environ.get("FAULTS_SEED") or random.randrange(2**32))


@pytest.fixture(scope="session")
def lakes(stack: RunningStack, faults_folder: Path, faults_seed: int, spark: SparkSession) -> Iterator[Lakes]:
    assert SparkSession.getActiveSession() is spark
    os.environ |= {name: value for name, value in stack.environment.items() if name.startswith("AWS_")}
    bind_host, ports = stack.layout.stack.bind_host, stack.layout.stack.ports
    with start_aws_proxy(bind_host, ports.aws, random.Random(faults_seed)) as proxy:
        folder = faults_folder / "settings"
        folder.mkdir()
        address = f"http://{bind_host}:{proxy.port}"
        through_proxy = {
            "LAKEHOUSE_ENV": write_altered(
                folder, stack.layout.environment_file, lambda c: c["aws"].update(endpoint_url=address)
            )
        }
        disturbed = folder / "disturbed"
        disturbed.mkdir()
        little = {"LAKEHOUSE_PIPELINE": write_altered(disturbed, CONFIG_DIR / "pipeline.yaml", work_little)}
        logs = [faults_folder / name for name in ("undisturbed", "disturbed")]
        for log in logs:
            log.mkdir()
        yield Lakes(
            stack=stack,
            proxy=proxy,
            undisturbed=UndisturbedLake(stack, through_proxy | undisturbed_variables(folder), logs[0]),
            disturbed=Lake(stack, through_proxy | little, logs[1]),
            seed=faults_seed,
        )


@pytest.fixture
def report(record_property: Callable[[str, Any], None], lakes: Lakes) -> Iterator[Report]:
    """The test's line of the summary; it is there when the test fails as well."""
    print(f"FAULTS_SEED={lakes.seed}")
    line = Report(seed=lakes.seed)
    yield line
    record_property(REPORT, asdict(line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each fault: what was done, when, how it ended, what the rerun found."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    lines = [
        value
        for report in reports
        if report.when == "teardown"
        for name, value in report.user_properties
        if name == REPORT
    ]
    if not lines:
        return
    table = Table(title=f"faults (FAULTS_SEED={lines[0]['seed']})", title_justify="left")
    columns = [name for name in lines[0] if name != "seed"]
    for name in columns:
        table.add_column(name.replace("_", " "))
    for line in lines:
        table.add_row(*[str(line[name]) for name in columns])
    Console(width=160).print(table)
