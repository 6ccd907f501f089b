"""Values in the place of question marks."""

from __future__ import annotations

import pytest

from infra.local.athena.language import bind_parameters
from infra.local.athena.plan import StatementError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10", "10"),
        ("-1.5", "-1.5"),
        ("'a string'", "'a string'"),
        ("DATE '2020-01-01'", "DATE '2020-01-01'"),
        ("NULL", "NULL"),
        ("now()", "now()"),
        ("1 + 1", "(1 + 1)"),
        ("1 OR 1=1", "(1 OR 1=1)"),
        ("abc", "'abc'"),
        ("abc def", "'abc def'"),
        ("x + 1", "'x + 1'"),
        ("it's", "'it''s'"),
        ("123e4567-e89b-12d3-a456-426614174000", "'123e4567-e89b-12d3-a456-426614174000'"),
        ("SELECT 1", "'SELECT 1'"),
        ("1) FROM t WHERE (1", "'1) FROM t WHERE (1'"),
        ("1 -- x", "'1 -- x'"),
        ("?", "'?'"),
        ("", "''"),
    ],
)
def test_value_is_an_expression_or_a_text(value: str, text: str) -> None:
    assert bind_parameters("SELECT ? AS v", [value]) == f"SELECT {text} AS v"


def test_question_marks_in_quotes_and_comments_stay() -> None:
    sql = """SELECT '?', "?", ? -- ?\n, ? /* ? */"""
    assert bind_parameters(sql, ["1", "2"]) == """SELECT '?', "?", 1 -- ?\n, 2 /* ? */"""


def test_values_without_question_marks_are_ignored() -> None:
    assert bind_parameters("SELECT 1", ["2"]) == "SELECT 1"


@pytest.mark.parametrize("values", [[], ["1"], ["1", "2", "3"]])
def test_wrong_number_of_values_is_refused(values: list[str]) -> None:
    message = f"Incorrect number of parameters: expected 2 but found {len(values)}"
    with pytest.raises(StatementError, match=message):
        bind_parameters("SELECT ?, ?", values)
