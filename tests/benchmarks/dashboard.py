"""How long the dashboard's pages take on 30 dates of 100,000 events: `make bench-dashboard`, on the stack.

The dates are loaded once, each stage over all of them; what lies in the lake already is not made again. Then headless
Chromium opens the first page by its link, once as a browser that was never here and once as one that has Streamlit's
scripts, and goes to the others by the menu: when a new process of the dashboard has warmed up; with other dates,
within those; with these once more. Printed are seconds from the link, or the click, until the page's heading stands
and until its last line does, and how many statements Athena executed for it. With --pictures, each page is
photographed.
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

from playwright.sync_api import Browser, Page, expect
from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.table import Table

from config.catalog import open_catalog
from infra.local.athena.query_command import open_athena
from infra.local.environment import service_environment
from infra.local.layout import Layout, open_layout
from tests.benchmarks.measurement import StageError, measure
from tests.benchmarks.run import submit
from tests.browser import CHROMIUM, MISSING, PAGES, open_window, start_chromium, take_picture, wait_for_page
from tests.running_stack import RunningStack

FIRST_DATE = dt.date(2025, 5, 1)
DAY = dt.timedelta(days=1)
REST_SECONDS = 10

console = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Visit:
    """Seconds until the heading stands, until everything does; statements that Athena executed meanwhile."""

    heading: float
    whole: float
    statements: int


def load(layout: Layout, dates: Sequence[dt.date], events: int) -> None:
    """Every date of them that has no run, through Kafka and the three jobs, and its row of pipeline_runs."""
    existing = count_landed(layout)
    missing = [date for date in dates if date not in existing]
    if others := sorted(date for date in dates if existing.get(date, events) < events):
        raise StageError(f"{others[0]} has fewer than {events:,} events: `make clean`, or choose another --first-date")
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
    run_stage(layout, "record", "python", "-m", "tests.benchmarks.record_runs", *map(str, missing))


def count_landed(layout: Layout) -> dict[dt.date, int]:
    """Landed records of each date that has a run."""
    database, tables = layout.settings.paths.database, layout.settings.paths.tables
    try:
        runs = open_catalog(layout.settings).load_table((database, tables.pipeline_runs))
    except NoSuchTableError:
        return {}
    rows = runs.scan(selected_fields=("event_date", "landed")).to_arrow().to_pylist()
    return {row["event_date"]: row["landed"] for row in rows}


def find_busy_user(layout: Layout, date: dt.date) -> str:
    """Of those with 40 to 60 events in 30 days the one who bought most often."""
    paths = layout.settings.paths
    rows = open_catalog(layout.settings).load_table((paths.database, paths.tables.user_features)).scan(
        f"snapshot_date = '{date}' AND events_sum_30d >= 40 AND events_sum_30d <= 60",
        selected_fields=("user_id", "purchases_sum_30d"),
    )  # fmt: skip
    users = rows.to_arrow().to_pylist()
    return str(max(users, key=lambda row: (row["purchases_sum_30d"], row["user_id"]))["user_id"])


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

    def wait_for_rest(self, before: int) -> int:
        """Until there are more than before, and no more for a while; how many more."""
        last = self.count()
        changed = time.monotonic()
        while last == before or time.monotonic() - changed < REST_SECONDS:
            time.sleep(0.5)
            if (now := self.count()) != last:
                last, changed = now, time.monotonic()
        return last - before


def visit(page: Page, statements: Statements, url: str, path: str) -> Visit:
    """The first page by its address, another one by a click; the dates of the link go along."""
    before, started = statements.count(), time.monotonic()
    if page.url == "about:blank":
        page.goto(url)
    else:
        page.get_by_test_id("stSidebarNav").get_by_text(PAGES[path], exact=True).click()
    expect(page.get_by_role("heading", name=PAGES[path], exact=True).first).to_be_visible()
    heading = time.monotonic() - started
    wait_for_page(page, PAGES[path])
    return Visit(heading, time.monotonic() - started, statements.count() - before)


def visit_all(browser: Browser, layout: Layout, known: str, url: str) -> dict[str, Visit]:
    """By title: the first page of a `known` link in a browser that was never here, then all pages in their order."""
    statements = Statements(layout)
    with open_window(browser) as page:
        visits = {f"{PAGES['']}, a new browser": visit(page, statements, known, "")}
        page.goto("about:blank")
        return visits | {title: visit(page, statements, url, path) for path, title in PAGES.items()}


def print_visits(name: str, visits: dict[str, Visit]) -> None:
    table = Table("page", title=name, title_justify="left")
    for header in ("to the heading (s)", "to the last line (s)", "statements"):
        table.add_column(header, justify="right")
    for title, found in visits.items():
        table.add_row(title, f"{found.heading:.2f}", f"{found.whole:.2f}", str(found.statements))
    console.print(table)


def take_pictures(browser: Browser, url: str, user: str, folder: Path) -> None:
    """Of each page, that of a user of `user`, the editor's with a result, and of the first one in the dark."""
    for scheme, paths in (("light", list(PAGES)), ("dark", [""])):
        for path in paths:
            with open_window(browser, scheme=scheme) as page:
                page.goto(f"{url.replace('/?', f'/{path}?')}&user={user}&query=runs")
                wait_for_page(page, PAGES[path])
                if path == "ask_athena":
                    page.get_by_role("button", name="Run").click()
                    expect(page.get_by_text("scanned ·")).to_be_visible()
                    wait_for_page(page, PAGES[path])
                take_picture(page, f"{path or 'overview'}{'_dark' if scheme == 'dark' else ''}", folder)


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
    dates = [args.first_date + number * DAY for number in range(args.days)]
    try:
        load(layout, dates, args.events)
    except StageError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    page = f"http://{layout.stack.bind_host}:{layout.stack.ports.dashboard}/?dates="
    url, others = f"{page}{dates[0]}&dates={dates[-1]}", f"{page}{dates[1]}&dates={dates[-2]}"
    with start_chromium() as browser:
        statements = Statements(layout)
        before = statements.count()
        RunningStack(layout=layout, environment={}).kill_and_wait("dashboard")  # no answer is kept any more
        console.print(f"warmed up with {statements.wait_for_rest(before)} statements")
        print_visits("after the warm-up", visit_all(browser, layout, url, url))
        print_visits("other dates, for the first time", visit_all(browser, layout, url, others))
        print_visits("the same once more", visit_all(browser, layout, url, others))
        if args.pictures:
            take_pictures(browser, url, find_busy_user(layout, dates[-1]), args.pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
