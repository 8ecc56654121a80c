"""push-client.js in a page in a real Chromium: the page leaves, comes back, goes offline."""
from __future__ import annotations

import threading

import cherrypy
import pytest

import pushserver
from tests.support.installed import CHROMIUM_ARGUMENTS, chromium
from tests.support.relay import Relay
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
  window.PushClient = PushClient;
  window.said = [];
  window.client = new PushClient("websocket", { Id: "42", minDelay: 0.05, maxDelay: 0.2 });
  window.made = Math.random();
  client.addEventListener("message", ({ data }) => said.push(data));
  client.addEventListener("close", ({ code, final }) => said.push([code, final]));
  if (location.search === "?throw") {
    client.addEventListener("message", () => { throw new Error("a listener's"); });
  }
</script>"""


class Slow(pushserver.Connection):
    """Takes its time with each message, so that the server soon reads no more."""

    may_go_on = threading.Event()

    def received_message(self, message):
        self.may_go_on.wait()


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

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Slow)
    def slow(self, Id):
        """Accept everybody."""


@pytest.fixture
def site():
    with running_site(Root(), config=CONFIG, settings={"allowed_origins": ("*",)}) as site:
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


def connect(page, url, **options):
    """Replace the page's client; what it receives is noted as JSON too."""
    page.evaluate("""([url, options]) => {
        client.close();
        window.said = [];
        window.client = new PushClient(url, options);
        client.addEventListener("message", async (event) => said.push(await event.json()));
        client.addEventListener("close", ({ reason }) => said.push(reason));
    }""", [url, {"Id": "42", **options}])
    state(page, "open")


@pytest.mark.parametrize("kind", ["blob", "arraybuffer"])
def test_json_is_read_from_text_and_from_binary_messages_of_either_type(page, site, kind):
    page.goto(site.url("/", "http"))
    state(page, "open")
    connect(page, "websocket", binaryType=kind)
    site.push.send("42", {"text": "é"})
    site.push.send("42", '{"binary": "é"}'.encode())
    site.push.send("42", b"[1]")
    page.wait_for_function("said.length === 3")
    assert page.evaluate("said") == [{"text": "é"}, {"binary": "é"}, [1]] and page.errors == []


@pytest.mark.slow
def test_a_dead_connection_is_noticed_though_the_clock_was_set_back(page, site):
    page.goto(site.url("/", "http"))
    state(page, "open")
    with Relay(site.port) as relay:
        connect(page, f"ws://127.0.0.1:{relay.port}/websocket", heartbeat=1)
        page.evaluate("() => { const now = Date.now; Date.now = () => now() - 3600_000; }")
        relay.freeze()
        page.wait_for_function("said.includes('no heartbeat')")
        page.evaluate("client.close()")


def test_what_the_network_has_not_taken_can_be_seen(page, site):
    Slow.may_go_on.clear()
    try:
        page.goto(site.url("/", "http"))
        state(page, "open")
        assert page.evaluate("client.bufferedAmount") == 0
        connect(page, "slow")
        page.evaluate("() => { for (let n = 0; n < 2000; n += 1) client.send('x'.repeat(5e4)); }")
        assert page.evaluate("client.bufferedAmount") > 10_000_000
    finally:
        Slow.may_go_on.set()
    page.wait_for_function("client.bufferedAmount === 0")
    assert page.evaluate("client.state") == "open"
    page.evaluate("client.close()")
    assert page.evaluate("client.bufferedAmount") == 0
