"""What a page in a real Chromium is told when the site does not take its connection."""
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

PAGE = """<!DOCTYPE html>
<link rel="icon" href="data:,">
<script type="module">
  import { PushClient } from "/push/push-client.js";
  window.said = [];
  window.connect = (path, protocols) => {
    window.client = new PushClient(path, { protocols, minDelay: 0.05, maxDelay: 0.1 });
    client.addEventListener("close", ({ code, reason, final, wasClean }) =>
      said.push([code, reason, final, wasClean]));
  };
</script>"""


class Root:
    """A page, and addresses that refuse."""

    def __init__(self):
        self.is_full = False

    @cherrypy.expose
    def index(self):
        return PAGE

    @cherrypy.expose
    @cherrypy.tools.push()
    def members(self, Id):
        raise cherrypy.HTTPError(403, "members only, für immer")

    @cherrypy.expose
    @cherrypy.tools.push()
    def busy(self, Id):
        if self.is_full:
            raise cherrypy.HTTPError(503, "come back later")


@pytest.fixture
def root():
    return Root()


@pytest.fixture
def site(root):
    with running_site(root, config=CONFIG) as site:
        yield site


@pytest.fixture
def page(site):
    """The site's page."""
    from playwright.sync_api import sync_playwright
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(site.url("/", "http"))
        page.wait_for_function("!!window.connect")
        yield page
        browser.close()


def refused(page, path, *protocols):
    """Return what the page is told at an address that refuses."""
    page.evaluate("([path, protocols]) => { said.length = 0; connect(path, protocols); }",
                  [path, protocols])
    page.wait_for_function("said.length > 0")
    return page.evaluate("said[0]")


@pytest.mark.parametrize("path, code, reason", [
    ("/members?Id=42", 4503, "members only, für immer"),
    ("/members?Id=", 4500, "Id is empty: give 1 to 128 characters"),
    ("/members?Id=1&y=2", 4504, "Unexpected query string parameters: y")])
def test_a_page_reads_why_it_is_refused_and_does_not_come_back(site, page, path, code, reason):
    assert refused(page, path) == [code, reason, True, True]
    assert page.evaluate("client.state") == "closed"
    assert len(site.push) == 0


def test_a_page_that_offers_subprotocols_reads_it_too(site, page):
    assert refused(page, "/members?Id=42", "chat", "v2")[:2] == [4503, "members only, für immer"]


def test_a_page_that_is_refused_for_now_comes_back(root, site, page):
    root.is_full = True
    assert refused(page, "/busy?Id=42") == [4103, "come back later", False, True]
    root.is_full = False
    wait_until(lambda: site.push.ids() == ["42"])


def test_a_page_of_another_site_is_told_nothing_of_this_one(site, page):
    other = f"ws://localhost:{site.port}/members?Id=42"
    code, reason, final, _ = refused(page, other)
    assert (code, final) == (4503, True)
    assert reason.startswith("this Origin is not the site's own") and "members" not in reason
