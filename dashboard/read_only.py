"""Which statements the editor lets through: those of Athena's grammar that cannot change anything.

Judged by how a statement begins, which decides in Athena's grammar: nothing that writes begins with SELECT or WITH.
EXPLAIN ANALYZE executes what it explains, which therefore has to be read-only as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from infra.local.athena.language.tokens import TrinoTokenizer

QUERYING = ("SELECT", "WITH", "VALUES", "TABLE")
DESCRIBING = ("SHOW", "DESCRIBE", "DESC")
EXPLAINING, ANALYZE = "EXPLAIN", "ANALYZE"


@dataclass(frozen=True)
class Statement:
    """`is_query`: its result has typed rows; otherwise Athena answers with lines of text.

    `is_charged`: it scans data, as EXPLAIN ANALYZE does too (AWS's page of EXPLAIN).
    """

    sql: str
    is_query: bool
    is_charged: bool


class NotReadOnlyError(ValueError):
    """The statement could change something, or is none; the message says what is allowed."""


def check_read_only(sql: str) -> Statement:
    """The statement without its semicolon. Raises NotReadOnlyError."""
    try:
        tokens = TrinoTokenizer().tokenize(sql)
    except SqlglotError as error:
        raise NotReadOnlyError(f"This is no statement: {error}") from error
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise NotReadOnlyError("Write a statement first.")
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise NotReadOnlyError("One statement at a time.")
    words = [token.text.upper() for token in tokens]
    first = next((word for word in _without_explain(words) if word != "("), "")
    if first not in (*QUERYING, *DESCRIBING):
        raise NotReadOnlyError(
            f"{first or EXPLAINING} is not allowed here: only SELECT, SHOW, DESCRIBE and EXPLAIN of these. "
            "`make query` takes every statement."
        )
    is_of_rows, is_explained = first in QUERYING, words[0] == EXPLAINING
    return Statement(
        sql[: tokens[-1].end + 1],
        is_query=is_of_rows and not is_explained,
        is_charged=is_of_rows and (not is_explained or words[1] == ANALYZE),
    )


def _without_explain(words: list[str]) -> list[str]:
    """What an EXPLAIN explains: without ANALYZE, VERBOSE and the options in parentheses."""
    if words[:1] != [EXPLAINING]:
        return words
    rest = words[1:]
    while rest[:1] in ([ANALYZE], ["VERBOSE"]):
        rest = rest[1:]
    # Options begin with their name; a query in parentheses begins with one of its own words.
    if rest[:1] == ["("] and rest[1:2] and rest[1] in ("FORMAT", "TYPE"):
        rest = rest[rest.index(")") + 1 :] if ")" in rest else []
    return _without_explain(rest)
