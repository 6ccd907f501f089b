"""What surrounds every page: its title, the designed states where the lake has no answer, what its answers cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard import wording
from dashboard.lake import ASKED, EmptyLakeError, LakeError

MANY_ROWS = 10_000


@contextmanager
def page(title: str, question: str) -> Iterator[None]:
    """A page that answers one question; a LakeError within it becomes a state that says what to do."""
    st.title(title, anchor=False)
    st.caption(question)
    try:
        yield
    except LakeError as error:
        show_state(error)
    answers = st.session_state[ASKED]
    scanned = wording.size(sum(answer.scanned_bytes for answer in answers))
    st.caption(f"{len(answers)} answers of Athena, which read {scanned} for them when these tables were new.")


def show_state(error: LakeError) -> None:
    """What is the matter, and what to do."""
    show = st.info if isinstance(error, EmptyLakeError) else st.error
    show(f"**{error.title}.** {error.matter}\n\n{error.remedy}")
