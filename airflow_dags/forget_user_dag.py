"""
### Forget a user

One run = one user: removed from every table and every retained snapshot, and never let in again.

**Schedule** none; triggered with the parameter `user_id`. One run at a time.
**Inputs** the tables of the Glue database, the truth of the generator, the results of Athena.
**Outputs** a tombstone in `forgotten_users`; the user's rows of `raw_events` emptied, the dates of their events
rebuilt, the segments counted again, the files that held them deleted. The task's log says what was removed where.

**A rerun is safe.** The tombstone comes first and every step finds in the tables what is left to do; a second run finds
nothing and changes nothing.

**When it fails** read the log of the task. Where another run still has the user in its draft, clear the task when that
run has ended. Airflow keeps the parameter with the run: delete the run when it is done.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_dags.spark_job import DEFAULT_ARGUMENTS, spark_task

with DAG(
    dag_id="forget_user",
    description="Remove a user from every table and every retained snapshot",
    doc_md=__doc__,
    schedule=None,
    start_date=dt.datetime(2019, 1, 1, tzinfo=dt.UTC),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    tags=["keeping"],
    params={"user_id": Param(type="string", minLength=1, description="exactly as in the events")},
) as dag:
    spark_task("forget_user", ["--user={{ params.user_id }}"])
