"""How Spark says that somebody else was faster: in an error's text, which each kind of session words its own way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from spark_jobs.errors import ConcurrentCommitError

# Iceberg's exceptions by their full names: a classic session gives a Java stack trace, Spark Connect the class.
_CONFLICT = re.compile(r"\borg\.apache\.iceberg\.exceptions\.(ValidationException|CommitFailedException)\b")


@contextmanager
def raise_on_conflict(text: str) -> Iterator[None]:
    """Commits of Spark in which Iceberg finds that somebody else was faster raise ConcurrentCommitError(text)."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ConcurrentCommitError) or not _CONFLICT.search(str(error)):
            raise
        raise ConcurrentCommitError(text) from error
