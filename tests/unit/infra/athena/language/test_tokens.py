"""Strings, names and positions in the two grammars."""

from __future__ import annotations

import pytest

from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TableName, TrinoTokenizer, escape


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'\t'", "\t"),
        (r"'\\'", "\\"),
        (r"'it\'s'", "it's"),
        ("'it''s'", "it's"),
        (r'"say \"hi\""', 'say "hi"'),
        (r"'\001'", "\x01"),
        (r"'é'", "é"),
        (r"'100\%'", "100\\%"),
        ("''", ""),
        ("'😀 ; --'", "😀 ; --"),
    ],
)
def test_hive_string_has_escapes(literal: str, value: str) -> None:
    assert Cursor(literal, HiveTokenizer).string() == value


def test_trino_string_has_none() -> None:
    assert Cursor(r"'a\t''b'", TrinoTokenizer).string() == r"a\t'b"


def test_escaped_text_reads_as_itself() -> None:
    text = "tab\t line\n quote' back\\slash \x01"
    assert Cursor(f"'{escape(text)}'", HiveTokenizer).string() == text


@pytest.mark.parametrize("name", ["My_Table", "`my_table`", "DB.my_table", "awsdatacatalog.`db`.my_table"])
def test_table_name_is_lower_case_and_has_a_database(name: str) -> None:
    assert Cursor(name, HiveTokenizer).table_name("db") == TableName("db", "my_table")
