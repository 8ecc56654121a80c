"""2048 in real Chromiums."""
import re
import sys
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import ROOT, demo, program

pytestmark = pytest.mark.browser


def play(page, site, Id, query=""):
    page.goto(site.url(f"/game/?Id={quote(Id)}{query}"))
    wait_for_state(page)
    expect(page.locator("#board span").nth(15)).to_be_attached()
    expect(page.locator("#board span:not([data-tile='0'])").first).to_be_visible()
    return page


def board(page):
    return page.get_by_role("img").get_attribute("aria-label")


def moves(page, act):
    """Do things until the board has changed; each is at most four ways to move."""
    before = board(page)
    for way in range(4):
        act(way)
        try:
            expect(page.get_by_role("img")).not_to_have_attribute("aria-label", before,
                                                                  timeout=1000)
            return
        except AssertionError:
            pass
    raise AssertionError("nothing has moved the board")


def test_arrow_keys_move(page, site):
    play(page, site, "keys")
    keys = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]
    for _ in range(3):
        moves(page, lambda way: page.keyboard.press(keys[way]))
    expect(page.locator("#board span")).to_have_count(16)


def test_keys_in_a_field_do_not_move(page, site):
    play(page, site, "fields")
    before = board(page)
    page.get_by_label("Watch Id").focus()
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Up").focus()
    page.keyboard.press("Shift+ArrowUp")
    moves(page, lambda way: page.get_by_role("button", name=["Up", "Left", "Down", "Right"][way])
          .press("Enter"))
    assert len(re.findall(r"\d+", board(page))) <= len(re.findall(r"\d+", before)) + 1


def test_buttons_move_and_all_windows_of_the_id_see_it(window, site):
    first, second = play(window(), site, "two"), play(window(), site, "two")
    assert board(first) == board(second)
    for _ in range(3):
        moves(first, lambda way: first.get_by_role(
            "button", name=["Up", "Down", "Left", "Right"][way]).click())
        expect(second.get_by_role("img")).to_have_attribute("aria-label", board(first))


def test_swipes_move(window, site):
    page = play(window(has_touch=True), site, "swipes")

    def swipe(way):
        box = page.locator("#board").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        dx, dy = [(0, -60), (0, 60), (-60, 0), (60, 0)][way]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + dx, y + dy, steps=3)
        page.mouse.up()
    for _ in range(3):
        moves(page, swipe)


def test_a_new_game_begins_with_two_tiles(page, site):
    play(page, site, "anew")
    for _ in range(4):
        moves(page, lambda way: page.keyboard.press(
            ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"][way]))
    before = board(page)
    page.get_by_role("button", name="New game").click()
    expect(page.get_by_role("img")).not_to_have_attribute("aria-label", before)
    expect(page.locator("#board span:not([data-tile='0'])")).to_have_count(2)
    expect(page.locator("#score")).to_have_text("0")


def test_who_watches_sees_the_board_and_has_no_moves(window, site):
    name = "<img src=x onerror=alert(1)>'\""
    ann = play(window(), site, name)
    link = ann.locator("#link").get_attribute("href")
    bob = window()
    bob.goto(link)
    wait_for_state(bob)
    for _ in range(3):
        moves(ann, lambda way: ann.keyboard.press(
            ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"][way]))
        expect(bob.get_by_role("img")).to_have_attribute("aria-label", board(ann))
    expect(bob.locator("#moves button:disabled")).to_have_count(4)
    expect(bob.get_by_role("button", name="New game")).to_be_disabled()
    expect(bob.locator("#about")).to_have_text(f"You are watching {name} at")
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"):
        bob.keyboard.press(key)
    assert board(bob) == board(ann)
    assert bob.locator("main img").count() == 0
    assert bob.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_a_program_is_watched_up_to_the_end_of_its_game(page, site):
    page.goto(site.url("/game/?Id=looker&watch=robot"))
    wait_for_state(page)
    expect(page.locator("#error")).to_have_text(
        "robot has no board yet: wait until they play")
    address = site.url("/game/socket?Id=robot").replace("http", "ws")
    with program(str(ROOT / "clients" / "game_player.py"), address) as player:
        out, err = player.communicate(timeout=60)
        assert (player.returncode, err) == (0, ""), sys.path
    expect(page.locator("#status")).to_contain_text("Game over.")
    expect(page.locator("#score")).to_have_text(re.search(r"score (\d+)", out)[1])


def test_the_page_recovers(page, console):
    console.expect("WebSocket connection to .* failed: .*ERR_CONNECTION_(REFUSED|RESET)")
    with demo() as process:
        page.goto(f"http://127.0.0.1:{process.port}/game/?Id=ann")
        wait_for_state(page)
        process.kill()
        wait_for_state(page, "waiting")
        page.get_by_role("button", name="Up").click()
        expect(page.locator("#error")).to_have_text("Not sent: you are not connected.")
    with demo(port=process.port):
        wait_for_state(page)
        expect(page.locator("#error")).to_have_text("")
        moves(page, lambda way: page.keyboard.press(
            ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"][way]))
