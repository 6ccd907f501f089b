"""`stack`: one real stack, on ports and in a folder of its own, for all tests of this folder.

def test_something(stack: RunningStack) -> None:
    stack.settings                            # config of this stack; LAKEHOUSE_ENV points at it as well
    stack.run("python", "-m", "some.module")  # a process that sees what `make env` prints

Its lake has a story for each of these files, in the order of tests/conftest.py, on dates that no other story uses and
whose windows of 30 days no other one touches:

    test_pipeline   2025-04-01 to 03 and 2019-10-01; it begins with an empty lake
    test_keeping    2025-06-10, then the newest date: a model that is approved scores what follows
    test_backfill   2025-02-10 to 12

Everything else has a topic, a table or a database of its own. What leaves the stack other than it was comes last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.loader import CONFIG_DIR
from tests.altered_settings import work_little, write_altered
from tests.running_stack import RunningStack, start_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_PIPELINE", write_altered(folder, CONFIG_DIR / "pipeline.yaml", alter))
        with start_stack(folder) as running:
            yield running


def alter(pipeline: dict[str, Any]) -> None:
    """Little work, two dates at a time where a backfill has more than one, and models of the users of a single date."""
    work_little(pipeline)
    pipeline["segmentation"]["min_sessions"] = 1
    pipeline["schedule"]["parallel_dates"] = 2
