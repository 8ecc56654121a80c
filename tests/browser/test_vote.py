"""The vote in real Chromiums."""
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for_state
from tests.support.programs import demo

pytestmark = pytest.mark.browser


@pytest.fixture
def site():
    """A site of each test's own, for votes stay; ask for it before the windows."""
    with demo() as process:
        yield process


def url(site, path):
    return f"http://127.0.0.1:{site.port}{path}"


def log_in(page, site, name):
    page.goto(url(site, "/vote/"))
    assert page.url == url(site, "/vote/login")
    page.get_by_label("Name").fill(name)
    page.keyboard.press("Enter")
    page.wait_for_url(url(site, "/vote/"))
    wait_for_state(page)
    expect(page.locator("#name")).to_have_text(name)
    return page


def choose(page, candidate):
    page.get_by_role("button", name=candidate).click()


def counts(page, *numbers):
    words = [f"{number} vote{'' if number == 1 else 's'}" for number in numbers]
    expect(page.locator("#candidates output")).to_have_text(words)


def test_all_pages_count_each_click_and_a_vote_can_be_changed(site, window):
    ann, bob = log_in(window(), site, "Ann"), log_in(window(), site, "Bob")
    counts(ann, 0, 0, 0)
    choose(ann, "Tea")
    choose(bob, "Coffee")
    for page in (ann, bob):
        counts(page, 1, 1, 0)
    expect(ann.get_by_role("button", pressed=True)).to_have_text("Tea")
    expect(bob.get_by_role("button", pressed=True)).to_have_text("Coffee")
    ann.get_by_role("button", name="Coffee").focus()
    ann.keyboard.press("Enter")
    for page in (ann, bob):
        counts(page, 0, 2, 0)
    ann.reload()
    expect(ann.get_by_role("button", pressed=True)).to_have_text("Coffee")


def test_an_alert_is_shown_on_every_page(site, window):
    ann, bob = log_in(window(), site, "<b>Ann</b>'\""), log_in(window(), site, "Bob")
    ann.get_by_role("button", name="Alert everyone").click()
    for page in (ann, bob):
        expect(page.get_by_role("alert")).to_contain_text("<b>Ann</b>'\": Your order is ready")
        assert page.locator("main b").count() == 0
    bob.get_by_role("button", name="Close").click()
    expect(bob.get_by_role("alert").locator("p")).to_have_count(0)


def test_a_form_on_another_site_votes_and_alerts_for_nobody(site, window):
    ann = log_in(window(), site, "Ann")
    stranger = ann.context.new_page()
    stranger.goto(f"http://localhost:{site.port}/chat/")    # another site to the browser
    for path in ("/notify", "/vote/logout", "/vote/login"):
        with stranger.expect_navigation() as answered:
            stranger.evaluate("""url => { const form = document.createElement("form");
                form.method = "post"; form.action = url; document.body.append(form);
                form.submit(); }""", url(site, path))
        assert answered.value.status == 403
        stranger.goto(f"http://localhost:{site.port}/chat/")
    choose(ann, "Tea")
    counts(ann, 1, 0, 0)
    expect(ann.get_by_role("alert").locator("p")).to_have_count(0)
    assert ann.evaluate("document.cookie") == ""


def test_who_logs_out_has_to_log_in_again_in_all_windows(site, window, console):
    ann = log_in(window(), site, "Ann")
    other = ann.context.new_page()
    console.hear(other)
    other.goto(url(site, "/vote/"))
    wait_for_state(other)
    ann.get_by_role("button", name="Log out").click()
    for page in (ann, other):
        page.wait_for_url(url(site, "/vote/login"))
    ann.goto(url(site, "/vote/"))
    assert ann.url == url(site, "/vote/login")


def test_a_page_whose_session_ended_with_the_server_goes_to_the_login_and_on(page, console):
    console.expect("ERR_CONNECTION_(REFUSED|RESET)|Unexpected response code: 403")
    with demo() as process:
        log_in(page, process, "Ann")
        process.kill()
        wait_for_state(page, "waiting")
    with demo(port=process.port) as process:
        page.wait_for_url(url(process, "/vote/login"))
        expect(page.get_by_label("Name")).to_have_value("Ann")
        page.keyboard.press("Enter")
        wait_for_state(page)
        choose(page, "Water")
        counts(page, 0, 0, 1)
