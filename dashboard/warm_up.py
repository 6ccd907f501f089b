"""What the pages show first is asked for when the lake has changed, so that who opens one need not wait for Athena."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions
from dashboard.answers import Locations, start_answers
from dashboard.lake import Answer, EmptyLakeError, Lake, LakeError, ServiceAwayError, open_lake
from dashboard.queries import Question
from dashboard.questions import DateRange, segments_of

log = logging.getLogger(__name__)
POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="warm-up")  # who opens a page meanwhile has the others


@st.cache_resource(show_spinner=False, on_release=threading.Event.set)
def start_warming() -> threading.Event:
    """Once in a server's life, and after its cache was cleared; set, the event ends it."""
    lake, ended = open_lake(), threading.Event()
    if seconds := lake.settings.pipeline.dashboard.warm_up_seconds:
        threading.Thread(target=keep_warm, args=(lake, _ticks(seconds, ended)), name="warm-up", daemon=True).start()
    return ended


def keep_warm(lake: Lake, ticks: Iterable[None]) -> None:
    """At each tick look at the lake; where it is not as it was warmed, and as at the tick before: warm up.

    At the first tick it need not be at rest. A service that is away is asked again at the next tick.
    """
    before: Locations | None = None
    warmed: Locations | None = None
    for _ in ticks:
        try:
            now = lake.metadata_locations()
        except EmptyLakeError:
            now = {}
        except Exception:  # whatever it is, the thread lives as long as the server
            log.exception("Glue does not say whether the lake has changed")
            continue
        if now != warmed and before in (None, now):
            warmed = now if _try_to_warm_up(now) else None
        before = now


def _try_to_warm_up(locations: Locations) -> bool:
    """Whether it is over; False: another attempt may do better."""
    started = time.monotonic()
    try:
        warm_up(locations)
    except ServiceAwayError as error:
        log.warning("Not asked for ahead of time: %s", error)
        return False
    except Exception:  # a fault of ours must not ask Athena, and be charged, every minute
        log.exception("Not asked for ahead of time")
    else:
        log.info("The answers of %d tables are new, after %.1f s", len(locations), time.monotonic() - started)
    return True


def warm_up(locations: Locations) -> None:
    """Every answer that a page needs where nothing is chosen.

    What one of them lacks, its page will say; a statement that failed is not repeated for a lake that has not changed.
    Raises ServiceAwayError.
    """
    if not locations or (known := _find(questions.known_dates(), locations)) is None:
        return
    (row,) = known.to_dict("records")
    dates = questions.default_dates(row, open_lake().settings.pipeline.dashboard.days)
    if dates is None:
        return
    foreseen = [question for page in questions.FORESEEN.values() for question in page(dates, dates)]
    for step in ([questions.segment_names(dates), *foreseen], _chosen_first(dates, locations)):
        for answer in start_answers(dict.fromkeys(step), locations, POOL):
            _rows(answer)


def _chosen_first(dates: DateRange, locations: Locations) -> Iterator[Question]:
    """A sample; what follows from answers: users of the first segment, moves, who left the best, refused records."""
    yield questions.sample(dates.last, ())
    names = _find(questions.segment_names(dates), locations)
    if names is not None and (newest := segments_of(names, dates.last)):
        yield questions.segment_users(dates.last, newest[0])
    known = _find(questions.segment_dates(), locations)
    if known is not None and (ends := questions.movement_dates(dates, known)):
        yield from questions.of_movement(ends)
        spent = _find(questions.spending(ends.first), locations)
        if names is not None and spent is not None and (options := segments_of(names, ends.first)):
            yield questions.left_segment(ends, questions.best_segment(options, spent))
    runs = _find(questions.runs(dates), locations)
    if runs is not None and (refused := questions.refused_dates(runs)):
        yield questions.quarantine_examples(refused[0])


def _find(question: Question, locations: Locations) -> pd.DataFrame | None:
    return _rows(*start_answers([question], locations, POOL))


def _rows(coming: Future[Answer]) -> pd.DataFrame | None:
    """None where the lake has no answer, as it said in the log."""
    try:
        return coming.result().rows
    except ServiceAwayError:
        raise
    except LakeError as error:
        log.warning("Not asked for ahead of time: %s", error)
        return None


def _ticks(seconds: float, ended: threading.Event) -> Iterator[None]:
    yield
    while not ended.wait(seconds):
        yield
