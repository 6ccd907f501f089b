"""What others do in the very middle of a transform, always at the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from spark_jobs import transform_clickstream
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse


@contextmanager
def meanwhile(name: str, act: Callable[[Lakehouse], object]) -> Iterator[None]:
    """Others act once: before a transform first calls its function `name`, which takes a draft."""
    function, ends = getattr(transform_clickstream, name), list[str]()

    def act_then_call(draft: Draft, *arguments: object) -> object:
        if not ends:
            ends.append("failed")
            act(draft.lakehouse)
            ends.append("well")
        return function(draft, *arguments)

    with mock.patch.object(transform_clickstream, name, act_then_call):
        yield
    assert ends == ["failed", "well"]  # what the act raises may be taken for the transform's own, and tried again
