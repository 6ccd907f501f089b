"""Two processes share the tests (pytest-xdist): each has its own JVM for Spark, and its own stack for integration."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# What takes longest begins first, so that both processes end together; folders and files below tests/.
LONGEST_FIRST = (
    "unit/spark_jobs/test_any_order.py",
    "unit/spark_jobs/test_transform_clickstream.py",
    "unit/spark_jobs",
    "unit",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no stack runs first: it fails sooner, and never sees the environment of a stack."""

    def rank(item: pytest.Item) -> int:
        places = (n for n, part in enumerate(LONGEST_FIRST) if item.path.is_relative_to(TESTS / part))
        return next(places, len(LONGEST_FIRST))

    items.sort(key=rank)
