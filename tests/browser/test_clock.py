"""The demo page in a real Chromium."""
import re

import pytest

from tests.peers import CHROMIUM_ARGUMENTS, chromium
from tests.programs import demo

pytestmark = pytest.mark.browser

TICK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
TIMEOUT = 20_000


@pytest.fixture
def page():
    """A page whose console must stay empty."""
    from playwright.sync_api import sync_playwright
    path, said = chromium(), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 360, "height": 640})
        page.set_default_timeout(TIMEOUT)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        browser.close()
    assert said == []


def state(page, wanted):
    page.wait_for_function("wanted => document.body.dataset.state === wanted", arg=wanted)


def test_shows_the_time_arriving_and_reconnects_on_a_click(page):
    with demo("--interval", "0.2") as process:
        page.goto(f"http://127.0.0.1:{process.port}/?Id=caf%C3%A9")
        state(page, "open")
        assert page.input_value("#id") == "café"
        page.wait_for_function("document.querySelectorAll('#log li').length >= 3")
        lines = page.locator("#log li").all_inner_texts()
        assert all(TICK.fullmatch(line) for line in lines)
        assert lines == sorted(lines, reverse=True)
        page.click("#toggle")
        state(page, "closed")
        page.fill("#id", "<b>'\"")
        page.click("#toggle")
        state(page, "open")
        assert page.locator("b").count() == 0
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360


def test_says_that_the_server_is_shutting_down(page):
    with demo("--interval", "0.2") as process:
        page.goto(f"http://127.0.0.1:{process.port}/")
        state(page, "open")
        process.terminate()
        state(page, "closed")
        assert "1001 shutting down" in page.inner_text("#late")
