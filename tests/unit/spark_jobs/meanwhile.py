"""What others do in the very middle of a transform, always at the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from unittest import mock

from spark_jobs import transform_clickstream
from spark_jobs.draft import Draft
from spark_jobs.lakehouse import Lakehouse

WAP_BRANCH = "spark.wap.branch"


@contextmanager
def outside_the_draft(lakehouse: Lakehouse) -> Iterator[Lakehouse]:
    """The lakehouse as another job has it, which reads and writes what is published."""
    other = copy(lakehouse)
    other._held = {}
    branch = lakehouse.spark.conf.get(WAP_BRANCH)
    lakehouse.spark.conf.unset(WAP_BRANCH)
    try:
        yield other
    finally:
        lakehouse.spark.conf.set(WAP_BRANCH, str(branch))


@contextmanager
def meanwhile(name: str, act: Callable[[Lakehouse], object]) -> Iterator[None]:
    """Others act once: before a transform first calls its function `name`, which takes a draft."""
    function, ends = getattr(transform_clickstream, name), list[str]()

    def act_then_call(draft: Draft, *arguments: object) -> object:
        if not ends:
            ends.append("failed")
            with outside_the_draft(draft.lakehouse) as others:
                act(others)
            ends.append("well")
        return function(draft, *arguments)

    with mock.patch.object(transform_clickstream, name, act_then_call):
        yield
    assert ends == ["failed", "well"]  # what the act raises may be taken for the transform's own, and tried again
