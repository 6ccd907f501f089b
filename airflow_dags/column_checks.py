"""Checks of a date's rows by Athena, another engine than the one that wrote them, with Airflow's own operators.

`FAIL` stops the run; `WARN` is skipped with the reason where a value is only implausible, and stands in
`pipeline_runs.warnings`. {date} is the run's date.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.sql.operators.sql import SQLColumnCheckOperator, SQLTableCheckOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from config.loader import Checks, Paths

CONNECTION = "athena_default"
DATE = "DATE '{{ data_interval_start | ds }}'"
NO_NULL = {"null_check": {"equal_to": 0}}
SHARE = {"min": {"geq_to": 0}, "max": {"leq_to": 1}, **NO_NULL}

FAIL_COLUMNS: dict[str, dict[str, Any]] = {
    "events": {
        "event_id": {"unique_check": {"equal_to": 0}, **NO_NULL},
        "user_id": NO_NULL,
        "event_time": NO_NULL,
        "session_key": NO_NULL,
        "price": {"min": {"geq_to": 0}},
        "quantity": {"min": {"geq_to": 0}},
        "milliseconds_since_previous": {"min": {"geq_to": 0}},
    },
    "user_features": {
        "user_id": {"unique_check": {"equal_to": 0}, **NO_NULL},
        "days_since_last_event": {"min": {"geq_to": 0}, "max": {"leq_to": 30}, **NO_NULL},
        "purchase_rate_30d": SHARE,
        "cart_abandonment_rate_30d": SHARE,
        "mobile_share_30d": SHARE,
    },
}
FAIL_ROWS = {
    "events": {
        "accepted_event_types": "event_type IN ('page_view', 'search', 'click', 'view', 'cart', 'remove_from_cart', "
        "'checkout', 'purchase')",
        "events_lie_on_their_date": "CAST(event_time AS DATE) = event_date",
        "sessions_begin_before_their_events": "session_start <= event_time",
    },
    "sessions": {
        "sessions_end_after_their_begin": "session_end >= session_start",
        "sessions_have_events": "events > 0",
    },
}


def warnings(limits: Checks) -> dict[str, dict[str, str]]:
    """Table -> check -> what an ordinary date fulfils."""
    return {
        "raw_events": {
            "few_are_quarantined": f"count_if(error_type IS NOT NULL) <= {limits.max_quarantined_share} * count(*)"
        },
        "events": {
            "date_is_fresh": f"max(event_time) >= CAST({DATE} AS TIMESTAMP) "
            f"+ INTERVAL '24' HOUR - INTERVAL '{limits.max_silent_hours}' HOUR",
        },
    }


class WarningCheckOperator(SQLTableCheckOperator):
    """A check that skips itself, with the reason, where it does not hold; the run goes on."""

    def execute(self, context: Any) -> None:
        try:
            super().execute(context)
        except AirflowException as error:
            failed = [name for name, check in self.checks.items() if not check.get("success")]
            context["ti"].xcom_push(key="warnings", value=failed)
            raise AirflowSkipException(f"warning: {error}") from error


def build_column_checks(paths: Paths, limits: Checks) -> list[BaseOperator]:
    """One task for each table and severity; to be built inside a task group."""
    tables = vars(paths.tables)
    partition = {"events": "event_date", "raw_events": "event_date", "sessions": "session_date"}

    def shared(table: str) -> dict[str, Any]:
        return {
            "conn_id": CONNECTION,
            "table": f"{paths.database}.{tables[table]}",
            "partition_clause": f"{partition.get(table, 'snapshot_date')} = {DATE}",
        }

    def own(columns: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        # The operator writes each result into its check: what two columns shared would tell of the last one only.
        return {column: {name: dict(check) for name, check in checks.items()} for column, checks in columns.items()}

    def statements(checks: dict[str, str]) -> dict[str, dict[str, Any]]:
        return {name: {"check_statement": statement} for name, statement in checks.items()}

    def hold_for_rows(checks: dict[str, str]) -> dict[str, str]:
        # One value for the date: the operator fails with an error of its own where a date has no rows to look at.
        return {name: f"count_if(NOT coalesce({condition}, false)) = 0" for name, condition in checks.items()}

    return [
        *(
            SQLColumnCheckOperator(
                task_id=f"fail_{table}_columns", column_mapping=own(columns), retry_on_failure=False, **shared(table)
            )
            for table, columns in FAIL_COLUMNS.items()
        ),
        *(
            SQLTableCheckOperator(
                task_id=f"fail_{table}_rows",
                checks=statements(hold_for_rows(checks)),
                retry_on_failure=False,
                **shared(table),
            )
            for table, checks in FAIL_ROWS.items()
        ),
        *(
            WarningCheckOperator(task_id=f"warn_{table}", checks=statements(checks), **shared(table))
            for table, checks in warnings(limits).items()
        ),
    ]
