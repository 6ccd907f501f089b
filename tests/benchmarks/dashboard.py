"""How long the dashboard's pages take on 30 dates of 100,000 events: `make bench-dashboard`, on the stack.

The dates are loaded once, each stage over all of them; what lies in the lake already is not made again. Then headless
Chromium opens every page: with no answer kept (the dashboard's process is new), and again. Printed are seconds from the
click, or the address, until the page's heading stands and until its last line does, and how many statements Athena
executed for it. With --pictures, each page is photographed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect
from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.table import Table

from airflow_dags import run_audit
from infra.local.athena.query_command import open_athena
from infra.local.environment import service_environment
from infra.local.layout import Layout, open_layout
from tests.benchmarks.measurement import StageError, measure
from tests.benchmarks.run import submit
from tests.browser import CHROMIUM, MISSING, PAGES, open_window, start_chromium, take_picture, wait_for_page
from tests.running_stack import RunningStack

FIRST_DATE = dt.date(2025, 5, 1)
DAY = dt.timedelta(days=1)
# What record_run is told of a date that no DAG has landed.
LANDED: dict[str, Any] = {"too_late": 0, "start_offsets": {}, "end_offsets": {}, "forced": [], "gaps": []}
TRANSFORMED: dict[str, Any] = {"rebuilt_dates": [], "forced": [], "job_started_ms": None}

console = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Visit:
    """Seconds until the heading stands, until everything does; statements that Athena executed meanwhile."""

    heading: float
    whole: float
    statements: int


def load(layout: Layout, dates: Sequence[dt.date], events: int) -> None:
    """Every date of them that has no run, through Kafka and the three jobs, and its row of pipeline_runs."""
    try:
        existing = run_audit.Audit().partition_rows("pipeline_runs")
    except NoSuchTableError:
        existing = {}
    missing = [date for date in dates if date not in existing]
    if not missing:
        return
    first, last = str(missing[0]), str(missing[-1])
    for date in missing:
        run_stage(
            layout, f"generate {date}",
            "python", "data_generator/event_producer.py", "--date", str(date), "--events", str(events),
        )  # fmt: skip
    run_stage(layout, "land", *submit(layout, "land_raw_events", "--run-date", last))
    for job in ("transform_clickstream", "user_segmentation_ml"):
        run_stage(layout, job, *submit(layout, job, "--start-date", first, "--end-date", last))
    for date in missing:
        run_audit.record_run(date, "benchmark", LANDED, TRANSFORMED, [])


def run_stage(layout: Layout, stage: str, *command: str) -> None:
    done = measure(stage.replace(" ", "-"), command, service_environment(layout, os.environ), layout.logs)
    console.print(f"{stage}: {done.seconds:.1f} s")


class Statements:
    """Counts what the dashboard's work group executes."""

    def __init__(self, layout: Layout) -> None:
        self._athena = open_athena(layout.settings)
        self._group = layout.settings.pipeline.dashboard.work_group

    def count(self) -> int:
        pages = self._athena.get_paginator("list_query_executions").paginate(WorkGroup=self._group)
        return sum(len(page["QueryExecutionIds"]) for page in pages)


def visit(page: Page, statements: Statements, url: str, path: str) -> Visit:
    """The first page by its address, another one by a click."""
    before, started = statements.count(), time.monotonic()
    if page.url == "about:blank":
        page.goto(f"{url}/{path}")
    else:
        page.get_by_test_id("stSidebarNav").get_by_text(PAGES[path], exact=True).click()
    expect(page.get_by_role("heading", name=PAGES[path], exact=True).first).to_be_visible()
    heading = time.monotonic() - started
    wait_for_page(page, PAGES[path])
    return Visit(heading, time.monotonic() - started, statements.count() - before)


def visit_all(browser: Browser, layout: Layout, url: str, pictures: Path | None) -> dict[str, Visit]:
    """All pages in one new window, in the order of the menu."""
    statements = Statements(layout)
    visits = {}
    with open_window(browser) as page:
        for path in PAGES:
            visits[path] = visit(page, statements, url, path)
            if pictures:
                take_picture(page, path or "overview", pictures)
    return visits


def print_visits(rounds: dict[str, dict[str, Visit]]) -> None:
    table = Table("page", title="seconds to the heading / to the last line (statements)", title_justify="left")
    for name in rounds:
        table.add_column(name, justify="right")
    for path, title in PAGES.items():
        visits = [visits[path] for visits in rounds.values()]
        table.add_row(title, *[f"{v.heading:.2f} / {v.whole:.2f} ({v.statements})" for v in visits])
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dashboard", description=__doc__)
    parser.add_argument("--first-date", type=dt.date.fromisoformat, default=FIRST_DATE)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=100_000, help="of a date")
    parser.add_argument("--pictures", type=Path, help="folder for a PNG of each page")
    args = parser.parse_args(argv)
    if CHROMIUM is None:
        print(f"dashboard: {MISSING}", file=sys.stderr)
        return 1
    layout = open_layout()
    try:
        load(layout, [args.first_date + number * DAY for number in range(args.days)], args.events)
    except StageError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    url = f"http://{layout.stack.bind_host}:{layout.stack.ports.dashboard}"
    stack = RunningStack(layout=layout, environment={})
    with start_chromium() as browser:
        rounds = {}
        for name in ("new process", "new process, warm Athena"):
            stack.kill_and_wait("dashboard")  # no answer is kept any more
            rounds[name] = visit_all(browser, layout, url, None)
        rounds["second view"] = visit_all(browser, layout, url, args.pictures)
    print_visits(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
