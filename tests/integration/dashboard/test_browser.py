"""The dashboard in Chromium, served as by the stack: every page, its filters, a shared link, a phone, dark mode."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from config.loader import PROJECT_ROOT
from infra.local.layout import VENV
from tests.browser import (
    CHROMIUM,
    DESKTOP,
    MISSING,
    PAGES,
    PHONE,
    open_window,
    start_chromium,
    take_picture,
    wait_for_page,
)
from tests.integration.dashboard.small_lake import FIRST, LAST, MIDDLE
from tests.running_stack import RunningStack, inherited_variables

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_chromium() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_window(browser) as opened:
        yield opened


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_without_an_error(page: Page, url: str, path: str, tmp_path: Path) -> None:
    page.goto(f"{url}/{path}")
    wait_for_page(page, PAGES[path])
    if path != "data_quality":  # whose rows have a fault on purpose
        expect(page.get_by_test_id("stAlertContentError").filter(has_not_text="Look at Data quality")).to_have_count(0)
    take_picture(page, path or "overview", tmp_path)


def test_a_filter_goes_into_the_link_and_a_shared_link_shows_the_same(browser: Browser, page: Page, url: str) -> None:
    page.goto(url)
    wait_for_page(page, "Overview")
    before = page.get_by_test_id("stMetricValue").all_inner_texts()
    page.get_by_test_id("stSidebar").get_by_test_id("stSelectbox").locator("input").click()
    page.get_by_role("option", name="mobile").click()
    page.wait_for_url("**device=mobile**")
    page.get_by_text("Link with these dates").click()
    link = f"{url}?dates={FIRST}&dates={LAST}&device=mobile"
    expect(page.get_by_test_id("stSidebar").get_by_role("link", name=link)).to_have_attribute("href", link)
    expect(page.get_by_test_id("stMetricValue")).not_to_have_text(before)
    wait_for_page(page, "Overview")
    chosen = page.get_by_test_id("stMetricValue").all_inner_texts()
    with open_window(browser) as other:
        other.goto(page.url)
        wait_for_page(other, "Overview")
        expect(other.get_by_test_id("stMetricValue")).to_have_text(chosen)
        # The filter goes along to the next page.
        other.get_by_test_id("stSidebarNav").get_by_text("Funnel").click()
        wait_for_page(other, "Funnel")
        other.wait_for_url("**/funnel?device=mobile**")
        abandonment = other.get_by_test_id("stMetricValue").all_inner_texts()
        other.get_by_test_id("stSidebar").get_by_test_id("stMultiSelect").locator("input").click()
        other.get_by_role("option", name="loyal buyers").click()
        other.wait_for_url("**segment=loyal**")
        expect(other.get_by_test_id("stMetricValue")).not_to_have_text(abandonment)


def test_the_pages_are_served_as_the_readme_says(lake: RunningStack, page: Page) -> None:
    command = (VENV / "bin" / "streamlit", "run", "dashboard/streamlit_app.py")
    environment = {**inherited_variables(), **lake.environment, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        page.goto(f"{address}/segments")
        wait_for_page(page, "Segments")
    finally:
        server.terminate()
        server.wait()


def test_the_dashboard_of_the_stack_shows_its_own_lake(stack: RunningStack, page: Page) -> None:
    page.goto(f"http://{stack.layout.stack.bind_host}:{stack.layout.stack.ports.dashboard}")
    wait_for_page(page, "Overview")


def test_pages_fit_a_phone(browser: Browser, url: str) -> None:
    with open_window(browser, PHONE) as phone:
        for path, title in [*PAGES.items(), ("user?user=anna", "User")]:
            phone.goto(f"{url}/{path}")
            wait_for_page(phone, title)
            # What is wider than the window would be cut off, or scroll sideways, in the part that holds the page.
            wider = phone.evaluate(
                "[...document.querySelectorAll('[data-testid=stMain], [data-testid=stMain] .js-plotly-plot')]"
                ".filter(found => found.scrollWidth > found.clientWidth).map(found => found.className)"
            )
            assert wider == [], title


def test_dark_mode_is_dark(browser: Browser, url: str, tmp_path: Path) -> None:
    with open_window(browser, DESKTOP, "dark") as dark:
        dark.goto(url)
        wait_for_page(dark, "Overview")
        with Image.open(take_picture(dark, "overview_dark", tmp_path)) as picture:
            grey = picture.convert("L")
            pixels = grey.width * grey.height
            assert sum(grey.histogram()[:80]) > 0.6 * pixels


def test_the_editor_shows_rows_and_what_they_cost(page: Page, url: str) -> None:
    page.goto(f"{url}/ask_athena?query=runs")
    wait_for_page(page, "Ask Athena")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("scanned ·")).to_be_visible()
    wait_for_page(page, "Ask Athena")
    lines = download(page, "As CSV").splitlines()
    assert lines[0].startswith("event_date,")
    assert [line.partition(",")[0] for line in lines[1:]] == [str(FIRST), str(MIDDLE), str(LAST)]


def test_a_file_has_the_users_under_the_names_of_the_columns(page: Page, url: str) -> None:
    page.goto(f"{url}/movement")
    wait_for_page(page, "Movement")
    header, *users = download(page, "2 users as CSV").splitlines()
    assert header == "user_id,now_in,segment_since,revenue_before,days_since_last_event_before"
    assert users == [f"anna,leaving <soon>,{LAST},120.0,1.0", "emil,,,90.0,1.0"]


def download(page: Page, name: str) -> str:
    with page.expect_download() as coming:
        page.get_by_role("button", name=name, exact=True).click()
    return coming.value.path().read_text(encoding="utf-8")
