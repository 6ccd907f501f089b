"""What the pages show first is asked for when the lake has changed, so that who opens one need not wait for Athena."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions
from dashboard.answers import Locations, find_answer, start_answers
from dashboard.lake import Lake, LakeError, MissingTableError, open_lake
from dashboard.queries import Question

log = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def start_warming() -> threading.Thread | None:
    """Once in a server's life; None where the settings want none of it."""
    lake = open_lake()
    seconds = lake.settings.pipeline.dashboard.warm_up_seconds
    if not seconds:
        return None
    thread = threading.Thread(target=keep_warm, args=(lake, _ticks(seconds)), name="warm-up", daemon=True)
    thread.start()
    return thread


def keep_warm(lake: Lake, ticks: Iterable[None]) -> None:
    """At each tick look at the lake; where it is not as it was warmed, and as at the tick before: warm up.

    At the first tick it need not be at rest. A lake that does not answer is tried again.
    """
    before: Locations | None = None
    warmed: Locations | None = None
    for _ in ticks:
        try:
            now = lake.metadata_locations()
            if now != warmed and before in (None, now):
                started = time.monotonic()
                warm_up(now)
                warmed = now
                log.info("The answers of %d tables are new, after %.1f s", len(now), time.monotonic() - started)
            before = now
        except LakeError as error:
            log.warning("The pages' answers are not asked for ahead of time: %s", error)


def warm_up(locations: Locations) -> None:
    """Every answer that a page needs where nothing is chosen. Raises LakeError."""
    if not locations:
        return
    (known,) = find_answer(questions.known_dates(), locations).rows.to_dict("records")
    dates = questions.default_dates(known, open_lake().settings.pipeline.dashboard.days)
    if dates is None:
        return
    foreseen = [question for page in questions.FORESEEN.values() for question in page(dates)]
    _await([questions.segment_names(dates), *dict.fromkeys(foreseen)], locations)
    with suppress(MissingTableError):
        _await(_chosen_first(dates, locations), locations)


def _await(asked: Iterable[Question], locations: Locations) -> None:
    for answer in start_answers(asked, locations):
        with suppress(MissingTableError):  # which its page will say
            answer.result()


def _chosen_first(dates: questions.DateRange, locations: Locations) -> Iterator[Question]:
    """What follows from the answers: the users of the first segment, who left the best one, quarantined records."""

    def rows(question: Question) -> pd.DataFrame:
        return find_answer(question, locations).rows

    last, first = rows(questions.profiles(dates.last)), rows(questions.profiles(dates.first))
    if len(last):
        yield questions.segment_users(dates.last, int(last["segment_id"].iloc[0]))
    if len(last) and len(first) and dates.first < dates.last:
        best = questions.best_segment(first, rows(questions.spending(dates.first)))
        yield questions.left_segment(dates, best)
    if refused := questions.refused_dates(rows(questions.runs(dates))):
        yield questions.quarantine_examples(refused[0])


def _ticks(seconds: float) -> Iterator[None]:
    while True:
        yield
        time.sleep(seconds)
