"""`python -m dashboard.serve run dashboard/streamlit_app.py`: Streamlit with what the pages import in memory already.

`streamlit run` imports it for the first who opens a page, who then waits two seconds longer.
"""

from __future__ import annotations

import sys

import pyiceberg.table
import sklearn.decomposition  # type: ignore[import-untyped]
import sklearn.preprocessing  # type: ignore[import-untyped]
from streamlit.web.cli import main

from dashboard import charts, filters, lake, read_only, reconciliation, sessions
from spark_jobs import segment_charts

PRELOADED = (charts, filters, lake, read_only, reconciliation, segment_charts, sessions, pyiceberg.table, sklearn)

if __name__ == "__main__":
    sys.exit(main(prog_name="streamlit"))
