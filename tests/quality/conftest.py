"""Compiled code for many rows, as the jobs have it. Here is measured what segments are worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

import config
from spark_jobs.lake.lakehouse import Lakehouse

COMPILED = {
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.shuffle.partitions": "4",
}


@contextmanager
def compiled(spark: SparkSession) -> Iterator[None]:
    """For a million events. A few thousand users are scored sooner without: each date has code of its own."""
    before = {name: str(spark.conf.get(name)) for name in COMPILED}
    for name, value in COMPILED.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


@pytest.fixture(scope="package")
def lakehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """An empty lakehouse in a folder."""
    settings = config.load("local")
    settings = replace(settings, environment=replace(settings.environment, mlflow_tracking_uri=None))
    return Lakehouse(spark, settings, output_path=str(tmp_path_factory.mktemp("quality")))
