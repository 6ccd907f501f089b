"""`stack`: the real stack, on ports and in a folder of its own, once for all integration tests.

def test_something(stack: RunningStack) -> None:
    stack.settings                            # config of this stack; LAKEHOUSE_ENV points at it as well
    stack.run("python", "-m", "some.module")  # a process that sees what `make env` prints
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_stack import RunningStack, start_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with start_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
