"""The clock in a real Chromium."""
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo

pytestmark = pytest.mark.browser

TICK = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")


def chart_points(page):
    """Return how many values the chart shows."""
    points = page.locator("#chart polyline").first.get_attribute("points")
    return len(points.split(" "))


def test_shows_the_time_arriving_under_the_id_of_the_url(page, site):
    page.goto(site.url("/?Id=caf%C3%A9"))
    wait_for_state(page)
    expect(page.locator("#id")).to_have_value("café")
    expect(page.locator("#time")).to_have_text(TICK)
    page.click("details:has(#log) summary")
    expect(page.locator("#log li").nth(2)).to_be_visible()
    lines = page.locator("#log li").all_inner_texts()
    assert all(TICK.fullmatch(line) for line in lines)
    assert lines == sorted(lines, reverse=True)


def test_shows_how_late_each_tick_is_as_text_and_as_a_chart(page, site):
    page.goto(site.url())
    expect(page.locator("#late")).to_have_text(re.compile(r"^arrived \d+\.\d ms late$"))
    expect(page.get_by_role("img", name=re.compile(r"^Lateness in ms: now \d"))).to_be_visible()
    expect(page.locator("#log li").nth(3)).to_have_text(TICK)
    assert chart_points(page) >= 4


def test_connects_and_disconnects(page, site):
    page.goto(site.url())
    wait_for_state(page)
    page.get_by_role("button", name="Disconnect").click()
    wait_for_state(page, "closed")
    expect(page.locator("#state")).to_have_text("closed")
    page.fill("#id", "<b>'\"")
    page.get_by_role("button", name="Connect").click()
    wait_for_state(page)
    expect(page.locator("#state")).to_have_text("connected")
    assert page.locator("b").count() == 0
    assert page.input_value("#id") == "<b>'\""
    assert r"""--id '<b>'\''"'""" in page.inner_text("#python")


def test_remembers_the_id(page, site):
    page.goto(site.url("/?Id=Ada"))
    wait_for_state(page)
    page.goto(site.url())
    expect(page.locator("#id")).to_have_value("Ada")


def test_is_worked_by_keyboard_alone(page, site):
    page.goto(site.url())
    wait_for_state(page)

    def press_until(key, element):
        for _ in range(30):
            page.keyboard.press(key)
            if page.evaluate("document.activeElement.id") == element:
                style = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(style) != "none", "the focus cannot be seen"
                return
        pytest.fail(f"{key} does not lead to {element}")

    press_until("Tab", "toggle")
    page.keyboard.press("Enter")
    wait_for_state(page, "closed")
    press_until("Shift+Tab", "id")
    page.keyboard.press("Control+A")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    wait_for_state(page)
    assert page.url.endswith("?Id=keys")


def test_counts_who_is_connected(window, site):
    one, other = window(), window()
    one.goto(site.url())
    expect(one.locator("#connected")).to_have_text("1")
    other.goto(site.url())
    for page in (one, other):
        expect(page.locator("#connected")).to_have_text("2")
    other.click("#toggle")
    expect(one.locator("#connected")).to_have_text("1")
    expect(other.locator("#connected")).to_have_text("\u2013")


def test_recovers_by_itself_when_the_server_was_killed_and_comes_back(page, console):
    console.expect("WebSocket connection to 'ws://127.0.0.1:")
    with demo("--interval", "0.2") as process:
        page.goto(f"http://127.0.0.1:{process.port}/?Id=42")
        expect(page.locator("#time")).to_have_text(TICK)
        process.kill()
        wait_for_state(page, "waiting")
        expect(page.locator("#again")).to_have_text(re.compile(r"^retry in \d+ s$"))
    last = page.inner_text("#time")
    with demo("--interval", "0.2", port=process.port):
        wait_for_state(page)
        expect(page.locator("#time")).not_to_have_text(last)
        expect(page.locator("#again")).to_have_text("")


def test_comes_back_after_an_orderly_restart(page, console):
    console.expect("WebSocket connection to 'ws://127.0.0.1:")
    with demo("--interval", "0.2") as process:
        page.goto(f"http://127.0.0.1:{process.port}/")
        wait_for_state(page)
        process.terminate()
        wait_for_state(page, "waiting")
        process.wait()
    with demo("--interval", "0.2", port=process.port):
        wait_for_state(page)


def test_waiting_can_be_ended_by_a_click(page, console):
    console.expect("WebSocket connection to 'ws://127.0.0.1:")
    with demo() as process:
        page.goto(f"http://127.0.0.1:{process.port}/")
        wait_for_state(page)
        process.kill()
        wait_for_state(page, "waiting")
        page.get_by_role("button", name="Disconnect").click()
        wait_for_state(page, "closed")
