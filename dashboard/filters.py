"""The filters of every page: dates, segments and a device. They live in the URL, so that a view can be shared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions, wording
from dashboard.answers import ask, ask_ahead, start_page
from dashboard.lake import EmptyLakeError, LakeError, NoDateError, ScanLimitError, open_lake
from dashboard.queries import Question
from dashboard.questions import DateRange, Foreseen
from spark_jobs.segment_charts import label_segments

CHOSEN, LAST_RANGE = "chosen filters", "last whole range of dates"
EVERY_DEVICE = "every device"
DEVICES = (EVERY_DEVICE, "mobile", "desktop", "tablet", "unknown")


@dataclass(frozen=True)
class Filters:
    """What a page shows. `segments` are the ids that were chosen, empty: every one; `device` None: every one.

    `labels` are the names of all segments of the dates, by id, no two alike. `default` are the dates of who chose none.
    """

    dates: DateRange
    segments: tuple[int, ...]
    device: str | None
    labels: dict[int, str]
    default: DateRange


def show_filters(used: Collection[str], foreseen: Foreseen) -> None:
    """All three in the sidebar, those that the page does not use greyed out; `chosen_filters` has them afterwards.

    They are drawn beside the pages, because Streamlit forgets the widgets of a page that one leaves. `foreseen`, what
    the page will ask of the dates, is on its way from the moment when these are known.
    """
    start_page()
    try:
        dates, default = _choose_dates("dates" not in used)
        ask_ahead([questions.segment_names(default.cover(dates)), *foreseen(dates, default)])
        labels = read_labels(dates, default)
        segments, device = _choose_segments(labels, "segment" not in used), _choose_device("device" not in used)
        _show_link(dates)
        st.session_state[CHOSEN] = Filters(dates, segments, device, labels, default)
    except LakeError as error:
        st.session_state[CHOSEN] = error


def chosen_filters() -> Filters:
    """What stands in the sidebar. Raises the LakeError that kept it from being drawn."""
    chosen: Filters | LakeError = st.session_state[CHOSEN]
    if isinstance(chosen, LakeError):
        raise chosen
    return chosen


def ask_days(
    question: Callable[[DateRange], Question], column: str, dates: DateRange, default: DateRange
) -> pd.DataFrame:
    """Rows of the dates, by a column, out of the default dates' answer where it holds them: that one is there."""
    whole = default.cover(dates)
    try:
        rows = ask(question(whole))
    except ScanLimitError:  # fewer dates is what one can do about it
        if whole == dates:
            raise
        rows = ask(question(dates))
    return rows[rows[column].between(dates.first, dates.last)]


def read_segment_range() -> DateRange:
    """The dates with segments. Raises EmptyLakeError where there are none."""
    (found,) = ask(questions.segment_dates()).to_dict("records")
    if pd.isna(found["last_date"]):
        raise EmptyLakeError("No date has segments yet.", "The next run of the pipeline makes them.")
    return DateRange(found["first_date"], found["last_date"])


def read_segment_names(dates: DateRange, default: DateRange) -> pd.DataFrame:
    """The segments of each of the dates."""
    return ask_days(questions.segment_names, "snapshot_date", dates, default)


def read_labels(dates: DateRange, default: DateRange) -> dict[int, str]:
    """Segment id -> what it is shown as, for every segment of the dates, by its newest name."""
    names = read_segment_names(dates, default)
    found = names.sort_values("snapshot_date").drop_duplicates("segment_id", keep="last").sort_values("segment_id")
    return label_segments(dict(zip(map(int, found["segment_id"]), found["segment_name"], strict=True)))


def _choose_dates(is_disabled: bool) -> tuple[DateRange, DateRange]:
    """The chosen dates and the default ones, which are the last with sessions. Raises LakeError."""
    (known,) = ask(questions.known_dates()).to_dict("records")
    default = questions.default_dates(known, open_lake().settings.pipeline.dashboard.days)
    if default is None:
        raise EmptyLakeError(
            "No date has sessions yet.", "`make run` fills the lake with three generated dates; a run takes a minute."
        )
    _warn_of_dates(known["first_date"], known["last_date"])
    chosen = st.sidebar.date_input(
        "Dates (UTC)", (default.first, default.last), known["first_date"], known["last_date"], key="dates",
        format="YYYY-MM-DD", disabled=is_disabled, bind="query-params",
    )  # fmt: skip
    if not chosen:
        raise NoDateError("No date is chosen.", "Choose the first one and the last one.")
    # One date: a link to a single one says it once; or the other is still being chosen.
    if len(chosen) == 1 and LAST_RANGE in st.session_state:
        found: DateRange = st.session_state[LAST_RANGE]
        return found, default
    st.session_state[LAST_RANGE] = DateRange(min(chosen), max(chosen))
    return DateRange(min(chosen), max(chosen)), default


def _warn_of_dates(first: dt.date, last: dt.date) -> None:
    """Streamlit shows the default dates to who follows a link with others than there are."""
    linked = st.query_params.get_all("dates")
    found = pd.to_datetime(pd.Series(linked, dtype=object), format="mixed", errors="coerce")
    if not found.between(pd.Timestamp(first), pd.Timestamp(last)).all():
        _warn(f"The lake has no dates {' to '.join(linked)}, but {first} to {last}.")


def _warn(text: str) -> None:
    """Of what a link has, which anybody may have written."""
    st.sidebar.warning(wording.as_markdown(text))


def _show_link(dates: DateRange) -> None:
    """A link that keeps the dates, to be copied: Streamlit leaves those that are the default today out of the URL."""
    others = [(name, value) for name in st.query_params for value in st.query_params.get_all(name) if name != "dates"]
    query = urlencode([("dates", dates.first), ("dates", dates.last), *others])
    with st.sidebar.expander("Link with these dates"):
        st.caption(f"{st.context.url or ''}?{query}")


def _choose_segments(labels: Mapping[int, str], is_disabled: bool) -> tuple[int, ...]:
    linked = st.query_params.get_all("segment")
    if unknown := [label for label in linked if label not in labels.values()]:
        _warn(f"These dates have no segment {', '.join(unknown)}.")
    chosen = st.sidebar.multiselect(
        "Segments", list(labels), format_func=lambda segment: labels.get(segment, str(segment)), key="segment",
        placeholder="every segment", disabled=is_disabled, bind="query-params",
    )  # fmt: skip
    return tuple(sorted(int(segment) for segment in chosen))  # one answer in whatever order they were chosen


def _choose_device(is_disabled: bool) -> str | None:
    if unknown := [device for device in st.query_params.get_all("device") if device not in DEVICES]:
        _warn(f"There is no device {', '.join(unknown)}.")
    chosen = st.sidebar.selectbox("Device", DEVICES, key="device", disabled=is_disabled, bind="query-params")
    return None if chosen in (None, EVERY_DEVICE) else chosen
