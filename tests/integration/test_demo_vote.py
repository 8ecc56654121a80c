"""The vote of the demo site: its login, its forms and its sockets."""
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from tests.support.demo_site import Person, serving
from tests.support.raw_client import Refused
from tests.support.waiting import PATIENCE, wait_until

from pushserver.demo import vote
from pushserver.demo.vote import CANDIDATES, Vote


@pytest.fixture
def site():
    with serving(vote=Vote) as site:
        site.root.notify = site.root.vote.notify    # as the demo site has it
        yield site


class Answer:
    """What a page answered."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()
        self.cookies = SimpleCookie(response.headers.get("Set-Cookie", ""))

    @property
    def path(self):
        return self.headers.get("Location", "").split("/", 3)[-1]


def ask(site, method, path, cookie=None, form=None, **headers):
    connection = HTTPConnection(*site.address, timeout=PATIENCE)
    try:
        if cookie:
            headers["Cookie"] = cookie
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form is not None else None, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def login(site, name, **headers):
    """Log in and return the cookie."""
    answer = ask(site, "POST", "/vote/login", form={"name": name}, **headers)
    assert (answer.status, answer.path) == (303, "vote/"), answer.text
    (key, morsel), = answer.cookies.items()
    return f"{key}={morsel.value}"


def voter(site, cookie):
    return Person(site, "/vote/socket", headers={"Cookie": cookie})


def counts(message):
    return {key: candidate["count"] for key, candidate in message["candidates"].items()}


def test_who_is_not_logged_in_is_sent_to_the_login_page(site):
    for method, path in (("GET", "/vote/"), ("POST", "/notify"), ("POST", "/vote/logout")):
        answer = ask(site, method, path)
        assert (answer.status, answer.path) == (303, "vote/login")
    assert ask(site, "GET", "/vote/login").status == 200
    assert ask(site, "GET", "/vote").path == "vote/"


def test_who_is_logged_in_gets_the_page(site):
    assert "<h1>Vote</h1>" in ask(site, "GET", "/vote/", login(site, "ann")).text


@pytest.mark.parametrize("cookie", [None, "demo_session=0", "demo_session=../../etc/passwd"])
def test_the_socket_is_refused_without_a_login(site, cookie):
    with pytest.raises(Refused) as refused:
        Person(site, "/vote/socket", headers={"Cookie": cookie})
    assert (refused.value.status, refused.value.body) == (403, b"403 Forbidden: log in first\n")
    assert len(site.push) == 0


def test_the_cookie_is_for_no_script_and_for_no_other_site(site):
    answer = ask(site, "POST", "/vote/login", form={"name": "ann"})
    (_, morsel), = answer.cookies.items()
    assert morsel["httponly"] and morsel["samesite"] == "Lax"


def test_a_login_begins_another_session(site):
    before = login(site, "ann")
    answer = ask(site, "POST", "/vote/login", before, {"name": "bob"})
    (key, morsel), = answer.cookies.items()
    assert f"{key}={morsel.value}" != before
    assert ask(site, "GET", "/vote/", before).path == "vote/login"
    assert ask(site, "GET", "/vote/", f"{key}={morsel.value}").status == 200


def test_all_pages_count_each_vote(site):
    with voter(site, login(site, "ann")) as ann, voter(site, login(site, "bob")) as bob:
        assert counts(ann.hear_of("vote")) == dict.fromkeys(CANDIDATES, 0)
        assert ann.hear() == {"type": "mine", "name": "ann", "vote": None}
        bob.hear_of("mine")
        ann.tell("2")
        for person in (ann, bob):
            assert counts(person.hear_of("vote")) == {"1": 0, "2": 1, "3": 0}
        bob.tell("2")
        assert counts(ann.hear_of("vote")) == {"1": 0, "2": 2, "3": 0}


def test_a_name_has_one_vote_which_may_be_changed_in_any_window(site):
    with voter(site, login(site, "ann")) as ann, voter(site, login(site, "ann")) as other:
        for person in (ann, other):
            person.hear_of("mine")
        ann.tell("1")
        assert other.hear_of("mine") == {"type": "mine", "name": "ann", "vote": "1"}
        other.tell("3")
        ann.hear_of("mine")
        assert ann.hear_of("mine")["vote"] == "3"
        with voter(site, login(site, "ann")) as third:
            assert counts(third.hear_of("vote")) == {"1": 0, "2": 0, "3": 1}
            assert third.hear()["vote"] == "3"


def test_a_notice_reaches_everybody_on_the_page(site):
    cookie = login(site, "ann")
    with voter(site, cookie) as ann, voter(site, login(site, "bob")) as bob:
        wait_until(lambda: site.push.channels().get(vote.CHANNEL) == 2)
        assert ask(site, "POST", "/notify", cookie).text == "sent"
        for person in (ann, bob):
            alert = person.hear_of("alert")
            assert (alert["from"], alert["data"]) == ("ann", vote.NOTICE)


@pytest.mark.parametrize("path", ["/notify", "/vote/logout"])
def test_forms_are_sent_by_post_only(site, path):
    answer = ask(site, "GET", path, login(site, "ann"))
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/vote/login", "/vote/logout", "/notify"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1"])
def test_a_form_of_another_origin_does_nothing(site, path, origin):
    cookie = login(site, "ann")
    with voter(site, cookie) as ann:
        ann.hear_of("mine")
        answer = ask(site, "POST", path, cookie, {"name": "mallory"}, Origin=origin)
        assert answer.status == 403 and "its own site" in answer.text
        ann.tell("1")
        assert ann.hear()["type"] == "vote"
        assert "<h1>Vote</h1>" in ask(site, "GET", "/vote/", cookie).text


def test_a_form_of_the_sites_own_origin_is_taken(site):
    assert login(site, "ann", Origin=site.url("", "http"))


def test_a_socket_of_another_origin_is_refused(site):
    with pytest.raises(Refused) as refused:
        Person(site, "/vote/socket",
               headers={"Cookie": login(site, "ann"), "Origin": "http://evil.example"})
    assert refused.value.status == 403


@pytest.mark.parametrize("form", [
    {}, {"name": ""}, {"name": "  "}, {"name": "x" * 41}, {"name": "a\nb"}, {"name": "\u202eann"},
    [("name", "a"), ("name", "b")]], ids=repr)
def test_a_bad_name_cannot_log_in(site, form):
    answer = ask(site, "POST", "/vote/login", form=form)
    assert answer.status == 400 and "name must have 1 to 40" in answer.text


def test_logging_out_ends_the_session_and_its_sockets(site):
    cookie, other = login(site, "ann"), login(site, "ann")
    with voter(site, cookie) as ann, voter(site, other) as still_there:
        ann.hear_of("mine")
        still_there.hear_of("mine")
        assert ask(site, "POST", "/vote/logout", cookie).path == "vote/login"
        assert ann.client.close_code() == 3505
        assert ask(site, "GET", "/vote/", cookie).path == "vote/login"
        with pytest.raises(Refused):
            voter(site, cookie)
        still_there.tell("1")
        assert still_there.hear()["type"] == "vote"


@pytest.mark.parametrize("wrong", ["", "0", "4", "Tea", "[1]", "null", "1" * 60_000, "\u00b9"],
                         ids=lambda text: repr(text[:9]))
def test_wrong_input_gets_one_line_and_no_vote(site, wrong):
    with voter(site, login(site, "ann")) as ann:
        ann.hear_of("mine")
        ann.tell(wrong)
        assert ann.hear() == {"type": "error", "text": "send one of 1, 2, 3"}
        ann.client.send(0x82, b"\xff")
        assert ann.hear()["type"] == "error"
        ann.tell("1")
        assert counts(ann.hear()) == {"1": 1, "2": 0, "3": 0}


def test_only_so_many_names_have_votes(site, monkeypatch):
    monkeypatch.setattr(vote, "MAX_VOTERS", 1)
    with voter(site, login(site, "ann")) as ann, voter(site, login(site, "bob")) as bob:
        ann.tell("1")
        assert counts(bob.hear_of("vote")) in ({"1": 0, "2": 0, "3": 0}, {"1": 1, "2": 0, "3": 0})
        ann.hear_of("mine")
        assert ann.hear_of("mine")["vote"] == "1"
        bob.tell("2")
        assert "too many voters" in bob.hear_of("error")["text"]
        ann.tell("2")
        assert ann.hear_of("mine")["vote"] == "2"
