from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.local.athena.result_text import csv_line, read_csv, read_text, text_line

FIELD = st.none() | st.text(st.characters(codec="utf-8"))


def test_null_is_empty_and_all_else_is_quoted() -> None:
    assert csv_line([None, "", "a", 'say "hi"', "1"]) == ',"","a","say ""hi""","1"\n'


def test_text_is_separated_by_tabs_without_quotes() -> None:
    assert text_line(["id", None, '"int"']) == 'id\t\t"int"\n'


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width))), st.data())
def test_csv_reads_back_what_was_written_however_it_is_cut(rows: list[list[str | None]], data: st.DataObject) -> None:
    written = "".join(csv_line(row) for row in rows).encode()
    size = data.draw(st.integers(1, max(1, len(written))))
    chunks = [written[start : start + size] for start in range(0, len(written), size)]

    read = list(read_csv(chunks, 0))

    assert [row.fields for row in read] == rows
    assert [row.end for row in read][-1:] == ([len(written)] if rows else [])


def test_csv_continues_where_a_page_ended() -> None:
    lines = [csv_line([str(number), None]).encode() for number in range(3)]
    first = next(iter(read_csv([b"".join(lines)], 0)))

    assert [row.fields for row in read_csv([b"".join(lines)[first.end :]], first.end)] == [["1", None], ["2", None]]


def test_one_column_of_text_keeps_its_tabs() -> None:
    assert [row.fields for row in read_text([b"id \tint \t\nna", b"me\tstring\n"], 0, 1)] == [
        ["id \tint \t"],
        ["name\tstring"],
    ]


def test_columns_of_text_are_split() -> None:
    assert [row.fields for row in read_text([b"a\tb\n"], 0, 2)] == [["a", "b"]]
