"""push-client.js in a page in a real Chromium: the page leaves, comes back, goes offline."""
from __future__ import annotations

import cherrypy
import pytest

import pushserver
from tests.support.installed import CHROMIUM_ARGUMENTS, chromium
from tests.support.site import running_site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

CONFIG = {"/push": {"tools.staticdir.on": True, "tools.staticdir.dir": pushserver.browser_dir()}}
TIMEOUT = 20_000
KEPT = "--disable-back-forward-cache"
"""What Playwright turns off and these tests need."""

PAGE = """<!DOCTYPE html>
<title>page</title>
<link rel="icon" href="data:,">
<script type="module">
  import { PushClient } from "/push/push-client.js";
  window.said = [];
  window.client = new PushClient("websocket", { Id: "42", minDelay: 0.05, maxDelay: 0.2 });
  window.made = Math.random();
  client.addEventListener("message", ({ data }) => said.push(data));
  client.addEventListener("close", ({ code, final }) => said.push([code, final]));
  if (location.search === "?throw") {
    client.addEventListener("message", () => { throw new Error("a listener's"); });
  }
</script>"""


class Root:
    """A page with a client, another without."""

    @cherrypy.expose
    def index(self, **_):
        return PAGE

    @cherrypy.expose
    def other(self):
        return "<!DOCTYPE html><link rel=icon href='data:,'>other"

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        """Accept everybody."""


@pytest.fixture
def site():
    with running_site(Root(), config=CONFIG) as site:
        yield site


@pytest.fixture
def page():
    """A page; ``page.errors`` are what its scripts threw."""
    from playwright.sync_api import sync_playwright
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS,
                                             ignore_default_args=[KEPT])
        page = browser.new_page()
        page.errors = []
        page.set_default_timeout(TIMEOUT)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        browser.close()


def state(page, wanted):
    page.wait_for_function("wanted => window.client?.state === wanted", arg=wanted)


def receives(page, site, text):
    site.push.send("42", text)
    page.wait_for_function("text => said.includes(text)", arg=text)


def test_messages_arrive_and_heartbeats_do_not(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    assert page.evaluate("client.url").endswith("/websocket?refusals=close&Id=42&heartbeat=25")
    receives(page, site, "<b>text</b>")
    assert page.evaluate("said") == ["<b>text</b>"] and page.errors == []


def test_a_page_on_its_way_back_has_its_connection_again(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    made = page.evaluate("made")
    page.goto(site.url("/other", "http"))
    wait_until(lambda: not len(site.push))
    page.go_back(wait_until="commit")
    state(page, "open")
    assert page.evaluate("made") == made, "the browser kept the page"
    receives(page, site, "again")
    assert page.evaluate("said") == [[1006, False], "again"]


def test_a_page_goes_offline_and_online(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    page.context.set_offline(True)
    state(page, "waiting")
    page.context.set_offline(False)
    state(page, "open")
    receives(page, site, "again")


def test_a_page_that_was_frozen_goes_on(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    site.push.send("42", "meanwhile")
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_function("said.includes('meanwhile')")
    receives(page, site, "again")
    assert page.evaluate("said") == ["meanwhile", "again"]


def test_final_codes_are_final_and_a_click_connects_again(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    site.push.disconnect("42")
    state(page, "closed")
    assert page.evaluate("[said, client.send('x')]") == [[[3505, True]], False]
    page.evaluate("client.connect()")
    state(page, "open")
    receives(page, site, "again")


def test_a_listener_that_throws_breaks_nothing(page, site):
    page.goto(site.url("/?throw", "http"))
    state(page, "open")
    receives(page, site, "one")
    receives(page, site, "two")
    assert page.errors == ["a listener's"] * 2
