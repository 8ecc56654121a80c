"""Take pictures of the demo's pages, at work: those of the documentation, or all that there are.

    python -m tests.pictures docs
    python -m tests.pictures --all FOLDER     # both colour schemes, a desktop's and a phone's width
"""
from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.installed import CHROMIUM_ARGUMENTS, chromium
from tests.support.programs import demo

DESKTOP, PHONE = 1280, 360
SHOWN = {"clock": (900, "light"), "chat": (900, "light"), "direct": (900, "light"),
         "vote": (900, "dark"), "monitor": (900, "dark"), "game": (PHONE, "light"),
         "echo": (900, "light")}
"""What the documentation shows: width and colour scheme of each."""

MOVES = ("ArrowDown", "ArrowLeft", "ArrowDown", "ArrowRight")


def clock(ann, bob, base):
    """Let the clock tick for a while, so that there is a chart."""
    visit(ann, f"{base}/?Id=42")
    ann.wait_for_timeout(12_500)


def chat(ann, bob, base):
    """Have two people talk."""
    visit(bob, f"{base}/chat/?name=Bob")
    say(bob, "Is <b>anybody</b> here?")
    visit(ann, f"{base}/chat/?name=Ann")
    say(ann, "Yes, me. This line is long enough to be broken somewhere on a narrow page.")
    say(bob, "Then all is well.")
    ann.wait_for_selector("#log li >> nth=2")


def direct(ann, bob, base):
    """Write a letter, get one, and miss somebody."""
    visit(bob, f"{base}/direct/?name=Bob")
    visit(ann, f"{base}/direct/?name=Ann")
    write(bob, "Ann", "Are you there?")
    ann.wait_for_selector("#log li")
    write(ann, "Bob", "I am.")
    ann.wait_for_selector("#log .own")
    write(ann, "Carl", "And you?")
    ann.wait_for_selector("#log .error")


def vote(ann, bob, base):
    """Log in, vote and alert."""
    for person, name in ((ann, "Ann"), (bob, "Bob")):
        person.goto(f"{base}/vote/")
        person.fill("#name", name)
        person.press("#name", "Enter")
        opened(person)
    ann.click("#candidates button >> nth=1")
    bob.click("#candidates button >> nth=0")
    bob.click("#notify")
    ann.wait_for_selector("#alerts p")
    ann.wait_for_timeout(500)


def monitor(ann, bob, base):
    """Watch the machine while somebody else visits pages."""
    visit(ann, f"{base}/monitor/")
    for _ in range(6):
        bob.goto(f"{base}/game/")
        ann.wait_for_timeout(2_000)


def game(ann, bob, base):
    """Play for a while."""
    visit(ann, f"{base}/game/?Id=ann")
    for key in itertools.islice(itertools.cycle(MOVES), 100):
        ann.keyboard.press(key)
    ann.wait_for_timeout(500)


def echo(ann, bob, base):
    """Send something and see it come back."""
    visit(ann, f"{base}/echo?Id=42")
    ann.fill("#text", "hello")
    ann.press("#text", "Enter")
    ann.wait_for_timeout(500)


def login(ann, bob, base):
    """Show the form."""
    ann.goto(f"{base}/vote/login")


PAGES = {page.__name__: page for page in (clock, chat, direct, vote, monitor, game, echo, login)}


def visit(person, url):
    """Open a page and wait until it is connected."""
    person.goto(url)
    opened(person)


def opened(person):
    """Wait until the page is connected."""
    person.wait_for_selector("body[data-state=open]")


def say(person, text):
    """Say a line in the chat."""
    person.fill("#text", text)
    person.press("#text", "Enter")


def write(person, to, text):
    """Write a letter."""
    person.fill("#to", to)
    say(person, text)


def take(browser, base, name, width, scheme, path):
    """Take one picture."""
    ann, bob = (browser.new_context(viewport={"width": width, "height": 640}, color_scheme=scheme,
                                    device_scale_factor=1).new_page() for _ in range(2))
    PAGES[name](ann, bob, base)
    ann.screenshot(path=path, full_page=True)
    for person in (ann, bob):
        person.context.close()
    print(path)


def wanted(folder, is_all):
    """Yield name, width, scheme and path of each picture."""
    if is_all:
        for name, width, scheme in itertools.product(PAGES, (DESKTOP, PHONE), ("light", "dark")):
            yield name, width, scheme, folder / f"{name}-{width}-{scheme}.png"
    else:
        for name, (width, scheme) in SHOWN.items():
            yield name, width, scheme, folder / f"{name}.png"


def main():
    """Take the pictures that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="in both schemes, at both widths")
    parser.add_argument("--only", help="one page")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with demo() as process, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        for name, *how in wanted(options.folder, options.all):
            if options.only in (None, name):
                take(browser, f"http://127.0.0.1:{process.port}", name, *how)
        browser.close()


if __name__ == "__main__":
    main()
