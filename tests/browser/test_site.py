"""What all pages of the demo have in common, in a real Chromium."""
import re

import pytest
from playwright.sync_api import expect

from pushserver import browser_dir
from tests.browser.conftest import PHONE
from tests.support.programs import ROOT, demo

pytestmark = pytest.mark.browser

PAGES = re.findall(r'path: "([^"]+)"', (browser_dir() / "page.js").read_text("utf-8"))


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_marks_itself(window, site, path, scheme):
    page = window(color_scheme=scheme)
    page.goto(site.url(path))
    expect(page.get_by_role("navigation").locator("a")).to_have_count(len(PAGES))
    if page.url.startswith(site.url(path)):     # it may ask to log in first
        expect(page.locator("nav [aria-current=page]")).to_have_attribute("href", path)
    expect(page.locator("#state")).not_to_have_text("")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("getComputedStyle(document.body).colorScheme || "
                         "getComputedStyle(document.documentElement).colorScheme") == "light dark"


@pytest.mark.parametrize("path", PAGES)
def test_every_control_has_a_name_and_the_page_one_heading(page, site, path):
    page.goto(site.url(path))
    expect(page.get_by_role("navigation")).to_be_visible()
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea, button')].filter(control =>"
        " !control.textContent.trim() && !control.labels?.length && !control.ariaLabel)"
        ".map(control => control.outerHTML)")
    assert nameless == []


def test_the_navigation_leads_to_every_page(page, site):
    page.goto(site.url())
    for path in PAGES:
        with page.expect_response(lambda answer: answer.url == site.url(path)) as answer:
            page.get_by_role("navigation").locator(f"a[href='{path}']").click()
        assert answer.value.status in (200, 303), path  # to the login
        expect(page.locator("h1")).to_be_visible()


def test_the_link_in_the_header_opens_the_source_of_the_module(page, site):
    page.goto(site.url())
    page.get_by_role("link", name="clock.py").click()
    source = page.locator("pre[aria-label='pushserver/demo/clock.py']")
    expect(source).to_be_visible()
    expect(source).to_contain_text("class Clock")
    assert source.text_content() == (ROOT / "pushserver/demo/clock.py").read_text("utf-8")


def test_the_source_can_be_copied(window, site):
    page = window(permissions=["clipboard-read", "clipboard-write"])
    page.goto(site.url("/echo"))
    page.get_by_text("pushserver/demo/echo.py").click()
    expect(page.locator("pre[aria-label='pushserver/demo/echo.py']")).to_contain_text("class Echo")
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == (ROOT / "pushserver/demo/echo.py").read_text("utf-8")


CONNECT = """url => new Promise(resolve => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve("open");
    socket.onclose = event => resolve(event.code);
})"""


@pytest.mark.parametrize("path", [
    "/websocket?Id=1", "/echo?Id=1", "/monitor/socket?Id=1", "/chat/socket?Id=1",
    "/direct/socket?Id=direct.1", "/game/socket?Id=1"])
def test_a_page_of_another_origin_is_refused(page, console, site, path):
    console.expect("WebSocket connection to .* Unexpected response code: 403")
    with demo() as elsewhere:
        page.goto(f"http://127.0.0.1:{elsewhere.port}/")
        assert page.evaluate(CONNECT, f"ws://127.0.0.1:{elsewhere.port}{path}") == "open"
        assert page.evaluate(CONNECT, f"ws://127.0.0.1:{site.port}{path}") == 1006


def test_the_pages_work_with_nothing_remembered(browser, console, site):
    """As where a browser is told to keep nothing."""
    context = browser.new_context(viewport=PHONE)
    context.add_init_script("Object.defineProperty(window, 'localStorage', "
                            "{ get() { throw new DOMException('no', 'SecurityError'); } });")
    page = context.new_page()
    console.hear(page)
    page.goto(site.url())
    page.wait_for_selector("body[data-state=open]")
    context.close()
