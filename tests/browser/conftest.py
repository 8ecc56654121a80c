"""What the browser tests share: Chromium, windows whose consoles must stay empty, a demo site.

The pages forbid ``eval``, which ``page.wait_for_function`` needs: wait with ``expect`` instead.
"""
from __future__ import annotations

import re

import pytest

from tests.support.installed import CHROMIUM_ARGUMENTS, chromium
from tests.support.programs import demo

PHONE = {"width": 360, "height": 740}
TIMEOUT = 20_000
"""Milliseconds."""

LEFT_EARLY = "WebSocket is closed before the connection is established"
"""What Chromium says when a test leaves a page that is still connecting."""

ICON_CUT_OFF = r"Failed to load resource: net::ERR_\w+ \S+/browser/icon\.svg"
"""What it says when a test ends the site early: it loads a page's icon when all else is there."""


class Console:
    """What the pages of a test have written to their consoles, but for what is expected."""

    def __init__(self):
        self.said = []
        self._expected = [re.compile(LEFT_EARLY), re.compile(ICON_CUT_OFF)]

    def expect(self, pattern):
        """Allow, from now on, what a regular expression finds: a lost connection is an error."""
        self._expected.append(re.compile(pattern))

    def hear(self, page):
        """Listen to one page."""
        page.on("console", lambda message: self._hear(f"{message.text} {message.location['url']}"))
        page.on("pageerror", lambda error: self._hear(str(error)))

    def _hear(self, text):
        if not any(pattern.search(text) for pattern in self._expected):
            self.said.append(text)


@pytest.fixture
def console():
    """The consoles of the test's windows; the test fails if anything is written to them."""
    console = Console()
    yield console
    assert console.said == []


@pytest.fixture(scope="module")
def browser():
    """A Chromium."""
    from playwright.sync_api import expect, sync_playwright
    expect.set_options(timeout=TIMEOUT)
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def window(browser, console):
    """A function that opens a window of another person: with cookies and memory of its own."""
    contexts = []

    def open_window(**options):
        context = browser.new_context(**{"viewport": PHONE, **options})
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        console.hear(page)
        return page

    yield open_window
    for context in contexts:
        context.close()


@pytest.fixture
def page(window):
    """One window, of a phone's size."""
    return window()


class Site:
    """Where a demo site is."""

    def __init__(self, port):
        self.port = port

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture(scope="module")
def site():
    """A demo site that the tests of a module share; whoever ends it has to start its own."""
    with demo("--interval", "0.2") as process:
        yield Site(process.port)


def wait_for_state(page, state="open"):
    """Wait until the page's connection is in a state."""
    page.wait_for_selector(f"body[data-state={state}]")
