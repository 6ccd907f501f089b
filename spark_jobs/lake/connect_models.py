"""What Spark Connect's client gets wrong about models, fenced in one place (SPARK-55020, in 4.1.1).

A model that Python's garbage collector finds asks the server to delete it. Where that happens in the midst of another
call of the same thread, neither call ever ends. Here such a model only leaves its id, and `release_models` deletes them
between two calls.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pyspark.ml.util
from pyspark.sql import SparkSession

_released: deque[str] = deque()


def defer_release() -> None:
    """Let the models of this process leave their ids; of models of a classic session there are none."""
    pyspark.ml.util.del_remote_cache = _released.append  # type: ignore[assignment]


def release_models(spark: SparkSession) -> None:
    """Delete on the server what the garbage collector has found since."""
    ids = []
    while _released:
        ids.append(_released.popleft())
    # A summary's id has a dot: it goes with its model.
    if models := [each for each in ids if each and "." not in each]:
        cast(Any, spark).client._delete_ml_cache(models)
