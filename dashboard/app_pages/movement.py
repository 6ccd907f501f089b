"""Movement: who changed segment between two dates."""

from __future__ import annotations

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions, wording
from dashboard.answers import ask, ask_ahead
from dashboard.charts import draw_matrix, show
from dashboard.files import offer_csv
from dashboard.filters import chosen_filters, read_segment_names, read_segment_range
from dashboard.lake import EmptyLakeError, open_lake
from dashboard.page import page, show_rows
from dashboard.questions import EVERY_ROW, DateRange, segments_of
from spark_jobs.segment_charts import IS_NO_USER, WAS_NO_USER, draw_transitions


def build_matrix(moves: pd.DataFrame, labels: dict[int, str]) -> pd.DataFrame:
    """Users by segment before (rows) and after (columns), by the names under which they are shown."""

    def name(segment: float | None, nobody: str) -> str:
        return nobody if segment is None or pd.isna(segment) else labels.get(int(segment), f"segment {int(segment)}")

    named = pd.DataFrame(
        {
            "from": [name(segment, WAS_NO_USER) for segment in moves["from_segment_id"]],
            "to": [name(segment, IS_NO_USER) for segment in moves["to_segment_id"]],
            "users": moves["users"],
        }
    )
    order = [WAS_NO_USER, *labels.values(), IS_NO_USER]
    matrix = named.pivot_table(index="from", columns="to", values="users", aggfunc="sum", fill_value=0)
    rows = [label for label in order if label in matrix.index]
    columns = [label for label in order if label in matrix.columns]
    return matrix.loc[rows, columns].astype(int)


def count_flows(matrix: pd.DataFrame) -> pd.DataFrame:
    """Per segment: users before and after, who stayed, came in and went out."""
    labels = [label for label in [*matrix.index, *matrix.columns] if label not in (WAS_NO_USER, IS_NO_USER)]
    flows = []
    for label in dict.fromkeys(labels):
        before = int(matrix.loc[label].sum()) if label in matrix.index else 0
        after = int(matrix[label].sum()) if label in matrix.columns else 0
        stayed = int(matrix.loc[label, label]) if label in matrix.index and label in matrix.columns else 0
        flows.append((label, before, after - stayed, before - stayed, after))
    return pd.DataFrame(flows, columns=["segment", "users before", "came in", "went out", "users after"])


def as_transitions(moves: pd.DataFrame) -> list[dict[str, int | None]]:
    """Rows as `draw_transitions` takes them."""
    ids = ("from_segment_id", "to_segment_id")
    return [
        {**{name: None if pd.isna(row[name]) else int(row[name]) for name in ids}, "users": int(row["users"])}
        for row in moves.to_dict("records")
    ]


def find_two_dates() -> tuple[DateRange, list[int]]:
    """The ends of the dates in the sidebar, where they have segments, and those of the first. Raises EmptyLakeError."""
    known, filters = read_segment_range(), chosen_filters()
    chosen = filters.dates
    found = questions.movement_dates(chosen, ask(questions.segment_dates()))
    ask_ahead(questions.of_movement(found) if found else ())
    names = read_segment_names(chosen, filters.default)
    if found is None or not (before := segments_of(names, found.first)) or not segments_of(names, found.last):
        raise EmptyLakeError(
            f"There are not two dates with segments at the ends of {chosen.first} to {chosen.last}.",
            f"Choose two dates from {known.first} to {known.last}.",
        )
    return found, before


def choose_segment(dates: DateRange, segments: list[int], labels: dict[int, str]) -> int | None:
    """Of the segments of the first date; who left it is on its way from then on."""
    best = questions.best_segment(segments, ask(questions.spending(dates.first)))
    segment = st.selectbox(
        "Who left", segments, segments.index(best), format_func=lambda found: labels[found], key="left",
        help="The segment whose users spent most in the 30 days up to the first date is chosen first.",
        bind="query-params",
    )  # fmt: skip
    ask_ahead([] if segment is None else [questions.left_segment(dates, segment)])
    return segment


def show_moves(dates: DateRange, labels: dict[int, str]) -> pd.DataFrame:
    """All moves between the two dates; returns the rows of `count_flows`."""
    moves = ask(questions.moves(dates))
    st.subheader(f"From {dates.first} to {dates.last}", anchor=False)
    figure = draw_transitions(as_transitions(moves), labels)
    show(figure.update_layout(title="Where the users went"), "Users by segment before and after", key="sankey")
    matrix = build_matrix(moves, labels)
    show(draw_matrix(matrix), "Users by segment before and after, as a table of numbers", key="matrix")
    flows = count_flows(matrix)
    show_rows(flows)
    return flows


def show_leavers(dates: DateRange, segment: int, label: str, flows: pd.DataFrame) -> None:
    """The users who left one segment, and a file of them."""
    left = ask(questions.left_segment(dates, segment))
    count = int(flows.set_index("segment")["went out"].get(label, 0))
    st.markdown(
        f"{count:,} users left **{wording.as_markdown(label)}**. *segment now* is empty for who is no user any more."
    )
    currency = open_lake().settings.pipeline.dashboard.currency
    show_rows(wording.label(left, currency), height=300)
    every = questions.left_segment(dates, segment, EVERY_ROW)
    offer_csv(left, every, count, f"left_{segment}_{dates.first}_{dates.last}")


with page("Who changed segment between the first and the last of the dates?"):
    (dates, segments), labels = find_two_dates(), chosen_filters().labels
    above, below = st.container(), st.container()
    with below:
        segment = choose_segment(dates, segments, labels)
    with above:
        flows = show_moves(dates, labels)
    if segment is not None:
        with below:
            show_leavers(dates, segment, labels[segment], flows)
