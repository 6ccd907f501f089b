"""`python -m dashboard.serve run dashboard/streamlit_app.py`: Streamlit, ready before anybody opens a page.

What the pages import is in memory, and what they show first is on its way: `streamlit run` does both for the first who
opens a page.
"""

from __future__ import annotations

import gc
import sys
import threading
import time

import pyiceberg.table
import sklearn.decomposition  # type: ignore[import-untyped]
import sklearn.preprocessing  # type: ignore[import-untyped]
import streamlit.runtime
from streamlit.web.cli import main

from dashboard import answers, charts, filters, read_only, reconciliation, sessions, warm_up
from spark_jobs import segment_charts

PRELOADED = (charts, filters, read_only, reconciliation, segment_charts, sessions, pyiceberg.table, sklearn)


def warm_when_running() -> None:
    """Answers are kept by the runtime, which there is a moment after the start of the server."""
    while not streamlit.runtime.exists():
        time.sleep(0.1)
    warm_up.start_warming()


if __name__ == "__main__":
    gc.freeze()  # Streamlit collects garbage after every run of a page: what was imported is none
    threading.Thread(target=warm_when_running, daemon=True).start()
    try:
        sys.exit(main(prog_name="streamlit"))
    finally:
        for pool in (answers.AT_ONCE, warm_up.POOL):
            pool.shutdown(wait=False, cancel_futures=True)  # no statement is begun that nobody will read
