"""How a page waits for its answers, in Streamlit's AppTest; what these are, tests/integration/dashboard says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import answers
from dashboard.lake import Answer, QueryRefusedError
from dashboard.queries import Question

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
    st.text(f"{st.session_state[ASKED]}")


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
