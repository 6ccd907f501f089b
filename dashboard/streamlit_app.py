"""The dashboard: `streamlit run dashboard/streamlit_app.py`, or `make dashboard`."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

# `streamlit run` puts the folder of this file on the path, not the project's.
if (root := str(Path(__file__).resolve().parent.parent)) not in sys.path:
    sys.path.insert(0, root)

from dashboard.filters import show_filters
from dashboard.questions import FORESEEN
from dashboard.warm_up import start_warming

# A folder "pages" would be a menu of its own to Streamlit, until somebody has opened this one.
PAGES = Path(__file__).parent / "app_pages"
ALL, DATES = ("dates", "segment", "device"), ("dates",)

st.set_page_config("Clickstream lakehouse", page_icon=":material/water:", layout="wide")
FILTERS = {
    st.Page(PAGES / "overview.py", title="Overview", icon=":material/monitoring:", default=True): ALL,
    st.Page(PAGES / "segments.py", title="Segments", icon=":material/groups:"): ("dates", "segment"),
    st.Page(PAGES / "movement.py", title="Movement", icon=":material/alt_route:"): DATES,
    st.Page(PAGES / "funnel.py", title="Funnel", icon=":material/filter_alt:"): ALL,
    st.Page(PAGES / "user.py", title="User", icon=":material/person_search:"): DATES,
    st.Page(PAGES / "data_quality.py", title="Data quality", icon=":material/fact_check:"): DATES,
    st.Page(PAGES / "ask_athena.py", title="Ask Athena", icon=":material/database:"): (),
}
page = st.navigation(list(FILTERS))
st.title(page.title, anchor=False)  # before anything is asked
show_filters(FILTERS[page], FORESEEN[page.title])
page.run()
start_warming()
