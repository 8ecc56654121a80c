"""The chat in real Chromiums."""
import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo

pytestmark = pytest.mark.browser

TRICKS = ["<script>alert(1)</script>", "</script><script>alert(1)</script>",
          "<img src=x onerror=alert(1)>", "it's \"quoted\" & <b>bold</b>", "{\"text\": \"x\"}",
          "javascript:alert(1)", "\U0001f600 \u05e9\u05dc\u05d5\u05dd"]


@pytest.fixture
def site():
    """A site of each test's own, for the room remembers; ask for it before the windows."""
    with demo() as process:
        yield process


def come_in(page, site, name):
    page.goto(f"http://127.0.0.1:{site.port}/chat/?name={quote(name)}")
    wait_for_state(page)
    expect(page.locator("#here")).to_contain_text(name)
    return page


def say(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_have_value("")


def lines(page):
    return page.locator("#log .what")


def test_two_people_talk(site, window):
    ann = come_in(window(), site, "Ann")
    bob = come_in(window(), site, "Bob")
    expect(ann.locator("#log")).to_contain_text("Bob joined")
    expect(ann.locator("#here")).to_have_text("Ann, Bob")
    say(ann, "hello")
    say(bob, "hello yourself")
    for page in (ann, bob):
        expect(lines(page)).to_have_text(["hello", "hello yourself"])
    expect(ann.locator("#log .own .what")).to_have_text(["hello"])
    expect(bob.locator("#log .own .what")).to_have_text(["hello yourself"])
    bob.get_by_role("button", name="Leave").click()
    wait_for_state(bob, "closed")
    expect(ann.locator("#log")).to_contain_text("Bob left")
    expect(ann.locator("#here")).to_have_text("Ann")
    expect(bob.get_by_role("button", name="Say")).to_be_disabled()


def test_a_name_is_here_as_long_as_one_of_its_windows(site, window):
    ann = come_in(window(), site, "Ann")
    windows = [come_in(window(), site, "Bob") for _ in range(3)]
    for bob in windows[:2]:
        bob.get_by_role("button", name="Leave").click()
        wait_for_state(bob, "closed")
    say(windows[2], "still here")
    expect(lines(ann)).to_have_text(["still here"])
    expect(ann.locator("#here")).to_have_text("Ann, Bob")
    expect(ann.locator("#log")).not_to_contain_text("Bob left")
    windows[2].get_by_role("button", name="Leave").click()
    expect(ann.locator("#here")).to_have_text("Ann")
    expect(ann.locator("#log")).to_contain_text("Bob left")


def test_who_comes_later_sees_what_was_said(site, window):
    ann = come_in(window(), site, "Ann")
    for number in range(3):
        say(ann, f"line {number}")
    expect(lines(ann)).to_have_count(3)
    bob = come_in(window(), site, "Bob")
    expect(lines(bob)).to_have_text(["line 0", "line 1", "line 2"])


def test_a_page_is_used_by_keyboard_alone_and_remembers_the_name(site, page):
    page.goto(f"http://127.0.0.1:{site.port}/chat/")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    wait_for_state(page)
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    expect(lines(page)).to_have_text(["typed"])
    page.goto(f"http://127.0.0.1:{site.port}/chat/")
    wait_for_state(page)
    expect(page.get_by_label("Name")).to_have_value("Ann")


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "</script>\"'><b>Ann</b>"])
def test_names_and_messages_stay_text(site, window, name):
    ann = come_in(window(), site, name)
    bob = come_in(window(), site, "Bob")
    for text in TRICKS:
        say(ann, text)
    for page in (ann, bob, come_in(window(), site, "Carl")):
        expect(lines(page)).to_have_text(TRICKS)
        expect(page.locator("#log .who").last).to_have_text(name)
        assert page.locator("main :is(script, img, b)").count() == 0
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_own_lines_can_be_hidden_and_are_at_their_place_all_the_same(site, window):
    ann, bob = come_in(window(), site, "Ann"), come_in(window(), site, "Bob")
    ann.get_by_label("hide my own lines").check()
    for number in range(3):
        say(ann, f"silent {number}")
        expect(lines(bob).last).to_have_text(f"silent {number}")
        say(bob, f"loud {number}")
        expect(lines(ann).last).to_have_text(f"loud {number}")
    shown = ann.locator("#log .what:visible")
    expect(shown).to_have_text(["loud 0", "loud 1", "loud 2"])
    ann.get_by_label("hide my own lines").uncheck()
    expect(shown).to_have_count(6)
    assert lines(ann).all_inner_texts() == lines(bob).all_inner_texts()


def test_lines_said_while_a_page_was_offline_are_neither_lost_nor_doubled(site, window, console):
    console.expect("WebSocket connection to .* failed: .*ERR_INTERNET_DISCONNECTED")
    ann, bob = come_in(window(), site, "Ann"), come_in(window(), site, "Bob")
    say(bob, "before")
    expect(lines(ann)).to_have_text(["before"])
    ann.context.set_offline(True)
    wait_for_state(ann, "waiting")
    say(bob, "meanwhile")
    ann.get_by_label("Message", exact=True).fill("not now")
    expect(ann.get_by_role("button", name="Say")).to_be_disabled()
    ann.context.set_offline(False)
    wait_for_state(ann)
    say(bob, "after")
    expect(lines(ann)).to_have_text(["before", "meanwhile", "after"])
    expect(ann.get_by_label("Message", exact=True)).to_have_value("not now")


def test_a_reload_is_neither_a_leave_nor_a_join(site, window):
    ann, bob = come_in(window(), site, "Ann"), come_in(window(), site, "Bob")
    say(bob, "before")
    bob.reload()
    wait_for_state(bob)
    expect(bob.locator("#here")).to_have_text("Ann, Bob")
    say(bob, "after")
    for page in (ann, bob):
        expect(lines(page)).to_have_text(["before", "after"])
    expect(ann.locator("#log")).not_to_contain_text("Bob left")
    expect(ann.locator("#here")).to_have_text("Ann, Bob")


def test_a_line_that_is_refused_says_why_and_can_be_mended(site, window):
    ann = come_in(window(), site, "Ann")
    ann.get_by_label("Message", exact=True).fill("   ")
    ann.keyboard.press("Enter")
    expect(ann.locator("#error")).to_have_text("Not sent: text is missing: send some text")
    say(ann, "mended")
    expect(lines(ann)).to_have_text(["mended"])
    expect(ann.locator("#error")).to_be_empty()


def test_more_than_50_lines_missed_are_counted(site, window, console):
    console.expect("WebSocket connection to .* failed: .*ERR_INTERNET_DISCONNECTED")
    ann, bob = come_in(window(), site, "Ann"), come_in(window(), site, "Bob")
    say(bob, "before")
    expect(lines(ann)).to_have_text(["before"])
    ann.context.set_offline(True)
    wait_for_state(ann, "waiting")
    for number in range(53):
        say(bob, str(number))
    ann.context.set_offline(False)
    wait_for_state(ann)
    expect(ann.locator("#log")).to_contain_text("3 lines are missing here.")
    expect(lines(ann)).to_have_text(["before", *map(str, range(3, 53))])


def test_a_page_recovers_when_the_server_was_killed_and_is_back(window, console):
    console.expect("WebSocket connection to .* failed: .*ERR_CONNECTION_(REFUSED|RESET)")
    with demo() as process:
        ann, bob = come_in(window(), process, "Ann"), come_in(window(), process, "Bob")
        say(ann, "before")
        expect(lines(bob)).to_have_text(["before"])
        process.kill()
        wait_for_state(ann, "waiting")
        expect(ann.locator("#again")).to_have_text(re.compile(r"retry in \d+ s"))
        expect(ann.locator("#here")).to_have_text("\u2013")
    with demo(port=process.port):
        for page in (ann, bob):
            wait_for_state(page)
            expect(page.locator("#here")).to_contain_text("Bob")
            expect(page.locator("#here")).to_contain_text("Ann")
        say(ann, "after")
        for page in (ann, bob):
            expect(page.locator("#log")).to_contain_text("The server has restarted.")
            expect(lines(page)).to_have_text(["before", "after"])
