"""Overview: how the newest of the chosen dates went, against the same weekday before, and the days up to it."""

from __future__ import annotations

import datetime as dt

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions, wording
from dashboard.charts import draw_days, show
from dashboard.filters import ask_days, chosen_filters
from dashboard.lake import open_lake
from dashboard.page import describe, find_failed_runs, page
from dashboard.questions import WEEK, with_week_before
from dashboard.reconciliation import find_faults
from dashboard.sessions import add_up, fill_dates, select_sessions

SHOWN_FAULTS = 5
LINES = {"users": ",d", "sessions": ",d", "events": ",d", "revenue": ",.0f", "conversion": ".1%"}


def show_banner(faults: list[str]) -> None:
    """What did not go well."""
    if faults:
        more = [f"- and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        lines = [f"- {fault}" for fault in faults[:SHOWN_FAULTS]]
        st.error("\n".join(["**Look at Data quality.**", *lines, *more]), icon=":material/warning:")


def show_metrics(now: pd.Series, before: pd.Series, currency: str) -> None:
    """Five numbers of a date, with their change against the date a week before."""
    names = {"users": "Users", "sessions": "Sessions", "events": "Events"}
    numbers = {
        **{label: (wording.count(now[n]), wording.change(now[n], before.get(n))) for n, label in names.items()},
        "Conversion": (wording.percent(now["conversion"]), wording.points(now["conversion"], before.get("conversion"))),
        f"Revenue ({currency})": (
            wording.money(now["revenue"]),
            wording.change(now["revenue"], before.get("revenue")),
        ),
    }
    for column, (label, (value, delta)) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        column.metric(label, value, delta, border=True)


with page("How did the newest date go?"):
    show_banner(describe(find_failed_runs()))
    filters = chosen_filters()
    dates, currency = filters.dates, open_lake().settings.pipeline.dashboard.currency
    show_banner(find_faults(ask_days(questions.runs, "event_date", dates, filters.default)))
    rows = ask_days(questions.sessions_by_day, "session_date", with_week_before(dates), filters.default.longer(WEEK))
    sums = add_up(select_sessions(rows, filters), "session_date")
    days = sums.set_index("session_date")
    st.subheader(f"{dates.last:%A, %d %B %Y}", anchor=False)
    st.caption(
        f"The UTC date is {wording.age(dates.last, dt.datetime.now(dt.UTC))}. All numbers are of the sessions that "
        f"began on a date; conversion: those with a purchase. Changes are against {dates.last - WEEK:%A, %d %B}."
    )
    nothing = pd.Series(dtype=float)
    if dates.last in days.index:
        before = days.loc[dates.last - WEEK] if dates.last - WEEK in days.index else nothing
        show_metrics(days.loc[dates.last], before, currency)
    else:
        st.info("No session of the date passes the filters. Choose more segments, or another device.")
    shown = fill_dates(sums, pd.Index(rows["session_date"]), dates)
    columns = st.columns(2)
    for number, (measure, unit_format) in enumerate(LINES.items()):
        unit = f"Revenue ({currency})" if measure == "revenue" else measure.capitalize()
        with columns[number % 2]:
            show(draw_days(shown, measure, unit, unit_format), f"{unit} of each date", key=measure)
