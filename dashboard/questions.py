"""The questions of the pages, and which of them a page asks of its dates alone.

They are known before the page is drawn: it asks them all at once, and when the lake has changed, before anybody comes.
What has rows by date is asked for the dates that are shown by default; whoever narrows them asks nothing new.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from dashboard.queries import Question

DAY = dt.timedelta(days=1)
WEEK = 7 * DAY
MANY_ROWS = 10_000  # of users, in a list
EVERY_ROW = 2**31 - 1  # in a file; the most that Trino sorts for a LIMIT
SAMPLE_USERS, SUGGESTED_USERS = 500, 10
MOST_EVENTS = 5_000  # of one user


@dataclass(frozen=True)
class DateRange:
    """UTC dates, both included."""

    first: dt.date
    last: dt.date

    def longer(self, by: dt.timedelta) -> DateRange:
        """These dates and those from so much before the first one on."""
        return DateRange(self.first - by, self.last)

    def cover(self, other: DateRange) -> DateRange:
        """These dates where they hold the others, else the others."""
        return self if self.first <= other.first and other.last <= self.last else other


def known_dates() -> Question:
    return Question.of("dates")


def segment_dates() -> Question:
    return Question.of("segment_dates")


def segment_names(dates: DateRange) -> Question:
    return Question.of("segment_names", first=dates.first, last=dates.last)


def failures(first: dt.date) -> Question:
    """From a date on, also of dates that have no session yet."""
    return Question.of("failures", first=first, last=dt.date.max)


def runs(dates: DateRange) -> Question:
    return Question.of("runs", first=dates.first, last=dates.last)


def sessions_by_day(dates: DateRange) -> Question:
    return Question.of("sessions_by_day", first=dates.first, last=dates.last)


def with_week_before(dates: DateRange) -> DateRange:
    """The dates, and the last one's weekday before."""
    return DateRange(min(dates.first, dates.last - WEEK), dates.last)


def funnel_by_category(dates: DateRange, device: str | None, segments: tuple[int, ...]) -> Question:
    """Of one device, or None for all; of some segments, or all where none is named."""
    return Question.of(
        "funnel_by_category", first=dates.first, last=dates.last, day_after=dates.last + DAY, device=device or "",
        every_segment=not segments, segments=segments,
    )  # fmt: skip


def profiles(dates: DateRange) -> Question:
    return Question.of("profiles", first=dates.first, last=dates.last)


def models() -> Question:
    return Question.of("models")


def sample(date: dt.date, segments: tuple[int, ...]) -> Question:
    """Of some segments, or all where none is named."""
    return Question.of("sample", date=date, most=SAMPLE_USERS, every_segment=not segments, segments=segments)


def segment_users(date: dt.date, segment: int, most: int = MANY_ROWS) -> Question:
    return Question.of("segment_users", date=date, segment=segment, most=most)


def moves(dates: DateRange) -> Question:
    return Question.of("moves", first=dates.first, last=dates.last)


def spending(date: dt.date) -> Question:
    return Question.of("spending", date=date)


def left_segment(dates: DateRange, segment: int, most: int = MANY_ROWS) -> Question:
    return Question.of("left_segment", first=dates.first, last=dates.last, segment=segment, most=most)


def landed_records(dates: DateRange) -> Question:
    return Question.of("landed_records", first=dates.first, last=dates.last)


def quarantine_examples(date: dt.date) -> Question:
    return Question.of("quarantine_examples", date=date)


def some_users(date: dt.date) -> Question:
    return Question.of("some_users", date=date, most=SUGGESTED_USERS)


def of_user(user: str, dates: DateRange) -> tuple[Question, Question, Question, Question]:
    """Sessions, events and segments of a user on the dates; features on the last of them."""
    return (
        Question.of("user_sessions", first=dates.first, last=dates.last, user=user),
        Question.of("user_events", first=dates.first, last=dates.last, user=user, most=MOST_EVENTS),
        Question.of("user_history", first=dates.first, last=dates.last, user=user),
        Question.of("user_features", date=dates.last, user=user),
    )


def of_movement(dates: DateRange) -> tuple[Question, ...]:
    """Of two dates that have segments."""
    return moves(dates), spending(dates.first)


def of_segments(dates: DateRange, default: DateRange) -> tuple[Question, ...]:
    return profiles(default.longer(DAY).cover(DateRange(dates.last - DAY, dates.last))), models()


def of_overview(dates: DateRange, default: DateRange) -> tuple[Question, ...]:
    whole, weeks = default.cover(dates), default.longer(WEEK).cover(with_week_before(dates))
    return failures(whole.first), runs(whole), sessions_by_day(weeks)


def of_data_quality(dates: DateRange, default: DateRange) -> tuple[Question, ...]:
    whole = default.cover(dates)
    return failures(whole.first), runs(whole), landed_records(whole)


Foreseen = Callable[[DateRange, DateRange], tuple[Question, ...]]
# Title of a page -> what it asks of its dates, and the default ones, where nothing else is chosen.
FORESEEN: dict[str, Foreseen] = {
    "Overview": of_overview,
    "Segments": of_segments,
    "Movement": lambda *_: (segment_dates(),),
    "Funnel": lambda dates, default: (sessions_by_day(default.longer(WEEK).cover(dates)),),
    "User": lambda dates, _: (some_users(dates.last),),
    "Data quality": of_data_quality,
    "Ask Athena": lambda *_: (),
}


def default_dates(known: Mapping[str, Any], days: int) -> DateRange | None:
    """The last `days` dates up to the newest with sessions, or else with a run; None where there is none.

    `known` is the row of `known_dates`.
    """
    if pd.isna(known["last_date"]):
        return None
    newest = known["last_date"] if pd.isna(known["last_with_sessions"]) else known["last_with_sessions"]
    return DateRange(max(known["first_date"], newest - (days - 1) * DAY), newest)


def movement_dates(chosen: DateRange, known: pd.DataFrame) -> DateRange | None:
    """The ends of the chosen dates where they have segments; None: these are not two dates.

    `known` is the answer to `segment_dates`.
    """
    (row,) = known.to_dict("records")
    if pd.isna(row["last_date"]):
        return None
    found = DateRange(max(chosen.first, row["first_date"]), min(chosen.last, row["last_date"]))
    return found if found.first < found.last else None


def segments_of(names: pd.DataFrame, date: dt.date) -> list[int]:
    """Ids of the segments of a date, of the answer to `segment_names`."""
    return [int(segment) for segment in names["segment_id"][names["snapshot_date"] == date]]


def best_segment(segments: Sequence[int], spent: pd.DataFrame) -> int:
    """Of the segments of a date, one at least, the one that spent most, which Movement shows first.

    `spent` is the answer to `spending`.
    """
    return next((int(segment) for segment in spent["segment_id"] if segment in segments), segments[0])


def refused_dates(found: pd.DataFrame) -> list[dt.date]:
    """Dates of the runs that have quarantined records, the newest first, which Data quality shows examples of."""
    return list(found.loc[found["quarantined"] > 0, "event_date"].sort_values(ascending=False))
