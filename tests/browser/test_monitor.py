"""The monitor in a real Chromium."""
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo, get

pytestmark = pytest.mark.browser

CHARTS = {"CPU": r"now \d+ %", "Memory": r"now \d+ %", "Network": r"now [\d.]+ \w+, [\d.]+ \w+",
          "Connections": r"now \d+, \d+"}


def test_shows_what_is_measured_as_text_and_as_charts(page, site):
    page.goto(site.url("/monitor/"))
    for name, words in CHARTS.items():
        chart = page.get_by_role("img", name=re.compile(f"^{name}: {words}$"))
        expect(chart).to_be_visible()
        expect(chart.locator("polyline").first).to_be_attached()
    expect(page.get_by_role("region", name="CPU").locator(".note").first) \
        .to_have_text(re.compile(r"^\d+ % of \d+ cores$"))


def test_a_chart_is_as_wide_as_its_place_and_sharp(page, site):
    page.goto(site.url("/monitor/"))
    expect(page.locator("svg polyline").first).to_be_attached()
    width, box = page.evaluate("(() => { const svg = document.querySelector('svg.chart'); "
                               "return [svg.clientWidth, svg.viewBox.baseVal.width]; })()")
    assert abs(width - box) < 1     # one unit of the drawing is one pixel of the page


def test_shows_the_log_as_it_is_written_and_as_text(page, site):
    get(site.url("/before"))
    page.goto(site.url("/monitor/"))
    expect(page.locator("#log")).to_contain_text('"GET /before HTTP/1.1" 404')
    get(site.url("/after?<b>bold</b>&\"'"))
    expect(page.locator("#log")).to_contain_text("<b>bold</b>")
    assert page.locator("#log b").count() == 0


def test_recovers_with_a_fresh_log(page, console):
    console.expect("WebSocket connection to 'ws://127.0.0.1:")
    with demo() as process:
        page.goto(f"http://127.0.0.1:{process.port}/monitor/")
        expect(page.locator("#log")).to_contain_text("GET /monitor/ HTTP")
        process.kill()
        wait_for_state(page, "waiting")
    with demo(port=process.port):
        wait_for_state(page)
        expect(page.locator("#log")).not_to_contain_text("GET /monitor/ HTTP")
        expect(page.locator("#log")).to_contain_text("GET /monitor/socket")


def test_without_psutil_it_says_what_to_install(page):
    with demo(without="psutil") as process:
        page.goto(f"http://127.0.0.1:{process.port}/monitor/")
        expect(page.locator("#install")).to_contain_text("python -m pip install psutil")
        expect(page.locator("#charts")).to_be_hidden()
        expect(page.locator("#log")).to_contain_text("GET /monitor/ HTTP")
