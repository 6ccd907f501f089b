"""The filters of every page: dates, segments and a device. They live in the URL, so that a view can be shared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard.lake import ASKED, EmptyLakeError, LakeError, NoDateError, ask, open_lake
from spark_jobs.segment_charts import label_segments

DAY = dt.timedelta(days=1)
CHOSEN = "chosen filters"
EVERY_DEVICE = "every device"
DEVICES = (EVERY_DEVICE, "mobile", "desktop", "tablet", "unknown")


@dataclass(frozen=True)
class DateRange:
    """UTC dates, both included."""

    first: dt.date
    last: dt.date


@dataclass(frozen=True)
class Filters:
    """What a page shows. `segments` are the ids that were chosen, empty: every one; `device` None: every one."""

    dates: DateRange
    segments: tuple[int, ...]
    device: str | None


def read_range(query: str, what: str) -> DateRange:
    """Dates of a table, from its partitions. Raises EmptyLakeError where it has none."""
    (found,) = ask(query).to_dict("records")
    if pd.isna(found["last_date"]):
        raise EmptyLakeError(
            f"No date has {what} yet.", "`make run` fills the lake with three generated dates; a run takes a minute."
        )
    return DateRange(found["first_date"], found["last_date"])


def show_filters(used: Collection[str]) -> None:
    """All three in the sidebar, those that the page does not use greyed out; `chosen_filters` has them afterwards.

    They are drawn beside the pages, because Streamlit forgets the widgets of a page that one leaves.
    """
    st.session_state[ASKED] = []
    try:
        dates = _choose_dates("dates" not in used)
        labels = segment_labels(dates.last) if "segment" in used else {}
        segments, device = _choose_segments(labels, "segment" not in used), _choose_device("device" not in used)
        st.session_state[CHOSEN] = Filters(dates, segments, device)
    except LakeError as error:
        st.session_state[CHOSEN] = error


def chosen_filters() -> Filters:
    """What stands in the sidebar. Raises the LakeError that kept it from being drawn."""
    chosen = st.session_state[CHOSEN]
    if isinstance(chosen, LakeError):
        raise chosen
    assert isinstance(chosen, Filters)  # noqa: S101
    return chosen


def _choose_dates(is_disabled: bool) -> DateRange:
    """Where nobody has chosen any, the last dates with sessions. Raises LakeError."""
    known = read_range("dates", "sessions")
    earliest = known.last - (open_lake().settings.pipeline.dashboard.days - 1) * DAY
    chosen = st.sidebar.date_input(
        "Dates (UTC)", (max(known.first, earliest), known.last), known.first, known.last, key="dates",
        format="YYYY-MM-DD", disabled=is_disabled, bind="query-params",
    )  # fmt: skip
    if not chosen:
        raise NoDateError("No date is chosen.", "Choose the first one and the last one.")
    # One date, while the other is being chosen; and in a link a range of one date says it once.
    return DateRange(min(chosen), max(chosen))


def _choose_segments(labels: Mapping[int, str], is_disabled: bool) -> tuple[int, ...]:
    chosen = st.sidebar.multiselect(
        "Segments", list(labels), format_func=lambda segment: labels.get(segment, str(segment)), key="segment",
        placeholder="every segment", disabled=is_disabled, bind="query-params",
    )  # fmt: skip
    return tuple(int(segment) for segment in chosen)


def _choose_device(is_disabled: bool) -> str | None:
    chosen = st.sidebar.selectbox("Device", DEVICES, key="device", disabled=is_disabled, bind="query-params")
    return None if chosen in (None, EVERY_DEVICE) else chosen


def segment_labels(date: dt.date) -> dict[int, str]:
    """Segment id -> the name under which it is shown, on a date."""
    profiles = ask("profiles", date=date)
    return label_segments(dict(zip(profiles["segment_id"], profiles["segment_name"], strict=True)))
