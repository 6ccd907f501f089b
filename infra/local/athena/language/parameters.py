"""ExecutionParameters and EXECUTE ... USING: values in the place of question marks."""

from __future__ import annotations

from collections.abc import Sequence

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from infra.local.athena.language.tokens import TrinoTokenizer, tokenize
from infra.local.athena.language.trino_text import quote_text
from infra.local.athena.plan import StatementError

PLAIN_VALUES = (exp.Literal, exp.Null, exp.Boolean, exp.Cast, exp.Func, exp.Paren)


def bind_parameters(sql: str, parameters: Sequence[str]) -> str:
    """The statement with each `?` outside of strings, comments and quoted names replaced by its value.

    Values for a statement without question marks are ignored, as Athena does. Raises StatementError when the numbers
    differ otherwise.
    """
    if "?" not in sql:
        return sql
    marks = [token for token in tokenize(sql, TrinoTokenizer) if token.token_type is TokenType.PLACEHOLDER]
    if not marks:
        return sql
    if len(marks) != len(parameters):
        raise StatementError(
            "INVALID_PARAMETER_USAGE: line 1:1: Incorrect number of parameters: "
            f"expected {len(marks)} but found {len(parameters)}"
        )
    pieces, position = [], 0
    for mark, value in zip(marks, parameters, strict=True):
        pieces += [sql[position : mark.start], parameter_text(value)]
        position = mark.end + 1
    return "".join(pieces) + sql[position:]


def parameter_text(value: str) -> str:
    """A parameter as SQL: an expression without names of columns stays one, anything else is a text.

    `10`, `'a'`, `DATE '2020-01-01'` and `1 + 1` are expressions; `abc`, `it's` and a bare UUID are texts.
    """
    tree = _expression(value)
    if tree is None or isinstance(tree, exp.Query) or tree.find(exp.Column, exp.Placeholder) is not None:
        return quote_text(value)
    is_negative = isinstance(tree, exp.Neg) and isinstance(tree.this, exp.Literal)
    is_plain = isinstance(tree, PLAIN_VALUES) and not isinstance(tree, exp.Connector)
    return value if is_negative or is_plain else f"({value})"


def _expression(value: str) -> exp.Expression | None:
    """The value's syntax tree; None when it is not one expression."""
    try:
        query = sqlglot.parse_one(f"SELECT ({value})", dialect="trino")
    except (SqlglotError, RecursionError):
        return None
    items = query.expressions
    if not isinstance(query, exp.Select) or query.args.get("from_") or len(items) != 1:
        return None
    return items[0].this if isinstance(items[0], exp.Paren) else None
