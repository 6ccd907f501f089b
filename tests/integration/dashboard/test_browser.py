"""The dashboard in headless Chromium, as the stack serves it: every page, its filters, a shared link, phone and dark.

With DASHBOARD_URL=http://127.0.0.1:8501 it looks at a dashboard that runs already, and with
DASHBOARD_PICTURES=docs/pictures it takes the pictures of the README.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.running_stack import RunningStack

CHROMIUM = shutil.which("chromium")
PICTURES = os.environ.get("DASHBOARD_PICTURES")
PAGES = {
    "": "Overview", "segments": "Segments", "movement": "Movement", "funnel": "Funnel", "user": "User",
    "data_quality": "Data quality", "ask_athena": "Ask Athena",
}  # fmt: skip
MOST_BYTES = 200_000
SECONDS = 60
DESKTOP, PHONE = (1280, 900), (390, 844)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> str:
    """Of the dashboard that DASHBOARD_URL names, or of the stack of these tests."""
    if given := os.environ.get("DASHBOARD_URL"):
        return given
    lake: RunningStack = request.getfixturevalue("lake")
    return f"http://{lake.layout.stack.bind_host}:{lake.layout.stack.ports.dashboard}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root has no sandbox; a page of ours on this machine needs none.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_window(browser) as opened:
        yield opened


@contextmanager
def open_window(browser: Browser, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Iterator[Page]:
    """A window whose errors fail the test."""
    errors: list[str] = []
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(SECONDS * 1000)
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield opened
    finally:
        context.close()
    assert not errors


expect.set_options(timeout=SECONDS * 1000)


def wait_for_page(page: Page, title: str) -> None:
    """Until the script has run to its end: the line with the costs is the last of every page."""
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    expect(page.get_by_text("answers of Athena")).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def take_picture(page: Page, name: str, folder: Path) -> Path:
    """A PNG of 256 colours, less than 200 KB."""
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < MOST_BYTES
    return file


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_without_an_error(page: Page, url: str, path: str, tmp_path: Path) -> None:
    started = time.monotonic()
    page.goto(f"{url}/{path}")
    wait_for_page(page, PAGES[path])
    print(f"{PAGES[path]}: {time.monotonic() - started:.2f} s")
    if path != "data_quality":  # whose rows have a fault on purpose
        expect(page.get_by_test_id("stAlertContentError").filter(has_not_text="Look at Data quality")).to_have_count(0)
    page.wait_for_timeout(700)  # the charts' animation
    folder = Path(PICTURES) if PICTURES else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    take_picture(page, path or "overview", folder)


def test_a_filter_goes_into_the_link_and_a_shared_link_shows_the_same(browser: Browser, page: Page, url: str) -> None:
    page.goto(url)
    wait_for_page(page, "Overview")
    before = page.get_by_test_id("stMetricValue").all_inner_texts()
    page.get_by_test_id("stSidebar").get_by_test_id("stSelectbox").locator("input").click()
    page.get_by_role("option", name="mobile").click()
    page.wait_for_url("**device=mobile**")
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


def test_pages_fit_a_phone(browser: Browser, url: str) -> None:
    with open_window(browser, PHONE) as phone:
        for path, title in PAGES.items():
            phone.goto(f"{url}/{path}")
            wait_for_page(phone, title)
            assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE[0], title


def test_dark_mode_is_dark(browser: Browser, url: str, tmp_path: Path) -> None:
    with open_window(browser, DESKTOP, "dark") as dark:
        dark.goto(url)
        wait_for_page(dark, "Overview")
        dark.wait_for_timeout(700)
        folder = Path(PICTURES) if PICTURES else tmp_path
        with Image.open(take_picture(dark, "overview_dark", folder)) as picture:
            grey = picture.convert("L")
            pixels = grey.width * grey.height
            assert sum(grey.histogram()[:80]) > 0.6 * pixels


def test_the_editor_shows_rows_and_what_they_cost(page: Page, url: str) -> None:
    page.goto(f"{url}/ask_athena?query=runs")
    wait_for_page(page, "Ask Athena")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("scanned ·")).to_be_visible()
    expect(page.get_by_role("button", name="As CSV", exact=True)).to_be_visible()
