"""What surrounds every page: its question, the designed states where the lake has no answer, what its answers cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard import wording
from dashboard.answers import ASKED, ask
from dashboard.filters import chosen_filters
from dashboard.lake import EmptyLakeError, LakeError, MissingTableError
from dashboard.questions import failures


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


def describe_failed_runs() -> list[str]:
    """A sentence for each run that failed and was not made good, from the first of the chosen dates on.

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
        return []
    return [
        f"{run['event_date']}: the run {run['run_id']} failed in {run['failed_tasks']}"
        for run in failed[failed["event_date"] >= first].to_dict("records")
    ]


def show_state(error: LakeError) -> None:
    """What is the matter, and what to do."""
    show = st.info if isinstance(error, EmptyLakeError) else st.error
    show(f"**{error.title}.** {error.matter}\n\n{error.remedy}")
