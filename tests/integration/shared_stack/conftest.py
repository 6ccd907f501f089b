"""`stack`: the real stack, on ports and in a folder of its own, once for the tests of this folder.

def test_something(stack: RunningStack) -> None:
    stack.settings                            # config of this stack; LAKEHOUSE_ENV points at it as well
    stack.run("python", "-m", "some.module")  # a process that sees what `make env` prints
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.loader import CONFIG_DIR
from tests.altered_settings import work_little, write_altered
from tests.running_stack import RunningStack, start_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_PIPELINE", write_altered(folder, CONFIG_DIR / "pipeline.yaml", work_little))
        with start_stack(folder) as running:
            yield running
