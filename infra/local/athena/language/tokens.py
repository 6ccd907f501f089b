"""The words of a statement, and a cursor that reads them one by one.

Athena has two parsers: Hive's for most DDL (backticks quote names, double quotes strings, a backslash escapes) and
Trino's for the rest (double quotes quote names, a backslash is a letter).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from sqlglot import Token, Tokenizer, TokenType
from sqlglot.errors import TokenError

from infra.local.athena.plan import StatementError

Item = TypeVar("Item")

END = "<EOF>"
ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
PRINTED = {"\\": "\\\\", "'": "\\'", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
OCTAL_DIGITS = 3
UNICODE_DIGITS = 4
INTEGER_DIGITS = 9


class TrinoTokenizer(Tokenizer):
    """Without keywords, so that every word is a name until the grammar says otherwise."""

    QUOTES: ClassVar = ["'"]
    IDENTIFIERS: ClassVar = ['"', "`"]
    STRING_ESCAPES: ClassVar = ["'"]
    KEYWORDS: ClassVar = {}
    COMMANDS: ClassVar = set()
    COMMENTS: ClassVar = ["--", ("/*", "*/")]
    NESTED_COMMENTS: ClassVar = False


class HiveTokenizer(Tokenizer):
    """As above, in Hive's manner."""

    QUOTES: ClassVar = ["'", '"']
    IDENTIFIERS: ClassVar = ["`"]
    STRING_ESCAPES: ClassVar = ["'", '"', "\\"]
    KEYWORDS: ClassVar = {}
    COMMANDS: ClassVar = set()
    COMMENTS: ClassVar = ["--", ("/*", "*/")]
    NESTED_COMMENTS: ClassVar = False


@dataclass(frozen=True)
class TableName:
    """A table or a view, in lower case as Glue stores it."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"


class Cursor:
    """Reads a statement from left to right. Every method that cannot read what it should raises StatementError."""

    def __init__(self, sql: str, tokenizer: type[Tokenizer]) -> None:
        self.sql = sql
        self.tokens = tokenize(sql, tokenizer)
        self.position = 0
        self._is_hive = tokenizer is HiveTokenizer

    def peek(self, ahead: int = 0) -> Token | None:
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else None

    def at(self, *words: str) -> bool:
        """Whether these unquoted words or symbols come next."""
        return all(is_word(self.peek(ahead), word) for ahead, word in enumerate(words))

    def take(self, *words: str) -> bool:
        """Skip these words if they come next, and tell whether they did."""
        if not self.at(*words):
            return False
        self.position += len(words)
        return True

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.take(word):
                raise self.mismatch(word)

    def next_token(self) -> Token:
        token = self.peek()
        if token is None:
            raise self.mismatch("<identifier>")
        self.position += 1
        return token

    def name(self) -> str:
        """An identifier, in lower case."""
        token = self.peek()
        if token is None or token.token_type not in (TokenType.VAR, TokenType.IDENTIFIER) or not token.text:
            raise self.mismatch("<identifier>")
        self.position += 1
        return token.text.lower()

    def parts(self) -> list[str]:
        """A name of one or more parts with dots between them."""
        parts = [self.name()]
        while self.take("."):
            parts.append(self.name())
        return parts

    def table_name(self, default_database: str) -> TableName:
        """`t`, `db.t` or `awsdatacatalog.db.t`."""
        parts = self.parts()
        if len(parts) > 3:
            raise StatementError(f"Invalid table name {'.'.join(parts)}")
        if len(parts) == 3 and parts[0] != "awsdatacatalog":
            raise StatementError(f"Catalog '{parts[0]}' does not exist")
        return TableName(parts[-2] if len(parts) > 1 else default_database.lower(), parts[-1])

    def is_string(self) -> bool:
        token = self.peek()
        return token is not None and token.token_type is TokenType.STRING

    def string(self) -> str:
        """The value of a string literal."""
        if not self.is_string():
            raise self.mismatch("<string>")
        token = self.next_token()
        text = self.sql[token.start + 1 : token.end]
        quote = self.sql[token.start]
        return unescape(text, quote) if self._is_hive else text.replace("''", "'")

    def is_integer(self) -> bool:
        token = self.peek()
        is_number = token is not None and token.token_type is TokenType.NUMBER
        return is_number and token is not None and token.text.isdecimal() and len(token.text) <= INTEGER_DIGITS

    def integer(self) -> int:
        if not self.is_integer():
            raise self.mismatch("<integer>")
        return int(self.next_token().text)

    def several(self, item: Callable[[], Item]) -> list[Item]:
        """`( item, item, ... )`."""
        self.expect("(")
        items = [item()]
        while self.take(","):
            items.append(item())
        self.expect(")")
        return items

    def property(self) -> tuple[str, str]:
        """`'key' = 'value'`."""
        key = self.string()
        self.expect("=")
        return key, self.string()

    def properties(self) -> dict[str, str]:
        return dict(self.several(self.property))

    def rest(self) -> str:
        """The untouched text from here to the end."""
        token = self.peek()
        return self.sql[token.start : self.tokens[-1].end + 1] if token else ""

    def end(self) -> None:
        """Nothing may follow."""
        if self.peek() is not None:
            raise StatementError(f"{self._place()}: extraneous input '{self._text()}' expecting {END}")

    def mismatch(self, *expected: str) -> StatementError:
        """The error of a place where something else should stand."""
        names = ", ".join(word if word.startswith("<") else f"'{word}'" for word in expected)
        return StatementError(f"{self._place()}: mismatched input '{self._text()}'. Expecting: {names}")

    def unrecognized(self, where: str) -> StatementError:
        """The same in the words of Hive's parser; `where` names the rule."""
        near = " ".join(f"'{self._text(ahead)}'" for ahead in range(3))
        line, column = self.line_and_column()
        return StatementError(
            f"FAILED: ParseException line {line}:{column} cannot recognize input near {near} in {where}"
        )

    def line_and_column(self, ahead: int = 0) -> tuple[int, int]:
        """Where a token stands: the line from 1, the column from 0."""
        token = self.peek(ahead)
        before = self.sql[: token.start] if token else self.sql
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1)

    def _text(self, ahead: int = 0) -> str:
        token = self.peek(ahead)
        return self.sql[token.start : token.end + 1] if token else END

    def _place(self) -> str:
        line, column = self.line_and_column()
        return f"line {line}:{column + 1}"


def tokenize(sql: str, tokenizer: type[Tokenizer]) -> list[Token]:
    """Raises StatementError for a quote or a comment that never ends."""
    try:
        return tokenizer().tokenize(sql)
    except TokenError as error:
        raise StatementError("line 1:1: mismatched input: a quote or a comment is not closed") from error


def is_word(token: Token | None, word: str) -> bool:
    """Whether the token is this keyword or symbol, unquoted."""
    quoted = (TokenType.STRING, TokenType.IDENTIFIER)
    return token is not None and token.token_type not in quoted and token.text.upper() == word


def leading_words(sql: str, count: int) -> tuple[str, ...]:
    """The first words in upper case, whichever way the rest is quoted; an opening parenthesis is a word."""
    try:
        tokens = tokenize(sql, TrinoTokenizer)
    except StatementError:
        tokens = tokenize(sql, HiveTokenizer)
    return tuple(token.text.upper() for token in tokens[:count])


def depths(tokens: Sequence[Token]) -> list[int]:
    """How many parentheses and brackets stand open before each token."""
    depth, result = 0, []
    for token in tokens:
        result.append(depth)
        if token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET):
            depth += 1
        elif token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET):
            depth -= 1
    return result


def unescape(text: str, quote: str) -> str:
    """The value of a Hive string: `\\t`, `\\001`, `\\u00e9`, a backslash before any other letter, a doubled quote."""
    result, index = [], 0
    while index < len(text):
        if text[index] == "\\" and index + 1 < len(text):
            character, length = _escaped(text[index + 1 :])
            result.append(character)
            index += 1 + length
            continue
        result.append(text[index])
        index += 2 if text.startswith(quote * 2, index) else 1
    return "".join(result)


def escape(text: str) -> str:
    """The text of a Hive string that `unescape` reads again."""
    return "".join(PRINTED.get(letter) or (f"\\u{ord(letter):04x}" if letter < " " else letter) for letter in text)


def _escaped(text: str) -> tuple[str, int]:
    """What stands for the text after a backslash, and how many letters of it that is."""
    octal = text[:OCTAL_DIGITS]
    if len(octal) == OCTAL_DIGITS and octal[0] in "01" and all(digit in "01234567" for digit in octal):
        return chr(int(octal, 8)), OCTAL_DIGITS
    digits = text[1 : 1 + UNICODE_DIGITS]
    if text[0] == "u" and len(digits) == UNICODE_DIGITS and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return chr(int(digits, 16)), 1 + UNICODE_DIGITS
    if text[0] in "%_":
        return "\\" + text[0], 1
    return ESCAPES.get(text[0], text[0]), 1
