"""Many type in the chat at once; in the end every page has to have every line, in one order.

    python -m tests.crowd_of_chatters --clients 50 --pages 3 --seconds 60

The clients are pushclient's, with a thread each that types; the pages are windows of a Chromium,
in which a person types too. Clients compare what they received, pages what they have shown.
"""
from __future__ import annotations

import argparse
import random
import sys
import threading
import time

from pushclient import PushClient

from tests.support.installed import CHROMIUM_ARGUMENTS, chromium
from tests.support.programs import demo

CHANNEL = "chat"

PATIENCE = 30.0
"""Seconds that the last lines have to arrive in."""

WATCH = """() => {
    window.shown = [];
    const text = (line) => line.querySelector(".what").textContent;
    const keep = (line) => line.querySelector(".what") && shown.push(text(line));
    document.querySelectorAll("#log > li").forEach(keep);
    new MutationObserver((changes) => changes.forEach(
        (change) => change.addedNodes.forEach(keep))).observe(
            document.getElementById("log"), { childList: true });
}"""
"""Keep every line that the page shows; it takes the oldest away again."""


class Chatter:
    """One of the crowd: types a line now and then, and keeps all that it receives.

    Args:
        url: of the chat's socket.
        number: which one.
        pause: seconds between two of its lines, on average.
    """

    def __init__(self, url, number, pause):
        self._number = number
        self._pause = pause
        self._ended = threading.Event()
        self.typed = 0
        self.lines = []
        self.client = PushClient(url, Id=f"chatter {number}", channels=[CHANNEL],
                                 on_message=self.lines.append)
        self._thread = threading.Thread(target=self._type)

    def start(self):
        """Come in."""
        self.client.start()

    def begin(self):
        """Begin to type."""
        self._thread.start()

    def end(self):
        """Type no more."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def _type(self):
        chance = random.Random(self._number)
        while not self._ended.wait(self._pause * 2 * chance.random()):
            self.client.rpc("say", {"text": f"{self._number}:{self.typed}"})
            self.typed += 1

    @property
    def is_here(self):
        """Tell whether it hears what is said."""
        return self.client._calls._protocol.subscribed() == [CHANNEL]


def wait_for(condition, what, patience=PATIENCE):
    """Wait for a condition; end the program when it does not come true."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} in {patience:g} s")
        time.sleep(0.05)


def open_pages(browser, url, count):
    """Return windows of the chat that keep what they show."""
    pages = []
    for number in range(count):
        page = browser.new_context().new_page()
        page.goto(f"{url}?name=page%20{number}")
        page.wait_for_selector("body[data-state=open]")
        page.wait_for_selector("#here bdi")
        page.evaluate(WATCH)
        pages.append(page)
    return pages


def type_in_pages(pages, seconds, pause):
    """Type in the pages by turns for a while; return how many lines that were."""
    deadline, typed = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        page = pages[typed % len(pages)] if pages else None
        if page is not None:
            page.fill("#text", f"page:{typed}")
            page.press("#text", "Enter")
            typed += 1
        time.sleep(pause)
    return typed


def crowd(browser, port, options):
    """Let the crowd type; return what to say about it, and the faults that were found."""
    chatters = [Chatter(f"ws://127.0.0.1:{port}/chat/socket", number, options.pause)
                for number in range(options.clients)]
    pages = open_pages(browser, f"http://127.0.0.1:{port}/chat/", options.pages)
    try:
        for chatter in chatters:
            chatter.start()
        wait_for(lambda: all(chatter.is_here for chatter in chatters), "not all came in")
        for chatter in chatters:
            chatter.begin()
        typed = type_in_pages(pages, options.seconds, options.pause)
        for chatter in chatters:
            chatter.end()
        total = typed + sum(chatter.typed for chatter in chatters)
        wait_for(lambda: all(len(chatter.lines) >= total for chatter in chatters) and
                 all(page.evaluate("shown.length") >= total for page in pages),
                 f"not everybody has all {total} lines")
        time.sleep(options.pause)  # for a line too many
        shown = [page.evaluate("shown") for page in pages]
    finally:
        for chatter in chatters:
            chatter.end()
            chatter.client.close()
    faults = compare(total, chatters, shown)
    return f"{options.clients} clients and {options.pages} pages typed {total} lines in " \
        f"{options.seconds:g} s", faults


def compare(total, chatters, shown):
    """Return what is wrong: everybody must have each line once, in the order of all others."""
    faults = []
    order = [line.data["text"] for line in chatters[0].lines]
    if len(order) != total or len(set(order)) != total:
        faults.append(f"{total} lines were typed, {len(order)} received, {len(set(order))} of "
                      "them different")
    for chatter in chatters:
        if [line.data["text"] for line in chatter.lines] != order:
            faults.append(f"{chatter.client!r} has another order, or other lines")
        if [line.offset for line in chatter.lines] != list(range(1, total + 1)):
            faults.append(f"{chatter.client!r} has numbers with gaps or doubles")
    faults += [f"page {number} shows another order, or other lines"
               for number, lines in enumerate(shown) if lines != order]
    return faults


def main(arguments=None):
    """Run the crowd and say how it went; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.crowd_of_chatters")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pages", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0.5,
                        help="seconds between two lines of one client, on average")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright
    with demo() as process, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        summary, faults = crowd(browser, process.port, options)
        browser.close()
    print(summary)
    print("\n".join(faults) if faults else "every client received, and every page showed, every "
          "line once and in the same order")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
