"""Files of the users that a page lists."""

from __future__ import annotations

from functools import partial

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import wording
from dashboard.answers import Locations, page_locations, read_anew
from dashboard.queries import Question
from dashboard.questions import MANY_ROWS


def offer_csv(rows: pd.DataFrame, every: Question, users: int, name: str) -> None:
    """A button for a CSV of all users. Raises LakeError.

    Where `rows` are the first of `users` only, Athena is asked for `every` one when the button is clicked; if it has no
    answer then, Streamlit says that there is no file, and the server's log says why.
    """
    if len(rows) < MANY_ROWS:
        users, data = len(rows), rows.to_csv(index=False)
    else:
        st.caption(f"The {MANY_ROWS:,} who spent most in 30 days; the file has all of them.")
        data = partial(write_csv, every, page_locations())
    label = f"{wording.counted(users, 'user')} as CSV"
    st.download_button(label, data, f"{name}.csv", "text/csv", on_click="ignore")


def write_csv(question: Question, locations: Locations) -> str:
    """The rows under the names of their columns, in UTF-8; they are not kept. Raises LakeError."""
    return str(read_anew(question, locations).rows.to_csv(index=False))
