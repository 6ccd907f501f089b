"""Ask Athena: named queries and a statement of one's own, with what they cost."""

from __future__ import annotations

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import wording
from dashboard.charts import draw_result, show
from dashboard.lake import Answer, estimate_price, named_queries, open_lake
from dashboard.page import MANY_ROWS, page
from dashboard.read_only import NotReadOnlyError, check_read_only

RESULT = "result of Ask Athena"
OWN = "your own statement"


def show_answer(answer: Answer, price_of_terabyte: float) -> None:
    """Its rows, cost, a chart and a file."""
    price = estimate_price(answer.scanned_bytes, price_of_terabyte)
    st.markdown(
        f"**{len(answer.rows):,} rows** · {wording.size(answer.scanned_bytes)} scanned · "
        f"{wording.seconds(answer.milliseconds)} · about {price:.6f} USD on AWS"
    )
    rows = answer.rows
    st.dataframe(rows.head(MANY_ROWS), hide_index=True)
    if len(rows) > MANY_ROWS:
        st.caption(f"The first {MANY_ROWS:,} rows; the file has all.")
    st.download_button("As CSV", rows.to_csv(index=False), "athena.csv", "text/csv", on_click="ignore")
    numbers = [str(column) for column in rows.columns if pd.api.types.is_numeric_dtype(rows[column])]
    if len(rows) > 1 and numbers:
        show_chart(rows.head(MANY_ROWS), numbers)


def show_chart(rows: pd.DataFrame, numbers: list[str]) -> None:
    """Numbers over a column of one's choice."""
    columns = [str(column) for column in rows.columns]
    others = [column for column in columns if column not in numbers]
    left, middle, right = st.columns(3)
    kind = left.selectbox("Chart", ("bar", "line"), key="chart")
    x = middle.selectbox("Over", columns, columns.index(others[0]) if others else 0, key="over")
    ys = right.multiselect("Numbers", numbers, numbers[:1], key="numbers")
    if x and ys and kind:
        show(draw_result(rows, x, ys, kind), f"{', '.join(ys)} over {x}", key="result")


with page("Ask Athena", "What else would you like to know? SELECT, SHOW, DESCRIBE and EXPLAIN; nothing is changed."):
    lake = open_lake()
    chosen = lake.settings.pipeline.dashboard
    named = named_queries()
    name = st.selectbox("Query", [OWN, *named], key="query", bind="query-params") or OWN
    if name in named:
        st.caption(named[name].description)
    start = named[name].sql if name in named else f"SHOW TABLES IN {lake.settings.paths.database}"
    with st.form("statement"):
        sql = st.text_area("SQL", start, height=220, key=f"sql of {name}")
        is_sent = st.form_submit_button("Run", type="primary")
    st.caption(f"Athena stops it when it has read {chosen.scan_limit_mb:,} MB.")
    if is_sent:
        st.session_state.pop(RESULT, None)
        try:
            statement = check_read_only(sql)
        except NotReadOnlyError as error:
            st.error(str(error))
        else:
            with st.spinner("Athena is asked …"):
                run = lake.query if statement.is_query else lake.describe
                st.session_state[RESULT] = run(statement.sql)
    if RESULT in st.session_state:
        show_answer(st.session_state[RESULT], chosen.usd_per_terabyte)
