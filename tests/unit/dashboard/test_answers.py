"""How a page waits for its answers, in Streamlit's AppTest; what these are, tests/integration/dashboard says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest
from streamlit.testing.v1 import AppTest

import config
from dashboard import answers, filters, questions
from dashboard.lake import Answer, QueryRefusedError, ScanLimitError
from dashboard.queries import Question
from dashboard.questions import DateRange

SECONDS = 20


class CalmLake:
    """Whose tables never change."""

    def metadata_locations(self) -> dict[str, str]:
        return {"sessions": "s3://lake/1.json"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    monkeypatch.setattr(answers, "AT_ONCE", ThreadPoolExecutor(2))
    monkeypatch.setattr(answers, "open_lake", CalmLake)
    return []


def run(script: Any) -> AppTest:
    test = AppTest.from_function(script, default_timeout=SECONDS).run()
    assert not test.exception, test.exception
    return test


def two_at_once() -> None:
    import streamlit as st

    from dashboard.answers import ASKED, ask, ask_ahead, start_page
    from dashboard.queries import Question

    start_page()
    both = Question.of("dates"), Question.of("segment_dates")
    ask_ahead(both)
    ask_ahead(both)
    st.text(" ".join(ask(question)["query"][0] for question in both))
    st.text(f"{list(st.session_state[ASKED].values())}")


def test_what_a_page_foresees_is_asked_at_once_and_only_once(
    monkeypatch: pytest.MonkeyPatch, asked: list[Question]
) -> None:
    together = threading.Barrier(2, timeout=SECONDS / 2)

    def answer(question: Question, _: Any) -> Answer:
        asked.append(question)
        together.wait()  # for the other one
        return Answer(pd.DataFrame({"query": [question.query]}), 7, 0)

    monkeypatch.setattr(answers, "find_answer", answer)
    assert [text.value for text in run(two_at_once).text] == ["dates segment_dates", "[7, 7]"]
    assert len(asked) == 2


class FullLake(CalmLake):
    """Where a statement reads too much; `queries` are those that were executed."""

    def __init__(self) -> None:
        self.settings = config.load("local")
        self.queries: list[str] = []

    def query(self, sql: str, _: Any) -> Answer:
        self.queries.append(sql)
        raise ScanLimitError("It reads too much.", "Choose fewer dates.")


def test_a_statement_over_the_limit_is_not_executed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = FullLake()
    monkeypatch.setattr(answers, "open_lake", lambda: lake)
    monkeypatch.setattr(answers, "_snapshot_of", lambda _: 1)
    question = Question.of("sessions_by_day", first=date(2025, 4, 1), last=date(2025, 4, 2))
    locations = {lake.settings.paths.tables.sessions: "a", lake.settings.paths.tables.user_segments: "b"}
    for _ in range(2):
        with pytest.raises(ScanLimitError, match=r"It reads too much\. Choose fewer dates\."):
            answers.find_answer(question, locations)
    assert len(lake.queries) == 1


def test_fewer_dates_are_asked_for_themselves_where_the_default_ones_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default, chosen = DateRange(date(2025, 4, 1), date(2025, 4, 30)), DateRange(date(2025, 4, 2), date(2025, 4, 3))
    rows = pd.DataFrame({"event_date": [date(2025, 4, 2)]})

    def answer(question: Question) -> pd.DataFrame:
        if dict(question.parameters)["first"] == default.first:
            raise ScanLimitError("It reads too much.", "Choose fewer dates.")
        return rows

    monkeypatch.setattr(filters, "ask", answer)
    assert filters.ask_days(questions.runs, "event_date", chosen, default).equals(rows)
    with pytest.raises(ScanLimitError):
        filters.ask_days(questions.runs, "event_date", default, default)


def one_that_fails() -> None:
    import streamlit as st

    from dashboard.answers import ask, ask_ahead, start_page
    from dashboard.lake import LakeError
    from dashboard.queries import Question

    start_page()
    ask_ahead([Question.of("dates")])
    try:
        ask(Question.of("dates"))
    except LakeError as error:
        st.error(error.matter)


def test_what_failed_ahead_is_told_and_not_asked_again(monkeypatch: pytest.MonkeyPatch, asked: list[Question]) -> None:
    def fail(question: Question, _: Any) -> Answer:
        asked.append(question)
        raise QueryRefusedError("No such column.", "Name another one.")

    monkeypatch.setattr(answers, "find_answer", fail)
    assert [box.value for box in run(one_that_fails).error] == ["No such column."]
    assert len(asked) == 1
