"""User: one user's journey."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from dashboard import questions, wording
from dashboard.answers import ask, ask_ahead
from dashboard.charts import draw_journey, show
from dashboard.filters import chosen_filters
from dashboard.lake import open_lake
from dashboard.page import page, show_rows
from dashboard.questions import MOST_EVENTS, DateRange


def suggest_users(date: dt.date, currency: str) -> None:
    st.info("Enter a user id. Those who spent most in the 30 days up to the last date:")
    show_rows(wording.label(ask(questions.some_users(date)), currency))


def show_user(user: str, dates: DateRange, currency: str) -> None:
    """The user's numbers, events on a time line, segments and sessions."""
    of_user = questions.of_user(user, dates)
    ask_ahead(of_user)
    sessions, events, history, features = map(ask, of_user)
    if sessions.empty and events.empty and history.empty:
        st.info(f"User {user} has neither an event nor a segment from {dates.first} to {dates.last}.")
        return
    numbers = {
        "Sessions": wording.count(len(sessions)),
        "Events": wording.count(len(events)) + ("+" if len(events) == MOST_EVENTS else ""),
        "Purchases": wording.count(sessions["purchases"].sum()),
        f"Revenue ({currency})": wording.money(float(sessions["revenue"].sum())),
        "Segment": history["segment_name"].iloc[-1] if len(history) else wording.MISSING,
    }
    for column, (label, value) in zip(st.columns([2, 2, 2, 3, 4]), numbers.items(), strict=True):
        column.metric(label, value, border=True)
    if len(events):
        show(draw_journey(events), "Events of the user by time and type", key="journey")
    st.subheader("Segment since", anchor=False)
    stays = history.drop_duplicates(["segment_id", "segment_since"])
    columns = ["segment_since", "segment_name", "distance_to_centroid"]
    show_rows(wording.label(stays[columns], currency))
    st.subheader("Sessions", anchor=False)
    shown = sessions.drop(columns="session_key").assign(minutes=(sessions["duration_seconds"] / 60).round(1))
    show_rows(wording.label(shown.drop(columns="duration_seconds"), currency))
    st.subheader("Events", anchor=False)
    show_rows(wording.label(events.drop(columns="session_key"), currency), height=300)
    st.subheader("Features", anchor=False)
    if features.empty:
        st.info(f"{dates.last} has no features of the user: no event in the 30 days up to it.")
    else:
        show_rows(features.astype(float).T.reset_index().set_axis(["feature", f"on {dates.last}"], axis=1), height=300)


with page("What did one user do, and in which segments were they?"):
    dates, currency = chosen_filters().dates, open_lake().settings.pipeline.dashboard.currency
    user = st.text_input("User id", key="user", placeholder="as in the events, with its zeros", bind="query-params")
    if user and user.strip():
        show_user(user.strip(), dates, currency)
    else:
        suggest_users(dates.last, currency)
