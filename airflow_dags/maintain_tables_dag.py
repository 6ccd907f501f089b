"""
### Maintenance

One run = all tables: small files compacted, snapshots older than `maintenance.retention_days` expired, orphan files and
the branches of killed jobs deleted.

**Schedule** weekly (`maintenance.cron` in `config/pipeline.yaml`), `catchup` off.
**Inputs** the tables of the Glue database.
**Outputs** the same rows in fewer files; rollback and time travel reach back `retention_days`.

**A rerun is safe**, also beside other runs: a landing or a transform whose table was compacted meanwhile starts over by
itself, and what it has changed before the compaction was done stays as it is.

**When it fails** read the log of the task, and clear it: every table is left as readable as it was.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, CronTriggerTimetable

import config
from airflow_dags.spark_job import DEFAULT_ARGUMENTS, spark_task

SETTINGS = config.load().pipeline

with DAG(
    dag_id="maintain_tables",
    description="Compact small files, expire old snapshots, delete orphan files",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(SETTINGS.maintenance.cron, timezone="UTC"),
    start_date=dt.datetime.combine(SETTINGS.schedule.start_date, dt.time(), tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    tags=["keeping"],
) as dag:
    spark_task("maintain_tables", [])
