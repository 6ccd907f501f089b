"""Headless Chromium and the dashboard's pages in it, for tests and benchmarks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
MISSING = "chromium is not installed (Debian: apt-get install chromium)"
# Path of a page -> its title.
PAGES = {
    "": "Overview", "segments": "Segments", "movement": "Movement", "funnel": "Funnel", "user": "User",
    "data_quality": "Data quality", "ask_athena": "Ask Athena",
}  # fmt: skip
MOST_BYTES = 200_000
SECONDS = 60
DESKTOP, PHONE = (1280, 900), (390, 844)
ANIMATION_MS = 700  # of the charts

expect.set_options(timeout=SECONDS * 1000)


@contextmanager
def start_chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root has no sandbox; a page of ours on this machine needs none.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@contextmanager
def open_window(browser: Browser, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Iterator[Page]:
    """A window with nothing in its cache. Raises AssertionError at its end where a script of the page failed."""
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


def wait_for_page(page: Page, title: str) -> None:
    """Until the script has run to its end: the line with the costs is the last of every page."""
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    expect(page.get_by_text("answers of Athena")).to_have_count(1)  # not that of the run before beside it
    expect(page.get_by_text("answers of Athena").last).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # where a chart or a table will be
    expect(page.get_by_test_id("stException")).to_have_count(0)


def take_picture(page: Page, name: str, folder: Path) -> Path:
    """A PNG of 256 colours, less than 200 KB, of what the window shows when nothing moves any more."""
    page.wait_for_timeout(ANIMATION_MS)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)
    assert file.stat().st_size < MOST_BYTES, f"{file} has {file.stat().st_size:,} bytes"
    return file
