"""Funnel: where sessions end between looking at a product and buying it."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions, wording
from dashboard.answers import ask
from dashboard.charts import draw_funnel, draw_funnels, show
from dashboard.filters import Filters, ask_days, chosen_filters
from dashboard.page import page, show_rows
from dashboard.questions import WEEK
from dashboard.sessions import STEPS, add_up, count_steps, select_sessions

GROUPS = {"segment": "segment_id", "device": "device_type", "category": "category"}


def read_groups(kind: str, rows: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """Sums of the funnel by what the page compares; the other filters hold."""
    if kind == "category":
        return ask(questions.funnel_by_category(filters.dates, filters.device, filters.segments))
    if kind == "segment":
        labels = filters.labels
        found = add_up(select_sessions(rows, filters), "segment_id")
        names = [labels.get(int(s), f"segment {int(s)}") if pd.notna(s) else "none yet" for s in found["segment_id"]]
        return found.assign(segment_id=names)
    devices = rows[rows["device_type"].notna()]
    chosen = devices[devices["segment_id"].isin(filters.segments)] if filters.segments else devices
    return add_up(chosen, "device_type")


def show_steps(steps: pd.DataFrame) -> None:
    """The steps as a table: who went on, and who was lost between two of them."""
    table = pd.DataFrame(
        {
            "step": steps["step"],
            "sessions": steps["sessions"],
            "of all with a view": [wording.percent(share) for share in steps["share_of_views"]],
            "of the step before": [wording.percent(share) for share in steps["share_of_step_before"]],
            "lost on the way": steps["lost"],
        }
    )
    show_rows(table)


with page("Where do sessions end between looking at a product and buying it?"):
    filters = chosen_filters()
    rows = ask_days(questions.sessions_by_day, "session_date", filters.dates, filters.default.longer(WEEK))
    chosen = select_sessions(rows, filters)
    steps = count_steps(chosen)
    with_cart, abandoned = int(chosen["with_cart"].sum()), int(chosen["abandoned"].sum())
    left, right = st.columns(2)
    with left:
        show(draw_funnel(steps, "Sessions that reached a step"), "Sessions by step of the funnel", key="funnel")
    with right:
        st.metric(
            "Cart abandonment", wording.percent(abandoned / with_cart if with_cart else None), border=True,
            help="Sessions that put something into the cart and bought nothing, per session with a cart.",
        )  # fmt: skip
    show_steps(steps)
    st.caption("A session has reached a step when it took it or a later one.")
    kind = st.segmented_control(
        "Compare by", list(GROUPS), default="segment", required=True, key="by", bind="query-params"
    )
    groups = read_groups(kind or "segment", rows, filters)
    by = GROUPS[kind or "segment"]
    if kind == "category":
        st.caption("By the products of the events; a session counts in each of its categories.")
    show(draw_funnels(groups, by), f"Share of the sessions that reached each step, by {kind}", key="groups")
    abandonment = groups["abandoned"] / groups["with_cart"].where(groups["with_cart"] > 0)
    table = pd.DataFrame(
        {
            str(kind): groups[by],
            **{step: groups[column] for column, step in STEPS.items()},
            **{
                f"{one} to {other}": [
                    wording.percent(after / before if before else None)
                    for before, after in zip(groups[start], groups[end], strict=True)
                ]
                for (start, one), (end, other) in pairwise(STEPS.items())
            },
            "cart abandonment": [wording.percent(share) for share in abandonment],
        }
    )  # fmt: skip
    show_rows(table)
