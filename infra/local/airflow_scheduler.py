"""Airflow's scheduler. It forks its tasks, and what it has imported before, none of them has to import again.

Without this a task takes four seconds of a core until it begins, and a date has some twenty.
"""

from __future__ import annotations

import sys
from importlib import import_module

from airflow.__main__ import main

import config

# Neither gRPC nor a client of S3: their threads do not survive a fork.
PRELOADED = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.amazon.aws.hooks.athena_sql",
    "airflow.providers.amazon.aws.operators.athena",
    "airflow.providers.apache.spark.operators.spark_submit",
    "airflow.providers.common.sql.operators.sql",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
)
# What the jobs import, where they run in the tasks' own processes.
PRELOADED_FOR_JOBS = ("pandas", "scipy.stats", "sklearn.metrics")

if __name__ == "__main__":
    remote = config.load().environment.spark.remote
    for name in (*PRELOADED, *(PRELOADED_FOR_JOBS if remote else ())):
        import_module(name)
    sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
    sys.exit(main())  # type: ignore[no-untyped-call]
