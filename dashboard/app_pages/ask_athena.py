"""Ask Athena: named queries and a statement of one's own, with what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import wording
from dashboard.charts import draw_result, show
from dashboard.lake import MOST_ROWS, Answer, estimate_price, open_lake
from dashboard.page import page
from dashboard.questions import MANY_ROWS
from dashboard.read_only import NotReadOnlyError, Statement, check_read_only

RESULT = "result of Ask Athena"
OWN = "your own statement"


@dataclass(frozen=True)
class Result:
    """What was asked, and the answer to it."""

    statement: Statement
    answer: Answer


def show_result(result: Result, price_of_terabyte: float) -> None:
    """The statement, its rows and cost, a chart and a file."""
    answer, rows = result.answer, result.answer.rows
    price = (
        f"about {estimate_price(answer.scanned_bytes, price_of_terabyte):.6f} USD"
        if result.statement.is_charged
        else "free"
    )
    st.code(result.statement.sql, language="sql")
    st.markdown(
        f"**{wording.counted(len(rows), 'row')}** · {wording.size(answer.scanned_bytes)} scanned · "
        f"{wording.seconds(answer.milliseconds)} · {price} on AWS"
    )
    if answer.has_more:
        st.warning(f"These are the first {MOST_ROWS:,} rows; there are more.")
    st.dataframe(rows.head(MANY_ROWS), hide_index=True)
    if len(rows) > MANY_ROWS:
        st.caption(f"The first {MANY_ROWS:,} rows; the file has the others.")
    st.download_button("As CSV", rows.to_csv(index=False), "athena.csv", "text/csv", on_click="ignore")
    show_chart(to_numbers(rows.head(MANY_ROWS)))


def to_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """DECIMAL columns as floats: charts know no other numbers."""
    decimals = [name for name in rows if any(isinstance(value, Decimal) for value in rows[name])]
    return rows.astype(dict.fromkeys(decimals, "float64"))


def show_chart(rows: pd.DataFrame) -> None:
    """Numbers over a column of one's choice."""
    numbers = [str(column) for column in rows.columns if pd.api.types.is_numeric_dtype(rows[column])]
    if len(rows) < 2 or not numbers:
        return
    columns = [str(column) for column in rows.columns]
    others = [column for column in columns if column not in numbers]
    left, middle, right = st.columns(3)
    kind = left.selectbox("Chart", ("bar", "line"), key="chart")
    x = middle.selectbox("Over", columns, columns.index(others[0]) if others else 0, key="over")
    ys = right.multiselect("Numbers", numbers, numbers[:1], key="numbers")
    if x and ys and kind:
        show(draw_result(rows, x, ys, kind), f"{', '.join(ys)} over {x}", key="result")


with page("What else would you like to know? SELECT, SHOW, DESCRIBE and EXPLAIN; nothing is changed."):
    lake = open_lake()
    named = lake.named_queries()
    name = st.selectbox("Query", [OWN, *named], key="query", bind="query-params") or OWN
    if name in named:
        st.caption(named[name].description)
    start = named[name].sql if name in named else f"SHOW TABLES IN {lake.settings.paths.database}"
    with st.form("statement"):
        sql = st.text_area("SQL", start, height=220, key=f"sql of {name}")
        is_sent = st.form_submit_button("Run", type="primary")
    limit = lake.read_scan_limit()
    if limit is None:
        st.warning(f"The work group {lake.settings.pipeline.dashboard.work_group} lets a query read without a limit.")
    else:
        st.caption(f"Athena stops it when it has read {wording.size(limit)}.")
    if is_sent:
        st.session_state.pop(RESULT, None)
        try:
            statement = check_read_only(sql)
        except NotReadOnlyError as error:
            st.error(str(error))
        else:
            with st.spinner("Athena is asked …"):
                run = partial(lake.query, most=MOST_ROWS) if statement.is_query else lake.describe
                st.session_state[RESULT] = Result(statement, run(statement.sql))
    if RESULT in st.session_state:
        show_result(st.session_state[RESULT], lake.settings.pipeline.dashboard.usd_per_terabyte)
