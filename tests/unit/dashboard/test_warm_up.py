"""When the pages' answers are asked for ahead of time; that they are those of the pages, tests/integration says."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest

from dashboard import answers, warm_up
from dashboard.lake import Answer, EmptyLakeError, MissingTableError, ScanLimitError, ServiceAwayError
from dashboard.queries import Question

EMPTY: dict[str, str] = {}
OLD, NEW = {"sessions": "s3://lake/1.json"}, {"sessions": "s3://lake/2.json"}
AWAY = ServiceAwayError("Glue is away.", "Start it.")


class SeenLake:
    """A lake whose tables are at other places, or which is away, each time one looks."""

    def __init__(self, *seen: Any) -> None:
        self.seen = list(seen)

    def metadata_locations(self) -> dict[str, str]:
        found: dict[str, str] | Exception = self.seen.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize(
    ("seen", "warmed"),
    [
        ([OLD, OLD, OLD], [OLD]),  # at the start at once, then never for what is known
        ([OLD, NEW, NEW, NEW], [OLD, NEW]),  # a change when it has come to rest
        ([OLD, NEW, OLD, NEW], [OLD]),  # never at rest
        ([EMPTY, OLD, OLD], [EMPTY, OLD]),
        ([AWAY, OLD, AWAY, OLD, NEW, AWAY, NEW], [OLD, NEW]),
    ],
)
def test_a_lake_is_warmed_when_it_is_new_and_at_rest(
    monkeypatch: pytest.MonkeyPatch, seen: list[Any], warmed: list[dict[str, str]]
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(warm_up, "warm_up", found.append)
    warm_up.keep_warm(SeenLake(*seen), [None] * len(seen))  # type: ignore[arg-type]
    assert found == warmed


@pytest.mark.parametrize(("error", "attempts"), [(AWAY, 2), (ValueError("a fault of ours"), 1)])
def test_only_what_may_do_better_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, attempts: int
) -> None:
    found: list[Any] = []

    def fail_once(locations: Any) -> None:
        found.append(locations)
        if len(found) == 1:
            raise error

    monkeypatch.setattr(warm_up, "warm_up", fail_once)
    warm_up.keep_warm(SeenLake(OLD, OLD, OLD), [None] * 3)  # type: ignore[arg-type]
    assert found == [OLD] * attempts


def test_glue_may_fail_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(warm_up, "warm_up", found.append)
    missing = EmptyLakeError("No database.", "Make one.")
    warm_up.keep_warm(SeenLake(ValueError("?"), missing, OLD, OLD), [None] * 4)  # type: ignore[arg-type]
    assert found == [EMPTY, OLD]


@pytest.mark.parametrize("error", [ScanLimitError("Too much.", "Less."), MissingTableError("No table.", "Make it.")])
def test_a_statement_that_fails_does_not_keep_the_others_from_being_asked(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked: list[Question] = []
    dates = {name: [dt.date(2025, 4, 2)] for name in ("first_date", "last_date", "last_with_sessions")}

    def answer(question: Question, _: Any) -> Answer:
        asked.append(question)
        if question.query == "dates":
            return Answer(pd.DataFrame(dates), 0, 0)
        raise error

    monkeypatch.setattr(answers, "find_answer", answer)
    warm_up.warm_up(OLD)
    queries = [question.query for question in asked]
    assert {"dates", "segment_names", "sessions_by_day", "runs", "sample", "landed_records"} <= set(queries)


def test_a_server_asks_no_more_when_its_cache_is_cleared() -> None:
    ended = threading.Event()
    ticks = warm_up._ticks(3600, ended)
    next(ticks)
    ended.set()
    assert list(ticks) == []
