"""Headers and tokens that are new for each connection of a plain client."""
from __future__ import annotations

import threading
import time

import cherrypy
import jwt
import pytest

from pushclient import (ConnectTimeout, CredentialsFailed, InvalidSetting, PushClient, Refused)
from pushserver import Tokens
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support.scripted_server import Server
from tests.support.site import lose, running_site
from tests.support.waiting import PATIENCE, wait_until

KEY = "k" * 32
SOON = 3.0


class Seen:
    """A script that notes what each request shows, and ends the first connections."""

    def __init__(self, *names, ends=2):
        self.requests = []
        self._names = names
        self._ends = ends

    def __call__(self, peer):
        peer.read_request()
        self.requests.append([peer.header(name) for name in self._names] or peer.resource)
        peer.answer(with_it=frame(OPCODE_TEXT, b"this proves the connection"))
        if len(self.requests) <= self._ends:
            peer.close(1012)
        else:
            peer.receive()


def shown(seen, change=lambda number: None, **options):
    """Return what three connections of a client have shown; change something after each."""
    told = []

    def state(name):
        if name == "open":
            told.append(name)
            change(len(told))
    with Server(seen) as server:
        with PushClient(server.url, proxy=None, timeout=PATIENCE, on_state=state, **options):
            wait_until(lambda: len(seen.requests) == 3)
    return seen.requests


def test_a_function_for_headers_is_called_for_each_connection():
    numbers = iter(range(100))
    assert shown(Seen("Authorization", "User-Agent"), headers=lambda: {
        "Authorization": f"Bearer {next(numbers)}", "user-agent": "mine"}) == [
            [f"Bearer {number}", "mine"] for number in range(3)]


@pytest.mark.parametrize("make", [dict, lambda pairs: list(pairs)])
def test_headers_that_change_meanwhile_count(make):
    headers = make([("Authorization", "Bearer 0")])

    def change(number):
        if isinstance(headers, dict):
            headers["Authorization"] = f"Bearer {number}"
        else:
            headers[:] = [("Authorization", f"Bearer {number}")]
    assert shown(Seen("Authorization"), change, headers=headers) == [
        [f"Bearer {number}"] for number in range(3)]


@pytest.mark.parametrize("headers", [
    (("X-A", "1"), ("X-B", "2")), iter([("X-A", "1"), ("X-B", "2")]),
    (pair for pair in [("X-A", "1"), ("X-B", "2")]), {"X-A": "1", "X-B": "2"}.items(),
    lambda: iter([("X-A", "1"), ("X-B", "2")]), lambda: {"X-A": "1", "X-B": "2"}])
def test_headers_in_each_form_are_shown_each_time(headers):
    assert shown(Seen("X-A", "X-B"), headers=headers) == [["1", "2"]] * 3


@pytest.mark.parametrize("headers", [None, lambda: None, lambda: {}, lambda: [], ()])
def test_no_headers_are_none_and_origin_stays(headers):
    assert shown(Seen("Origin", "Authorization"), headers=headers, origin="https://a") == [
        ["https://a", None]] * 3


def test_no_origin_is_shown_by_itself():
    assert shown(Seen("Origin")) == [[None]] * 3


def test_a_function_may_give_the_origin():
    assert shown(Seen("Origin"), headers=lambda: {"origin": "https://b"}) == [["https://b"]] * 3


def test_a_function_for_the_token_is_called_for_each_connection():
    tokens = iter(["b&c é", "a.b-c_d", None])
    assert shown(Seen(), Id="42", token=lambda: next(tokens)) == [
        "/websocket?Id=42&token=b%26c%20%C3%A9", "/websocket?Id=42&token=a.b-c_d",
        "/websocket?Id=42"]


def test_a_token_that_is_text_is_shown_each_time():
    assert shown(Seen(), token="a.b-c_d") == ["/websocket?token=a.b-c_d"] * 3


@pytest.mark.parametrize("error", [ConnectionError("no such server"), KeyError("x"),
                                   SystemExit(3)])
@pytest.mark.parametrize("option", ["headers", "token"])
def test_a_function_that_fails_is_called_again_after_a_delay(option, error):
    calls, errors = [], []

    def function():
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise error
        return None

    def state(name):
        if name == "waiting":
            errors.append(client.error)
    with Server(Seen(ends=0)) as server:
        with PushClient(server.url, proxy=None, on_state=state, **{option: function}) as client:
            wait_until(lambda: client.state == "open")
        assert server.accepted == 1
    assert len(calls) == 3 and len(errors) == 2
    for one in errors:
        assert isinstance(one, CredentialsFailed) and one.__cause__ is error
        assert str(one) == f"the {option} function failed: {error!r}"


@pytest.mark.parametrize("option", ["headers", "token"])
def test_a_function_that_always_fails_counts_as_failed_attempts(option):
    def function():
        raise ValueError("never")
    with PushClient("ws://127.0.0.1:1/", proxy=None, max_attempts=2, **{option: function}) as one:
        with pytest.raises(CredentialsFailed, match="never"):
            next(one)


@pytest.mark.parametrize("option", ["headers", "token"])
def test_a_function_that_hangs_is_given_up_and_called_no_second_time(option):
    release, calls, errors = threading.Event(), [], []

    def function():
        calls.append(1)
        release.wait(PATIENCE)

    def state(name):
        if name == "waiting":
            errors.append(client.error)
    with Server(Seen(ends=0)) as server:
        with PushClient(server.url, proxy=None, timeout=0.2, on_state=state,
                        **{option: function}) as client:
            wait_until(lambda: len(errors) == 2)
            release.set()
            wait_until(lambda: client.state == "open")
    assert calls == [1] and all(isinstance(one, ConnectTimeout) for one in errors)
    assert str(errors[0]) == f"the {option} function took longer than 0.2 s"


def test_close_interrupts_a_function():
    release = threading.Event()
    try:
        client = PushClient("ws://127.0.0.1:1/", proxy=None, headers=lambda: release.wait(60))
        client.start()
        wait_until(lambda: any(thread.name == "pushclient the headers function"
                               for thread in threading.enumerate()))
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < SOON
    finally:
        release.set()


@pytest.mark.parametrize("option, value, words", [
    ("headers", 5, "headers: use a mapping, or pairs"), ("headers", "text", "headers: use"),
    ("headers", [("a",)], "headers: use"), ("headers", {"A": "1\r\nB: 2"}, "header A: use text"),
    ("headers", {"Upgrade": "h2c"}, "the handshake sets it"), ("headers", {"A": 5}, "header A"),
    ("token", 5, "token is int: use text"), ("token", b"x", "token is bytes")])
def test_what_cannot_work_is_said_at_once_or_ends_the_client(option, value, words):
    with pytest.raises(InvalidSetting, match=words):
        PushClient("ws://localhost/", **{option: value})
    with PushClient("ws://127.0.0.1:1/", proxy=None, **{option: lambda: value}) as client:
        with pytest.raises(InvalidSetting, match=words):
            next(client)


def test_a_url_with_a_token_of_its_own_takes_no_other():
    with pytest.raises(InvalidSetting, match="token: the URL already has one"):
        PushClient("ws://localhost/?token=x", token=lambda: "y")
    PushClient("ws://localhost/?token=x")


# cookies

class Setting:
    """A script that sets cookies with its answers and notes those that it is shown."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.shown = []

    def __call__(self, peer):
        peer.read_request()
        self.shown.append(peer.header("Cookie"))
        extra = self.lines.pop(0) if self.lines else []
        if isinstance(extra, str):
            peer.sock.sendall(f"HTTP/1.1 503 No\r\nSet-Cookie: {extra}\r\n\r\n".encode())
            return
        peer.answer(with_it=frame(OPCODE_TEXT, b"x"),
                    extra="".join(f"Set-Cookie: {line}\r\n" for line in extra))
        peer.close(1012) if self.lines else peer.receive()


def test_the_servers_cookies_are_shown_at_the_next_connection():
    setting = Setting(["AWSALB=node1; Path=/; Max-Age=600", "route=a=b; HttpOnly"],
                      "AWSALB=node2; Expires=Thu, 01 Jan 2099 00:00:00 GMT",
                      ["route=; Max-Age=0", "AWSALB=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], [])
    with Server(setting) as server, PushClient(server.url, proxy=None):
        wait_until(lambda: len(setting.shown) == 4)
    assert setting.shown == [None, "AWSALB=node1; route=a=b", "route=a=b; AWSALB=node2", None]


def test_cookies_in_the_headers_stay_and_come_first():
    setting = Setting(["mine=theirs", "more=2"], [], [])
    with Server(setting) as server:
        with PushClient(server.url, proxy=None, headers={"cookie": "mine=1; b"}) as client:
            wait_until(lambda: len(setting.shown) == 3)
            assert client.error is None
    assert setting.shown == ["mine=1; b", "mine=1; b; more=2", "mine=1; b; more=2"]


# against the real server

class Root:
    """Who has the password of the moment is let in."""

    valid = "one"

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id=None):
        if cherrypy.request.headers.get("Authorization", "Bearer one")[7:] != self.valid:
            raise cherrypy.HTTPError(401)


def test_new_headers_let_a_client_back_in():
    with running_site(Root()) as site:
        passwords = ["one"]
        with PushClient(site.url("/websocket"), Id="42", proxy=None, headers=lambda: {
                "Authorization": f"Bearer {passwords[0]}"}) as client:
            wait_until(lambda: len(site.push) == 1)
            Root.valid = passwords[0] = "two"
            try:
                lose(site)
                wait_until(lambda: len(site.push) == 1 and client.state == "open")
                passwords[0] = "three"
                lose(site)
                with pytest.raises(Refused, match="401"):
                    next(client)
            finally:
                Root.valid = "one"


def test_a_token_that_expires_is_followed_by_another():
    made = []

    def token():
        made.append(jwt.encode({"sub": "42", "exp": time.time() + 1.5}, KEY, "HS256"))
        return made[-1]
    with running_site(Root(), plugin={"tokens": Tokens(KEY)}) as site:
        with PushClient(site.url("/websocket"), proxy=None, token=token) as client:
            wait_until(lambda: len(made) == 3 and client.state == "open")
            assert site.push.ids() == ["42"]
    assert len(set(made)) == 3
