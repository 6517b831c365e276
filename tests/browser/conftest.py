"""A real browser, headless: `make browser`. These tests stand aside from `make test`, which needs none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCREENSHOTS = ROOT / "_build" / "screenshots"  # to be looked at
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Playwright's browser object, driving the Chromium that is installed on this machine."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: `make browser` installs it"
    )
    program = os.environ.get("LLM_COURSE_BROWSER") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if program is None:
        reason = (
            "no Chromium here: `apt-get install chromium`, or set LLM_COURSE_BROWSER to the program"
        )
        if os.environ.get("CI"):  # a check that nobody runs would go unnoticed
            pytest.fail(reason)
        pytest.skip(reason)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=program,
            args=["--no-sandbox"] if is_root else [],  # its sandbox refuses root
        )
        yield started
        started.close()


@pytest.fixture
def asked_away() -> list[str]:
    """Return the addresses on other machines that the page has asked for."""
    return []


@pytest.fixture
def page(browser, asked_away) -> Iterator:
    """One page in a context of its own (no cookies, no cache), 1280 by 720 pixels.

    What it asks of another machine than this one is blocked, and fails the test at its end.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 720})

    def only_here(route) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1", "http://localhost", "file:", "data:", "blob:")):
            route.continue_()
        else:
            asked_away.append(url)
            route.abort()

    context.route("**/*", only_here)
    yield context.new_page()
    context.close()
    assert not asked_away, f"asked another machine: {asked_away}"
