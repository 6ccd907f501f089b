"""Rows of pipeline_runs for dates that no DAG has run: `python -m tests.benchmarks.record_runs DATE ...`."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

from airflow_dags import run_audit

# What record_run is told of a date that no DAG has landed.
LANDED: dict[str, Any] = {"too_late": 0, "start_offsets": {}, "end_offsets": {}, "forced": [], "gaps": []}
TRANSFORMED: dict[str, Any] = {"rebuilt_dates": [], "forced": [], "job_started_ms": None}

if __name__ == "__main__":
    for text in sys.argv[1:]:
        run_audit.record_run(dt.date.fromisoformat(text), "benchmark", LANDED, TRANSFORMED, [])
