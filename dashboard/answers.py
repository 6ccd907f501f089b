"""Answers of the lake, each asked for once for the snapshots that it reads.

Before a page asks, Glue says which metadata file each table has: the snapshot in it is part of an answer's key, so that
unchanged tables cost no query, and a new commit costs one. Only a file of more users than a page lists is asked for at
each click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from config.catalog import catalog_properties
from dashboard.lake import Answer, EmptyLakeError, MissingTableError, ScanLimitError, ServiceAwayError, open_lake
from dashboard.queries import Parameter, Question, render, tables_of

MOST_ANSWERS = 200  # that are kept, the least used go first
ASKED, LOCATIONS = "bytes that the answers of this page took", "metadata files at the start of this page"
AHEAD = "answers of this page that are on their way"
AT_ONCE = ThreadPoolExecutor(max_workers=6, thread_name_prefix="asking")
QUIET_SECONDS = 0.3  # until a page says that it waits

Locations = Mapping[str, str]  # Glue's name of a table -> its metadata file


@dataclass(frozen=True)
class TooMuch:
    """A ScanLimitError that is kept: asked again, the statement would read as much again before Athena stops it."""

    matter: str
    remedy: str


def start_page() -> None:
    """Every answer of one run of a page is of the snapshots at its start."""
    for answer in st.session_state.get(AHEAD, {}).values():  # of a run that the reader did not wait for
        answer.cancel()
    st.session_state[ASKED], st.session_state[AHEAD] = {}, {}
    st.session_state.pop(LOCATIONS, None)


def ask(question: Question) -> pd.DataFrame:
    """Rows for the tables' snapshots at the start of the page; no query starts where they are known.

    Raises LakeError: EmptyLakeError, MissingTableError, ServiceAwayError, ScanLimitError, QueryRefusedError.
    """
    ask_ahead([question])
    coming = st.session_state[AHEAD].pop(question)
    if wait([coming], QUIET_SECONDS).not_done:
        with st.spinner("Athena is asked …"):
            wait([coming])
    answer: Answer = coming.result()
    st.session_state[ASKED][question] = answer.scanned_bytes
    return answer.rows


def ask_ahead(questions: Iterable[Question]) -> None:
    """Begin with what will be asked soon, all at once; `ask` then waits for the rest of an answer's time.

    Raises LakeError where Glue does not answer; what is wrong with a question, `ask` says.
    """
    coming = st.session_state[AHEAD]
    new = [question for question in dict.fromkeys(questions) if question not in coming]
    coming.update(zip(new, start_answers(new, page_locations()), strict=True))


def start_answers(
    questions: Iterable[Question], locations: Locations, pool: ThreadPoolExecutor | None = None
) -> list[Future[Answer]]:
    """The answers, on their way; their results raise what `find_answer` raises."""
    return [(pool or AT_ONCE).submit(find_answer, question, locations) for question in questions]


def find_answer(question: Question, locations: Locations) -> Answer:
    """The kept answer, or Athena's; two who ask the same at the same time wait for one. Raises LakeError."""
    snapshots = find_snapshots(tables_of(question.query), locations)
    answer = _answer(question.query, question.parameters, tuple(snapshots.items()))
    if isinstance(answer, TooMuch):
        raise ScanLimitError(answer.matter, answer.remedy)
    return answer


def read_anew(question: Question, locations: Locations) -> Answer:
    """Athena's answer, which is not kept. Raises what `find_answer` raises."""
    return _query(question, find_snapshots(tables_of(question.query), locations))


def find_snapshots(tables: tuple[str, ...], locations: Locations) -> dict[str, int | None]:
    """Current snapshot id of each table, by its key in config; None where it never had one. Raises LakeError."""
    lake = open_lake()
    names = lake.settings.paths.tables
    if not locations:
        raise EmptyLakeError(
            f"The database {lake.settings.paths.database} has no tables.",
            "`make run` fills it with three generated dates; `make backfill` with a range of your own.",
        )
    missing = [name for table in tables if (name := getattr(names, table)) not in locations]
    if missing:
        raise MissingTableError(
            f"Glue's database {lake.settings.paths.database} has no {', '.join(missing)}.",
            "The next run of the pipeline creates it; or a name in config/s3_paths.yaml is not the one in Glue.",
        )
    try:
        return {table: _snapshot_of(locations[getattr(names, table)]) for table in tables}
    except OSError as error:
        raise ServiceAwayError(
            f"S3 does not give the metadata of {', '.join(tables)}: {error}", "Reload the page; `make status`."
        ) from error


def page_locations() -> Locations:
    """Glue's metadata files at the start of the page. Raises LakeError where Glue does not answer."""
    if LOCATIONS not in st.session_state:
        st.session_state[LOCATIONS] = open_lake().metadata_locations()
    locations: Locations = st.session_state[LOCATIONS]
    return locations


@st.cache_data(show_spinner=False, max_entries=MOST_ANSWERS)
def _snapshot_of(metadata_location: str) -> int | None:
    """A metadata file never changes."""
    from pyiceberg.table import StaticTable  # half a second to import

    properties = catalog_properties(open_lake().settings)
    return StaticTable.from_metadata(metadata_location, properties).metadata.current_snapshot_id


@st.cache_data(show_spinner=False, max_entries=MOST_ANSWERS)
def _answer(
    query: str, parameters: tuple[tuple[str, Parameter], ...], snapshots: tuple[tuple[str, int | None], ...]
) -> Answer | TooMuch:
    try:
        return _query(Question(query, parameters), dict(snapshots))
    except ScanLimitError as error:
        return TooMuch(error.matter, error.remedy)


def _query(question: Question, snapshots: Mapping[str, int | None]) -> Answer:
    lake = open_lake()
    return lake.query(render(question.query, lake.settings.paths, snapshots), dict(question.parameters))
