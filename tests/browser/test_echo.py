"""The echo in a real Chromium."""
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo

pytestmark = pytest.mark.browser


def test_what_is_sent_comes_back_as_text(page, site):
    page.goto(site.url("/echo"))
    wait_for_state(page)
    for text in ("hello", "<img src=x onerror=alert(1)>", "it's \"quoted\" \U0001f600"):
        page.get_by_label("Message").fill(text)
        page.keyboard.press("Enter")
        back = page.locator("#log .received .what").last
        expect(back).to_have_text(text)
    assert page.locator("#log img").count() == 0
    expect(page.locator("#log .received").last).to_contain_text(re.compile(r"after \d+\.\d ms"))


def test_bytes_come_back_as_bytes(page, site):
    page.goto(site.url("/echo"))
    wait_for_state(page)
    page.get_by_label("Message").fill("café")
    page.get_by_label("as bytes").check()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#log .received")).to_contain_text("back (5 bytes) café")


def test_both_headers_of_the_handshake_are_shown(page, site):
    page.goto(site.url("/echo?Id=a%20%3Cb%3E"))
    expect(page.locator("#request")).to_contain_text("Upgrade: websocket")
    asked, answered = page.inner_text("#request"), page.inner_text("#response")
    assert asked.startswith("GET /echo?") and "Sec-Websocket-Key: " in asked
    assert f"Origin: http://127.0.0.1:{site.port}" in asked
    assert answered.startswith("HTTP/1.1 101 Switching Protocols\n")
    assert re.search(r"^Sec-WebSocket-Accept: \S{27}=$", answered, re.MULTILINE)


def test_the_page_recovers_and_shows_the_new_handshake(page, console):
    console.expect("WebSocket connection to 'ws://127.0.0.1:")
    accept = re.compile(r"Accept: (\S+)")
    with demo() as process:
        page.goto(f"http://127.0.0.1:{process.port}/echo")
        expect(page.locator("#response")).to_contain_text(accept)
        first = accept.search(page.inner_text("#response")).group(1)
        process.kill()
        wait_for_state(page, "waiting")
    page.get_by_label("Message").fill("nobody hears")
    page.keyboard.press("Enter")
    expect(page.locator("#log")).to_contain_text("not sent: the connection is not open")
    expect(page.get_by_label("Message")).to_have_value("nobody hears")
    with demo(port=process.port):
        wait_for_state(page)
        expect(page.locator("#response")).not_to_contain_text(first)
        page.keyboard.press("Enter")
        expect(page.locator("#log .received .what")).to_have_text("nobody hears")
