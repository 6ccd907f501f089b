"""
### Clickstream pipeline

One run = one UTC date: events → Kafka → `raw_events` → `events`, `sessions`, `user_features` → `user_segments`.

**Schedule** daily after midnight UTC, `catchup` off; past dates with `make backfill` or `airflow backfill create`.
Dates of a backfill may overlap up to their segments, which are made in the order of the dates.
**Inputs** the Kafka topic; with the parameter `event_source` = `generator` or `replay` the run fills it first, with
`external` somebody else does.
**Outputs** the tables of the Glue database, partitioned by date; the views of `views/`; one row of `pipeline_runs`,
or of `failed_runs`; a run of the DAG `approve_model` for each model of the date that waits for a person. With the
parameter `needs_approval` (default: `training.needs_approval`) every model that would take over waits, but the first.

**Needs** the Airflow pool `landing` (`landing.pool` in `config/pipeline.yaml`) with one slot, or `land_raw_events` is
never scheduled: `airflow pools set landing 1 "one landing at a time"`. The stack on one machine makes it itself.

**A rerun is safe.** A date that was published is not published again; landing starts where `raw_events` ends, and each
of its commits holds data and position; every other task replaces whole partitions by the same rows.

**When it fails** read the log of the red task: a check names the date and the numbers that do not fit. Mend the cause
and clear the task; the tasks before it need no repetition. Where landing says that Kafka has deleted records before
they were landed, or that the topic was recreated, a run with the parameter `accept_gap` or `accept_new_topic` goes on
without them; `pipeline_runs.gaps` records what is missing. What an audit finds, or records that were produced and never
landed, a run with the parameter `force` goes on with; `pipeline_runs.forced` records it.
"""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from typing import Any

from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, TriggerRule, task

import config
from airflow_dags.column_checks import build_column_checks
from airflow_dags.spark_job import DEFAULT_ARGUMENTS, spark_task
from config.loader import PROJECT_ROOT

PATHS = config.load().paths
SETTINGS = config.load().pipeline
DATE = "{{ data_interval_start | ds }}"
FORCE = "{{ '--force' if params.force else '--no-force' }}"
VIEWS = ("quarantined_events", "segments_current")


def publish(task_id: str, module: str, arguments: str) -> BashOperator:
    """A command of data_generator as a task."""
    root, python = shlex.quote(str(PROJECT_ROOT)), shlex.quote(sys.executable)
    command = f"cd {root} && exec {python} -m data_generator.{module} {arguments}"
    return BashOperator(task_id=task_id, bash_command=command)


def create_view(name: str) -> AthenaOperator:
    """A view of `views/` as a task of the same name; made again by every run, so that a change of it arrives."""
    return AthenaOperator(
        task_id=name,
        query=f"views/{name}.sql",
        database=PATHS.database,
        output_location=f"{PATHS.athena_results}/",
        aws_conn_id=None,  # credentials, region and endpoint as boto3 finds them
        sleep_time=1,
    )


with DAG(
    dag_id="clickstream_pipeline",
    description="One UTC date, from events to user segments",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(SETTINGS.schedule.cron, timezone="UTC"),
    start_date=dt.datetime.combine(SETTINGS.schedule.start_date, dt.time(), tzinfo=dt.UTC),
    end_date=(
        dt.datetime.combine(SETTINGS.schedule.end_date, dt.time(), tzinfo=dt.UTC)
        if SETTINGS.schedule.end_date
        else None
    ),
    catchup=False,
    max_active_runs=SETTINGS.schedule.parallel_dates,
    default_args=DEFAULT_ARGUMENTS,
    tags=["clickstream"],
    user_defined_macros={"paths": PATHS},
    params={
        "event_source": Param(SETTINGS.source.kind, enum=["generator", "replay", "external"]),
        "replay_file": Param(
            SETTINGS.source.replay_file, type=["null", "string"], description="a REES46 CSV or CSV.gz"
        ),
        "events": Param(SETTINGS.generator.events_per_date, type="integer", minimum=1, description="for the generator"),
        "force": Param(False, type="boolean", description="go on also where a check of counts or values fails"),
        "needs_approval": Param(
            SETTINGS.segmentation.training.needs_approval,
            type="boolean",
            description="a new champion has to be approved",
        ),
        "accept_gap": Param(False, type="boolean", description="land although Kafka has deleted records"),
        "accept_new_topic": Param(False, type="boolean", description="land although the topic was recreated"),
    },
) as dag:
    with TaskGroup("publish_events"):

        @task.branch
        def choose_source(source: str) -> str:
            """The one publishing task that this run needs."""
            return f"publish_events.{source}"

        sources = [
            publish("generator", "event_producer", f"--date {DATE} --events {{{{ params.events }}}}"),
            publish("replay", "dataset_replay", f"'{{{{ params.replay_file }}}}' --date {DATE}"),
            EmptyOperator(task_id="external"),
        ]
        published = choose_source("{{ params.event_source }}") >> sources

    land_raw_events = spark_task(
        "land_raw_events",
        [
            "--run-date", DATE,
            "--{{ '' if params.accept_gap else 'no-' }}accept-gap",
            "--{{ '' if params.accept_new_topic else 'no-' }}accept-new-topic",
        ],
    )  # fmt: skip
    land_raw_events.trigger_rule = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    land_raw_events.pool = SETTINGS.landing.pool

    @task
    def check_landing(date: str, params: Any = None) -> dict[str, Any]:
        """Nothing lost on the way from the source to raw_events; returns the dates that the run has to rebuild."""
        from airflow_dags import run_audit

        return run_audit.check_landing(dt.date.fromisoformat(date), is_forced=params["force"])

    landing = check_landing(DATE)
    transform_clickstream = spark_task(
        "transform_clickstream",
        [
            *("--start-date", DATE),
            *("--late-dates", "{{ ti.xcom_pull('check_landing')['rebuild_dates'] | join(',') }}"),
            FORCE,
        ],
    )

    @task
    def check_transform(date: str, landed: Any) -> dict[str, Any]:
        """landed = clean + quarantined + duplicates for every rebuilt date; returns what was rebuilt."""
        from airflow_dags import run_audit

        return run_audit.check_transform(dt.date.fromisoformat(date), landed)

    transformed = check_transform(DATE, landing)

    with TaskGroup("check_columns"):
        column_checks = build_column_checks(PATHS, SETTINGS.checks)

    @task.sensor(mode="reschedule", poke_interval=10, trigger_rule=TriggerRule.NONE_FAILED)
    def wait_for_earlier_dates(ti: Any = None, logical_date: Any = None) -> bool:
        """Segments follow from those of the date before: true when no earlier date of their window is running."""
        from spark_jobs.lake.tables import LONGEST_WINDOW_DAYS

        running = ti.get_previous_dagrun(state="running")
        return running is None or logical_date - running.logical_date >= dt.timedelta(days=LONGEST_WINDOW_DAYS)

    user_segmentation_ml = spark_task(
        "user_segmentation_ml",
        ["--start-date", DATE, FORCE, "--{{ '' if params.needs_approval else 'no-' }}needs-approval"],
    )

    @task
    def check_segments(date: str) -> None:
        """Every user with features has exactly one segment, and the profiles add up."""
        from airflow_dags import run_audit

        run_audit.check_segments(dt.date.fromisoformat(date))

    with TaskGroup("create_views"):
        views = [create_view(name) for name in VIEWS]

    @task
    def find_waiting_models(date: str) -> list[dict[str, Any]]:
        """A run of approve_model for each model of the date that waits, with its id: it asks once, whoever reruns."""
        from airflow_dags import run_audit

        waiting = run_audit.find_waiting_models(dt.date.fromisoformat(date))
        return [{"trigger_run_id": model_id, "conf": {"model_id": model_id}} for model_id in waiting]

    waiting = find_waiting_models(DATE)
    ask_for_approval = TriggerDagRunOperator.partial(
        task_id="ask_for_approval", trigger_dag_id="approve_model", skip_when_already_exists=True
    ).expand_kwargs(waiting)

    # No model waits, or all were asked about: what asks for approval is skipped, and the run is recorded.
    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def record_run(date: str, airflow_run: str, landed: Any, transformed: Any, ti: Any = None) -> None:
        """The run's row of pipeline_runs."""
        from airflow_dags import run_audit

        warned = ti.xcom_pull(task_ids=[check.task_id for check in column_checks], key="warnings")
        warnings = [name for names in warned for name in names or []]
        run_audit.record_run(dt.date.fromisoformat(date), airflow_run, landed, transformed, warnings)

    @task(trigger_rule=TriggerRule.ONE_FAILED)
    def record_failure(date: str, airflow_run: str, ti: Any = None) -> None:
        """The run's row of failed_runs. It fails as well: a run is what its last task is."""
        from airflow.sdk.exceptions import AirflowFailException

        from airflow_dags import run_audit

        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[airflow_run])[airflow_run]
        failed = [name for name, state in states.items() if state == "failed"]
        run_audit.record_failure(dt.date.fromisoformat(date), airflow_run, failed)
        raise AirflowFailException(f"{date}: failed: {', '.join(sorted(failed))}")

    recorded = record_run(DATE, "{{ run_id }}", landing, transformed)
    (
        published
        >> land_raw_events
        >> landing
        >> transform_clickstream
        >> transformed
        >> column_checks
        >> wait_for_earlier_dates()
        >> user_segmentation_ml
        >> check_segments(DATE)
        >> [*views, waiting]
        >> ask_for_approval
        >> recorded
        >> record_failure(DATE, "{{ run_id }}")
    )
