"""What the pages show where nothing is chosen."""

from __future__ import annotations

import datetime as dt
import re

import pandas as pd  # type: ignore[import-untyped]
import pytest

from dashboard.queries import Question, read_template
from dashboard.questions import (
    DAY,
    FORESEEN,
    WEEK,
    DateRange,
    best_segment,
    default_dates,
    movement_dates,
    refused_dates,
    segments_of,
    with_week_before,
)


def day(number: int) -> dt.date:
    return dt.date(2025, 4, number)


@pytest.mark.parametrize(
    ("first", "last", "last_with_sessions", "shown"),
    [
        (1, 30, 30, (24, 30)),
        (1, 30, 20, (14, 20)),  # runs without sessions are no dates to begin with
        (18, 20, 20, (18, 20)),
        (18, 20, None, (18, 20)),  # no sessions at all: the runs are shown
        (20, 20, 20, (20, 20)),
    ],
)
def test_the_newest_seven_dates(first: int, last: int, last_with_sessions: int | None, shown: tuple[int, int]) -> None:
    with_sessions = None if last_with_sessions is None else day(last_with_sessions)
    known = {"first_date": day(first), "last_date": day(last), "last_with_sessions": with_sessions}
    assert default_dates(known, 7) == DateRange(day(shown[0]), day(shown[1]))


def test_a_lake_without_dates_has_none_to_show() -> None:
    assert default_dates(dict.fromkeys(("first_date", "last_date", "last_with_sessions")), 7) is None


def test_a_short_range_brings_the_week_before_along() -> None:
    assert with_week_before(DateRange(day(9), day(10))) == DateRange(day(3), day(10))
    assert with_week_before(DateRange(day(1), day(10))) == DateRange(day(1), day(10))


def test_the_default_sessions_hold_every_weekday_before() -> None:
    default = DateRange(day(10), day(20))
    for first, last in ((10, 20), (10, 10), (12, 16)):
        assert default.longer(WEEK).cover(with_week_before(DateRange(day(first), day(last)))) == default.longer(WEEK)
    assert default.longer(WEEK) == DateRange(day(3), day(20))


def test_dates_within_the_default_ones_are_answered_by_these() -> None:
    default = DateRange(day(3), day(20))
    for first, last in ((3, 20), (4, 10), (20, 20)):
        assert default.cover(DateRange(day(first), day(last))) == default
    for first, last in ((2, 20), (3, 21), (1, 2)):
        assert default.cover(DateRange(day(first), day(last))) == DateRange(day(first), day(last))


def test_the_default_profiles_hold_every_day_before() -> None:
    default = DateRange(day(10), day(20))
    for last in (10, 15, 20):
        assert default.longer(DAY).cover(DateRange(day(last - 1), day(last))) == DateRange(day(9), day(20))
    assert default.longer(DAY).cover(DateRange(day(8), day(9))) == DateRange(day(8), day(9))


def test_the_segments_of_a_date_are_its_own() -> None:
    names = pd.DataFrame({"snapshot_date": [day(1), day(1), day(2)], "segment_id": [0, 2, 1]})
    assert segments_of(names, day(1)) == [0, 2]
    assert segments_of(names, day(3)) == []


def test_the_best_segment_spent_most_or_is_the_first() -> None:
    assert best_segment([0, 1, 2], pd.DataFrame({"segment_id": [2, 1]})) == 2
    assert best_segment([0, 1, 2], pd.DataFrame({"segment_id": []})) == 0
    assert best_segment([0, 1, 2], pd.DataFrame({"segment_id": [7, 1]})) == 1  # 7 has no profile yet


@pytest.mark.parametrize(
    ("chosen", "known", "shown"),
    [
        ((1, 9), (1, 9), (1, 9)),
        ((1, 9), (2, 8), (2, 8)),  # the newest date has no segments yet
        ((3, 4), (1, 9), (3, 4)),
        ((3, 3), (1, 9), None),
        ((8, 9), (1, 8), None),
    ],
)
def test_movement_is_between_dates_with_segments(
    chosen: tuple[int, int], known: tuple[int, int], shown: tuple[int, int] | None
) -> None:
    found = movement_dates(
        DateRange(day(chosen[0]), day(chosen[1])),
        pd.DataFrame({"first_date": [day(known[0])], "last_date": [day(known[1])]}),
    )
    assert found == (DateRange(day(shown[0]), day(shown[1])) if shown else None)


def test_movement_without_any_segments_has_no_dates() -> None:
    known = pd.DataFrame({"first_date": [None], "last_date": [None]})
    assert movement_dates(DateRange(day(1), day(2)), known) is None


def test_refused_dates_are_the_newest_first() -> None:
    runs = pd.DataFrame({"event_date": [day(1), day(2), day(3)], "quarantined": [3, 0, 1]})
    assert refused_dates(runs) == [day(3), day(1)]


@pytest.mark.parametrize("page", FORESEEN)
def test_a_foreseen_question_has_a_value_for_each_parameter_of_its_statement(page: str) -> None:
    for question in FORESEEN[page](DateRange(day(1), day(2)), DateRange(day(1), day(9))):
        wanted = set(re.findall(r"(?<!:):([a-z_]+)", read_template(question.query)))
        assert wanted == {name for name, _ in question.parameters}


def test_questions_are_the_same_whatever_the_order_of_their_parameters() -> None:
    assert Question.of("runs", first=1, last=2) == Question.of("runs", last=2, first=1)
