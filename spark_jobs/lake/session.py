"""The Spark session of a job: a classic one, that of `spark-submit`, or a Spark Connect client.

A client it is where `SPARK_REMOTE`, or `spark.remote` of the environment's file, names a server.

Whoever opens a session stops it. A job that is called where a session is active works in that one and leaves it open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession

from config import Settings
from spark_jobs.lake.connect_models import defer_release, release_models

# Of the whole Spark application: a Connect server is started with it (`STATIC_SETTINGS`), a session cannot change it.
STATIC_SETTINGS = {
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
}


def session_settings(settings: Settings) -> dict[str, str]:
    """What a session of ours has beside Spark's defaults; a catalog adds its own when a lake is opened."""
    aws = settings.environment.aws
    storage = {"fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem", "fs.s3a.endpoint.region": aws.region}
    if aws.endpoint_url:
        storage |= {"fs.s3a.endpoint": aws.endpoint_url, "fs.s3a.path.style.access": "true"}
    return {
        "spark.sql.session.timeZone": "UTC",
        # Unicode's tables for upper and lower case cost every job a second; ours lower-cases hexadecimal digits.
        "spark.sql.icu.caseMappings.enabled": "false",
        # If a key appears twice in an object, the last value wins, as it does for from_json.
        "spark.sql.variant.allowDuplicateKeys": "true",
        # Distinct products are collected by hash up to this many sessions in a task, then by sorting; Spark's is 128.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
        "spark.sql.shuffle.partitions": str(settings.environment.spark.shuffle_partitions),
        # Hadoop's settings by their own names: as such a session passes them on, in a Connect server too.
        **storage,
    }


@contextmanager
def open_session(app_name: str, settings: Settings) -> Iterator[SparkSession]:
    """The active session, or a new one that is stopped at the end.

    What needs a new JVM (jars, memory, cores) comes from spark-submit, SPARK_CONF_DIR, or whoever started the server.
    """
    active = SparkSession.getActiveSession()
    # The class of the active one: to PySpark's own a client without SPARK_REMOTE has no server.
    builder = (type(active) if active else SparkSession).builder.appName(app_name)
    conf = session_settings(settings)
    remote = os.environ.get("SPARK_REMOTE") or settings.environment.spark.remote
    if active is None and remote:
        os.environ.pop("MASTER", None)  # as spark-submit sets it; PySpark refuses to know both
        builder = builder.remote(remote)
    elif active is None:
        # Where in Python a column was made costs as much as making it; an error names the column and the job's line.
        conf |= {**STATIC_SETTINGS, "spark.python.sql.dataFrameDebugging.enabled": "false"}
    for key, value in conf.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    defer_release()
    try:
        yield spark
    finally:
        if active is None:
            spark.stop()


@contextmanager
def persisted(frame: DataFrame) -> Iterator[DataFrame]:
    """A frame that is computed once within the block, and released at its end, whatever happens in it."""
    kept = frame.persist()
    try:
        yield kept
    finally:
        kept.unpersist()
        release_models(frame.sparkSession)
