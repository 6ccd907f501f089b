"""A Spark job of ours as a task, and the arguments that every task of every DAG has."""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.operators.python import PythonOperator

import config
from config.loader import PROJECT_ROOT

JOBS = PROJECT_ROOT / "spark_jobs"
DEFAULT_ARGUMENTS: dict[str, Any] = {
    "owner": "lakehouse",
    # A minute without Kafka or S3 is outlived: 20 s, then 40 s, each up to twice as long by Airflow's jitter.
    "retries": 2,
    "retry_delay": dt.timedelta(seconds=20),
    "retry_exponential_backoff": 2,
    "max_retry_delay": dt.timedelta(minutes=5),
    "execution_timeout": dt.timedelta(hours=2),
}


class ConnectJobOperator(PythonOperator):
    """A job in the task's own process, with its session on a Spark Connect server, which a killed task interrupts."""

    def on_kill(self) -> None:
        from pyspark.sql import SparkSession

        if session := SparkSession.getActiveSession():
            session.interruptAll()


def spark_task(job: str, arguments: list[str], task_id: str | None = None) -> SparkSubmitOperator | ConnectJobOperator:
    """A Spark job as a task, by default of the same name, once at a time: two would compete for the same dates.

    It works on the Spark Connect server that `spark.remote` of the environment names, or starts a Spark of its own.
    """
    if config.load().environment.spark.remote:
        return ConnectJobOperator(
            task_id=task_id or job, python_callable=run_job, op_args=[job, arguments], max_active_tis_per_dag=1
        )
    return SparkSubmitOperator(
        task_id=task_id or job,
        application=str(JOBS / f"{job}.py"),
        application_args=arguments,
        name=f"{job} {{{{ run_id }}}}",
        conn_id="spark_default",
        max_active_tis_per_dag=1,
    )


def run_job(job: str, arguments: list[str]) -> None:
    """`main` of a job, which opens its session and stops it. Raises AirflowException where it fails."""
    from airflow.sdk.exceptions import AirflowException

    code = import_module(f"spark_jobs.{job}").main(arguments)
    if code:
        raise AirflowException(f"{job} ended with {code}: its own last line in this log says why")
