"""Segments: how large they are, what sets them apart, and who is in them."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
import streamlit as st
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from dashboard import questions, wording
from dashboard.answers import ask, ask_ahead
from dashboard.charts import show
from dashboard.files import offer_csv
from dashboard.filters import ask_days, chosen_filters, read_segment_range
from dashboard.lake import EmptyLakeError, open_lake
from dashboard.page import page, show_rows
from dashboard.questions import DAY, EVERY_ROW, DateRange
from spark_jobs.segment_charts import draw_profile_heatmap, draw_scatter, draw_sizes, project


def parse_profiles(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of segment_profiles as the charts take them."""
    return [{**row, "deviations": json.loads(row["deviations"])} for row in rows.to_dict("records")]


def standardise(sample: pd.DataFrame, features: list[str]) -> npt.NDArray[np.float64]:
    """Users x the model's features, counts and money by their logarithm; about what the model itself sees."""
    rates = open_lake().settings.pipeline.segmentation.rate_features
    numbers = sample[features].astype(float)
    numbers = numbers.fillna(numbers.mean()).fillna(0.0)
    counts = [name for name in features if name not in rates]
    numbers[counts] = np.log1p(numbers[counts].clip(lower=0))
    scaled: npt.NDArray[np.float64] = StandardScaler().fit_transform(numbers)
    return scaled


def show_table(profiles: pd.DataFrame, before: pd.DataFrame, labels: dict[int, str]) -> None:
    """Sizes with their change, what sets the segments apart, stories; a segment that is gone has no users."""
    old = before.set_index("segment_id")[["users", "users_share"]]
    gone = before[~before["segment_id"].isin(profiles["segment_id"])].assign(users=0, users_share=0.0)
    rows = []
    for row in pd.concat([profiles, gone]).to_dict("records"):
        was = (
            old.loc[row["segment_id"]]
            if row["segment_id"] in old.index
            else pd.Series({"users": 0, "users_share": 0.0})
        )
        rows.append(
            {
                "segment": labels.get(row["segment_id"], row["segment_name"]),
                "users": row["users"],
                "change": int(row["users"] - was["users"]) if len(before) else None,
                "share": wording.percent(row["users_share"]),
                "change of share": (
                    wording.points(row["users_share"], was["users_share"]) if len(before) else wording.MISSING
                ),
                "sets it apart (standard deviations)": row["sets_it_apart"],
            }
        )
    show_rows(pd.DataFrame(rows))
    stories = {labels.get(row["segment_id"], row["segment_name"]): row["story"] for row in profiles.to_dict("records")}
    plain = wording.as_markdown
    st.markdown("\n".join(f"- **{plain(label)}**: {plain(story)}" for label, story in stories.items()))


def show_scatter(date: dt.date, model: pd.DataFrame, chosen: tuple[int, ...]) -> None:
    """A sample of the users of the chosen segments in two dimensions; `model` is the row of the date's, if any."""
    sample = ask(questions.sample(date, chosen))
    if model.empty or sample.empty:
        st.info(
            "No model has scored these users: there is no scatter plot. The first run with enough users trains one."
        )
        return
    (facts,) = model.to_dict("records")
    found = project(standardise(sample, json.loads(facts["features"])))
    if found is None:
        st.info("It takes two features, and two users who differ, to draw them.")
        return
    points, variance_shares = found
    placed = sample[["segment_id", "segment_name"]].assign(x=points[:, 0], y=points[:, 1])
    show(draw_scatter(placed.to_dict("records"), variance_shares), "A dot for each user of a sample", key="scatter")
    st.caption(
        f"Model {facts['model_id']}, trained on {facts['users']:,} users ({facts['training_reason']}); "
        f"k = {facts['k']}: {facts['k_reason']}. {facts['decision'].capitalize()}: {facts['decision_reason']}."
    )


def choose_segment(date: dt.date, profiles: pd.DataFrame, labels: dict[int, str]) -> int | None:
    """Of the date's; its users are on their way from then on."""
    st.subheader("Users of a segment", anchor=False)
    options = [int(segment) for segment in profiles["segment_id"]]
    segment = st.selectbox("Segment", options, format_func=labels.__getitem__, key="users_of", bind="query-params")
    ask_ahead([] if segment is None else [questions.segment_users(date, segment)])
    return segment


def show_users(date: dt.date, segment: int, count: int, labels: dict[int, str], currency: str) -> None:
    """The `count` users of one segment, and a file of them."""
    users = ask(questions.segment_users(date, segment))
    before = [labels.get(int(s), f"segment {int(s)}") if pd.notna(s) else None for s in users["previous_segment_id"]]
    shown = users.assign(previous_segment_id=before)
    show_rows(wording.label(shown, currency), height=300)
    every = questions.segment_users(date, segment, EVERY_ROW)
    offer_csv(users, every, count, f"segment_{segment}_{date}")


with page("Who are the users, and how many of each kind?"):
    filters = chosen_filters()
    date, chosen, labels = filters.dates.last, filters.segments, filters.labels
    ask_ahead([questions.sample(date, chosen)])
    days = DateRange(date - DAY, date)
    found = ask_days(questions.profiles, "snapshot_date", days, filters.default.longer(DAY))
    every, before = (found[found["snapshot_date"] == day] for day in (date, date - DAY))
    if every.empty:
        known = read_segment_range()
        raise EmptyLakeError(f"{date} has no segments.", f"Choose a last date from {known.first} to {known.last}.")
    shown, shown_before = (
        (every[every["segment_id"].isin(chosen)], before[before["segment_id"].isin(chosen)])
        if chosen
        else (every, before)
    )
    above, below = st.container(), st.container()
    with below:
        segment = choose_segment(date, shown, labels)
    with above:
        st.subheader(f"{date:%A, %d %B %Y}", anchor=False)
        st.caption(f"Changes are against {date - DAY:%A, %d %B}.")
        show_table(shown, shown_before, labels)
        profiles = parse_profiles(shown)
        left, right = st.columns(2)
        with left:
            show(draw_sizes(profiles), "Users of each segment", key="sizes")
        with right:
            models = ask(questions.models())
            show_scatter(date, models[models["model_id"].isin(every["model_id"])], chosen)
        show(
            draw_profile_heatmap(profiles),
            "Standard deviations of each segment from all users, by feature",
            key="heat",
        )
    if segment is not None:
        with below:
            count = int(every.set_index("segment_id")["users"][segment])
            show_users(date, segment, count, labels, open_lake().settings.pipeline.dashboard.currency)
