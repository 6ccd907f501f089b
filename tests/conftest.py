"""Two processes share the tests (pytest-xdist): each has its own JVM for Spark, and its own stack for integration."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.running_stack import RunningStack

TESTS = Path(__file__).parent
# What takes longest begins first, so that both processes end together; folders and files below tests/.
LONGEST_FIRST = (
    "unit/spark_jobs/test_any_order.py",
    "unit/spark_jobs/test_transform_clickstream.py",
    "unit/spark_jobs",
    "unit",
    "quality",
    "integration/test_pipeline.py",
    "integration/test_backfill.py",
    "integration/test_keeping.py",
    "integration",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no stack runs first: it fails sooner, and never sees the environment of a stack. Faults come last."""

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
