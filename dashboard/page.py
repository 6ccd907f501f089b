"""What the pages share: question, states where the lake has no answer, costs; tables; runs that failed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import wording
from dashboard.answers import ASKED, ask
from dashboard.filters import chosen_filters
from dashboard.lake import EmptyLakeError, LakeError, MissingTableError, open_lake
from dashboard.questions import failures

DAG_ID = "clickstream_pipeline"


@contextmanager
def page(question: str) -> Iterator[None]:
    """A page that answers one question; a LakeError within it becomes a state that says what to do."""
    st.caption(question)
    try:
        yield
    except LakeError as error:
        show_state(error)
    answers = st.session_state[ASKED]
    scanned = wording.size(sum(answers.values()))
    st.caption(f"{len(answers)} answers of Athena, which read {scanned} for them when these tables were new.")


def show_rows(rows: pd.DataFrame, height: int | None = None, config: Mapping[str, Any] | None = None) -> None:
    """A table whose numbers have the separators of the reader's language; `config` of columns as Streamlit takes it."""
    numbers = {str(name): st.column_config.NumberColumn(format="localized") for name in rows.select_dtypes("number")}
    st.dataframe(rows, hide_index=True, column_config={**numbers, **(config or {})}, height=height or "auto")


def link_run(run_id: str) -> str | None:
    """Airflow's page of a run of the pipeline; None where the address of Airflow is not known."""
    airflow_url = open_lake().settings.environment.airflow_url
    return f"{airflow_url}/dags/{DAG_ID}/runs/{run_id}" if airflow_url else None


def find_failed_runs() -> pd.DataFrame:
    """Runs that failed and were not made good, from the first of the chosen dates on, the newest first.

    Raises LakeError; a lake from before there was the table has no failed runs.
    """
    try:
        filters = chosen_filters()
        first, asked = filters.dates.first, filters.default.cover(filters.dates).first
    except LakeError:
        first = asked = dt.date.min
    try:
        failed = ask(failures(asked))
    except MissingTableError:
        return pd.DataFrame(columns=["event_date", "run_id", "failed_tasks", "failed_at"])
    return failed[failed["event_date"] >= first]


def describe(failed: pd.DataFrame) -> list[str]:
    """A sentence for each of the failed runs, with a link to it."""
    sentences = []
    for run in failed.to_dict("records"):
        link = link_run(run["run_id"])
        name = f"[{run['run_id']}]({link})" if link else run["run_id"]
        sentences.append(f"{run['event_date']}: the run {name} failed in {run['failed_tasks']}")
    return sentences


def show_state(error: LakeError) -> None:
    """What is the matter, and what to do."""
    show = st.info if isinstance(error, EmptyLakeError) else st.error
    show(f"**{error.title}.** {error.matter}\n\n{error.remedy}")
