"""Letters from one name to another, in real Chromiums."""
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo

pytestmark = pytest.mark.browser

TRICK = "<script>alert(1)</script></script><img src=x onerror=alert(1)>'\""


def log_in(page, site, name):
    page.goto(site.url(f"/direct/?name={quote(name)}"))
    wait_for_state(page)
    return page


def write(page, to, text):
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def letters(page):
    return page.locator("#log .what")


def test_both_windows_of_a_name_receive_and_nobody_else(window, site, console):
    ann, bob, carl = (log_in(window(), site, name) for name in ("Ann", "Bob", "Carl"))
    other = bob.context.new_page()
    console.hear(other)
    log_in(other, site, "Bob")
    write(ann, "Bob", "hello")
    for page in (bob, other):
        expect(letters(page)).to_have_text(["hello"])
        expect(page.locator("#log")).to_contain_text("Ann to you")
    expect(ann.locator("#log .own")).to_contain_text("you to Bob, in 2 windows")
    write(ann, "Carl", "and you")
    expect(letters(carl)).to_have_text(["and you"])
    expect(letters(bob)).to_have_text(["hello"])
    bob.get_by_label("Message", exact=True).fill("back")     # to whom is filled in already
    bob.keyboard.press("Enter")
    expect(letters(ann)).to_have_text(["hello", "and you", "back"])
    expect(letters(other)).to_have_text(["hello", "back"])


def test_a_name_that_nobody_has_is_not_here(page, site):
    log_in(page, site, "Ann")
    write(page, "Zoe", "hello")
    expect(page.locator("#log .error")).to_contain_text("not delivered to Zoe, who is not here")


def test_names_and_letters_stay_text(window, site):
    ann, bob = log_in(window(), site, TRICK), log_in(window(), site, "Bob'\"<b>")
    write(ann, "Bob'\"<b>", TRICK)
    expect(letters(bob)).to_have_text([TRICK])
    expect(bob.locator("#log .who")).to_have_text(TRICK)
    write(ann, TRICK + "?", TRICK)
    expect(ann.locator("#log .error")).to_contain_text(TRICK + "?")
    for page in (ann, bob):
        assert page.locator("main :is(script, img, b)").count() == 0
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_who_logs_out_is_not_here(window, site):
    ann, bob = log_in(window(), site, "Ann"), log_in(window(), site, "Bob")
    bob.get_by_role("button", name="Log out").click()
    wait_for_state(bob, "closed")
    write(ann, "Bob", "hello")
    expect(ann.locator("#log .error")).to_have_count(1)
    bob.get_by_role("button", name="Log in").click()
    wait_for_state(bob)
    write(ann, "Bob", "again")
    expect(letters(bob)).to_have_text(["again"])


def test_the_page_recovers(page, console):
    console.expect("WebSocket connection to .* failed: .*ERR_CONNECTION_(REFUSED|RESET)")
    with demo() as process:
        page.goto(f"http://127.0.0.1:{process.port}/direct/?name=Ann")
        wait_for_state(page)
        process.kill()
        wait_for_state(page, "waiting")
    with demo(port=process.port):
        wait_for_state(page)
        write(page, "Ann", "to myself")
        expect(letters(page)).to_have_text(["to myself"])
