"""A JVM as the jobs have it: compiled code, two cores, three gigabytes. Here is measured what segments are worth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

import config
from infra.local.class_archive import class_path_variables
from infra.local.java import find_java_home
from spark_jobs.lakehouse import Lakehouse


@pytest.fixture(scope="package")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    """An empty lakehouse in a folder."""
    before = dict(os.environ)
    os.environ |= class_path_variables(find_java_home()) | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --driver-memory 3g --conf spark.ui.enabled=false "
        "--conf spark.ui.showConsoleProgress=false pyspark-shell",
    }
    os.environ.pop("LAKEHOUSE_ENV", None)
    folder = tmp_path_factory.mktemp("quality")
    settings = config.load("local")
    settings = replace(settings, environment=replace(settings.environment, mlflow_tracking_uri=None))
    with Lakehouse("quality", settings, output_path=str(folder)) as lake:
        lake.create_tables()
        lake.spark.sparkContext.setLogLevel("ERROR")
        yield lake
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def spark(lakehouse: Lakehouse) -> SparkSession:
    return lakehouse.spark
