"""How a job ends that could not do its work: one line that names the thing and the remedy instead of a stack trace.

What a job runs on fails it only after it has been tried again, with growing pauses: by Iceberg for up to ten minutes
where S3 does not give Spark a table's metadata, by the AWS SDK for up to a minute where it takes no data, by boto3 for
up to a minute and a half where Glue does not answer PyIceberg.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec

import config
from config import Settings
from spark_jobs.errors import JobError

P = ParamSpec("P")
# The first pattern that a line of the error matches tells what failed. A full disk comes in exceptions of the others.
_PATTERNS = {
    "disk": r"No space left on device",
    "Spark Connect": r"StatusCode\.UNAVAILABLE",
    "Glue": r"services\.glue|Service: Glue|\((5\d\d|Internal\w+|ServiceUnavailable\w*|Throttling\w*)\) when calling",
    "S3": r"software\.amazon\.awssdk|hadoop\.fs\.s3a|AWS Error [A-Z_]+|endpoint URL: ",
    "Kafka": r"org\.apache\.kafka",
}
_EXCEPTION_CLASS = re.compile(r"^.*?\b(?:\w+\.)+([A-Z]\w*(?:Exception|Error)): ")


def explain_failures(main: Callable[P, int]) -> Callable[P, int]:
    """`main` of a job; it returns 1 after one line on stderr where it raised a JobError, or S3, Glue, Kafka or the disk
    has failed."""
    # A script's module is called __main__.
    name = Path(inspect.getfile(main)).stem

    @functools.wraps(main)
    def explained(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except JobError as error:
            line = error.to_line()
        except Exception as error:
            explained_failure = explain(error, config.load())
            if explained_failure is None:
                raise
            line = explained_failure
        print(f"{name}: {line}", file=sys.stderr)
        return 1

    return explained


def explain(error: BaseException, settings: Settings) -> str | None:
    """What failed, its own words, and what to do; None where it is nothing that a job runs on."""
    lines = [line.strip() for each in _first_to_last(error) for line in str(each).splitlines()]
    for thing, pattern in _PATTERNS.items():
        matching = [line for line in lines if re.search(pattern, line) and not line.startswith("at ")]
        if matching:
            said = _EXCEPTION_CLASS.sub(r"\1: ", matching[0])
            return f"{_name(thing, settings)} failed: {said}. The tables are whole; {_remedy(thing)}"
    return None


def _first_to_last(error: BaseException) -> Iterator[BaseException]:
    """What happened first, then what happened while it was handled."""
    if error.__context__:
        yield from _first_to_last(error.__context__)
    yield error


def _name(thing: str, settings: Settings) -> str:
    address = {
        "S3": settings.environment.aws.endpoint_url,
        "Glue": settings.environment.aws.endpoint_url,
        "Kafka": settings.environment.kafka.bootstrap_servers,
        "Spark Connect": os.environ.get("SPARK_REMOTE") or settings.environment.spark.remote,
    }.get(thing)
    return f"{thing} at {address}" if address else f"the {thing}" if thing == "disk" else thing


def _remedy(thing: str) -> str:
    if thing == "disk":
        return "make room in the folder of SPARK_LOCAL_DIRS (else /tmp) and run it again"
    if thing == "Spark Connect":
        return "start the server (SPARK_REMOTE, or spark.remote of the environment, names it) and run it again"
    return "run it again when it answers (`make status`, `make up`)"
