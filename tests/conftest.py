"""Two processes share the tests (pytest-xdist), and one Spark Connect server."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

import config
from spark_jobs.lake.session import open_session
from tests import spark_server
from tests.running_stack import RunningStack

TESTS = Path(__file__).parent
# What takes longest begins first, so that both processes end together; folders and files below tests/.
LONGEST_FIRST = (
    # The stories of the one stack, each on what the ones before have left; the kills of test_stack come last.
    "integration/test_empty_lake.py",
    "integration/test_pipeline.py",
    "integration/test_keeping.py",
    "integration/test_backfill.py",
    "integration",
    "quality",
    "lake/test_user_segmentation_ml.py",
    "lake/test_any_order.py",
    "lake",
    "unit",
)
# Their files share one stack and stay in one process. The faults have a stack in each process.
SHARED = ("tests/integration",)


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Each process takes the next file, or the next folder that shares a stack, when it is free."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((folder for folder in SHARED if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


class ShowFailures:
    """Tells of a failure at once, not only at the end: who waits, or ends the run, sees it."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\n{report.nodeid} failed in its {report.when}:\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)  # pytest's own terminal has to be there
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if not hasattr(config, "workerinput"):
        spark_server.prepare_run()  # before the processes start: they inherit it
        if terminal:
            config.pluginmanager.register(ShowFailures(terminal))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has the stack from the beginning, the other all that needs none; faults come last."""

    def rank(item: pytest.Item) -> int:
        places = (n for n, part in enumerate(LONGEST_FIRST) if item.path.is_relative_to(TESTS / part))
        return next(places, len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the services said when a test that uses them fails."""
    report = yield
    used: Any = getattr(item, "funcargs", {}).get("stack")
    if report.when == "call" and report.failed and isinstance(used, RunningStack):
        report.sections.append(("logs of the stack", used.log_tails()))
    return report


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """This process's session on the run's server: for pure transforms, lakes in folders, and a `main()` under test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_REMOTE", spark_server.ensure_server())
        with open_session("tests", config.load("local")) as opened:
            opened.conf.set("spark.sql.shuffle.partitions", "1")
            yield opened
