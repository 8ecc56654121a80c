"""Refusals by a close frame, for pages, and in the site's log."""
from __future__ import annotations

import contextlib
import logging
import struct

import cherrypy
import pytest

from pushserver import CentrifugeConnection, Tokens
from tests.support.handshakes import hook, raising
from tests.support.raw_client import Refused
from tests.support.site import Root, running_site
from tests.support.waiting import wait_until

ASKS = "/websocket?Id=42&refusals=close"


def told(site, path=ASKS, *, tls=None, **options):
    """Return the code and reason that a client reads, after the checks common to all refusals."""
    before = len(site.push)
    with site.socket(tls=tls) as client:
        client.handshake(path, **options)
        with contextlib.suppress(OSError):  # over TLS it may know already
            client.text("sent before the refusal was read")
        first, payload = client.frame()
        assert first == 0x88
        assert len(site.push) == before
        site.push.broadcast("not for those that were refused")
        with contextlib.suppress(OSError):
            client.send(0x88, payload[:2])
        assert client.at_end() and client.buffer == b""
    wait_until(lambda: site.push._hub._reserved == {})
    wait_until(lambda: not site.push._lifecycle.runtime.farewells)
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


class Raising:
    """A site whose page handler raises what it is told."""

    def __init__(self, error):
        self.error = error

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        raise self.error


@pytest.mark.parametrize("error, code, reason", [
    (cherrypy.HTTPError(401, "log in first"), 4501, "log in first"),
    (cherrypy.HTTPError(403, "<b>members</b>\nonly"), 4503, "<b>members</b> only"),
    (cherrypy.HTTPError(403), 4503, "Request forbidden -- authorization will not help"),
    (cherrypy.HTTPError(404, "no such room: " + "ä" * 200), 4504, "no such room: " + "ä" * 54),
    (cherrypy.HTTPError(409, "taken"), 4509, "taken"),
    (cherrypy.HTTPError(429, "too fast"), 4029, "too fast"),
    (cherrypy.HTTPError(503, "tonight"), 4103, "tonight"),
    (cherrypy.HTTPRedirect("https://elsewhere.example/?secret", 303), 4603,
     "the site redirects this request"),
    (ValueError("a secret of the site"), 4100, "the site failed: try again later"),
], ids=lambda value: type(value).__name__)
def test_what_the_page_handler_raises_is_told(error, code, reason):
    with running_site(Raising(error)) as site:
        assert told(site) == (code, reason)
        with pytest.raises(Refused), site.client():     # who does not ask gets the HTTP answer
            pass


@pytest.mark.parametrize("point", ["on_start_resource", "before_request_body", "before_handler",
                                   "before_finalize"])
@pytest.mark.parametrize("priority", [0, 50, 100])
@pytest.mark.parametrize("error, expected", [
    (cherrypy.HTTPError(402, "pay first"), (4502, "pay first")),
    (cherrypy.HTTPRedirect("/login"), (4603, "the site redirects this request")),
    (ValueError("a bug"), (4100, "the site failed: try again later"))],
    ids=["402", "redirect", "bug"])
def test_what_a_tool_raises_is_told(point, priority, error, expected):
    with running_site(config=hook(point, raising(error), priority=priority)) as site:
        assert told(site) == expected


@pytest.mark.parametrize("point, priority", [
    ("on_end_resource", 0), ("on_end_resource", 96), ("on_end_resource", 100),
    ("on_end_request", 0), ("on_end_request", 94)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_tool_raises_at_the_very_end_is_told(point, priority, capfd):
    config = hook(point, raising(ValueError("a bug")), priority=priority)
    with running_site(config=config) as site:
        code, reason = told(site)
        assert code == 4100 and "bug" not in reason


@pytest.mark.parametrize("config", [
    {"tools.gzip.on": True, "tools.gzip.mime_types": ["text/*"]},
    {"tools.encode.on": True}, {"tools.json_out.on": True}, {"tools.sessions.on": True},
    {"tools.etags.on": True, "tools.etags.autotags": True},
    {"response.stream": True}, {"error_page.default": lambda **_: "<html>an error</html>"},
], ids=lambda config: next(iter(config)))
def test_tools_that_work_on_pages_do_not_disturb(config):
    with running_site(Raising(cherrypy.HTTPError(403, "members only")),
                      config={"/": config}) as site:
        for _ in range(2):
            assert told(site, headers={"Accept-Encoding": "gzip"}) == (4503, "members only")


@pytest.mark.parametrize("offered, named", [
    ("chat, v2", "chat"), ("other, v2", "v2"), ("other", "other"), (", ,", None), (None, None),
    ("caf\xe9, ok", "ok")])
def test_a_subprotocol_is_named_or_browsers_would_not_show_why(offered, named):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(subprotocols=["chat", "v2"])
        def websocket(self, Id):
            raise cherrypy.HTTPError(403, "members only")

    with running_site(Site()) as site, site.socket() as client:
        answer = client.handshake(ASKS, headers={"Sec-WebSocket-Protocol": offered})
        assert answer["Sec-WebSocket-Protocol"] == named
        assert client.close_code() == 4503


def buffering(app):
    """Return a middleware that has the whole answer before it lets anything be written."""
    def buffered(environ, start_response):
        begun = []

        def begin(*args):
            begun.append(args)
        answer = app(environ, begin)
        try:
            body = b"".join(answer)
        finally:
            answer.close()
        start_response(*begun[0])
        return [body]
    return buffered


def test_a_middleware_that_buffers_answers_is_no_hindrance():
    config = {"/": {"wsgi.pipeline": [("buffer", buffering)]}}
    with running_site(Raising(cherrypy.HTTPError(403, "members only")), config=config) as site:
        with site.socket() as client:
            client.handshake(ASKS)
            assert client.frame() == (0x88, b"\x11\x97members only")
            assert client.at_end()


def test_a_cookie_reaches_a_client_that_is_refused():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.response.cookie["seen"] = "yes"
            raise cherrypy.HTTPError(403, "members only")

    with running_site(Site()) as site, site.socket() as client:
        assert client.handshake(ASKS)["Set-Cookie"] == "seen=yes"
        assert client.close_code() == 4503


@pytest.mark.parametrize("query, code, word", [
    ("Id=&refusals=close", 4500, "empty"), ("refusals=close", 4500, "missing"),
    ("Id=1&heartbeat=0&refusals=close", 4500, "heartbeat"),
    ("Id=%FF&refusals=close", 4500, "UTF-8"), ("Id=1&x=2&refusals=close", 4504, "x")])
def test_our_own_refusals_are_told(query, code, word):
    with running_site() as site:
        found, reason = told(site, "/websocket?" + query)
        assert found == code and word in reason


@pytest.mark.parametrize("settings, code", [
    ({"max_connections_per_id": 1}, 4029), ({"duplicates": "reject"}, 4029),
    ({"max_connections": 1}, 4103)])
def test_limits_are_told_and_the_refused_count_for_none(settings, code):
    with running_site(settings=settings) as site:
        with site.client() as client:
            for _ in range(3):
                assert told(site)[0] == code
            assert client.hang_up() == 1000
        wait_until(lambda: not site.push._lifecycle.runtime.links)
        with site.client(ASKS) as client:
            assert client.hang_up() == 1000


def test_a_server_that_is_draining_says_so():
    with running_site() as site:
        site.push.drain()
        assert told(site)[0] == 4103


def test_a_server_that_does_not_run_says_so():
    with running_site() as site:
        site.push.stop()
        with site.socket() as client:
            client.handshake(ASKS)
            assert client.close_code() == 4103 and client.at_end()


def test_stopping_waits_for_no_client_that_was_refused():
    with running_site(settings={"close_timeout": 60}) as site, site.socket() as client:
        site.push.drain()
        client.handshake(ASKS)
        assert client.close_code() == 4103
        wait_until(lambda: site.push._lifecycle.runtime.farewells)
        site.push.stop()
        assert client.at_end()


def test_over_tls_a_refusal_is_told_too(server_certificate, client_tls):
    with running_site(Raising(cherrypy.HTTPError(403, "members only")),
                      tls=server_certificate) as site:
        assert told(site, tls=client_tls) == (4503, "members only")


def test_no_thread_of_the_http_server_waits_for_those_who_stay():
    with running_site(Raising(cherrypy.HTTPError(403, "members only")), threads=1,
                      settings={"close_timeout": 60}) as site, contextlib.ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(site.socket())
            client.handshake(ASKS)
            assert client.close_code() == 4503


@pytest.mark.parametrize("query", ["refusals=http", "refusals=", "refusals=close&refusals=close"])
def test_another_value_is_refused_over_http(query):
    with running_site() as site, pytest.raises(Refused) as refused:
        with site.client(f"/websocket?Id=1&{query}"):
            pass
    assert refused.value.status == 400
    assert b"refusals=close" in refused.value.body


@pytest.mark.parametrize("headers, status", [
    ({"Upgrade": None}, 426), ({"Sec-WebSocket-Version": "8"}, 426),
    ({"Sec-WebSocket-Key": "short"}, 400), ({"Connection": "close"}, 400)])
def test_what_is_no_handshake_gets_an_http_answer(headers, status):
    with running_site() as site, pytest.raises(Refused) as refused:
        with site.client(ASKS, headers=headers):
            pass
    assert refused.value.status == status


def test_a_page_handler_may_have_a_parameter_of_that_name():
    seen = []

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id, refusals="none"):
            seen.append(refusals)
            raise cherrypy.HTTPError(403, "members only")

        @cherrypy.expose
        @cherrypy.tools.push()
        def others(self, Id, **others):
            seen.append(others)

    with running_site(Site()) as site:
        with pytest.raises(Refused), site.client(ASKS):
            pass
        with site.client("/others?Id=1&refusals=close&x=2") as client:
            assert client.hang_up() == 1000
    assert seen == ["close", {"x": "2"}]


@pytest.mark.parametrize("point", [None, "on_start_resource", "before_request_body"])
def test_a_page_of_another_site_reads_nothing_that_the_site_says(point):
    error = cherrypy.HTTPError(403, "a secret of Ada's")
    config = hook(point, raising(error), priority=0) if point else None
    with running_site(Raising(error), config=config) as site, site.socket() as client:
        headers = {"Origin": "https://evil.example"}
        if point:
            with pytest.raises(Refused):    # by HTTP, which a page cannot read
                client.handshake(ASKS, headers=headers)
        else:
            client.handshake(ASKS, headers=headers)
            first, payload = client.frame()
            assert first == 0x88 and b"allowed_origins" in payload and b"secret" not in payload


@pytest.mark.parametrize("handler_cls, protocol", [(None, "plain"),
                                                   (CentrifugeConnection, "centrifuge")])
def test_what_a_token_lacks_is_for_the_log_only(handler_cls, protocol, caplog):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(protocol=protocol)
        def websocket(self):
            """Take tokens only."""

    caplog.set_level(logging.INFO, "pushserver")
    with running_site(Site(), plugin={"tokens": Tokens(secret="s" * 32)}) as site:
        assert told(site, "/websocket?token=no.to.ken&refusals=close") == \
            (4501, "the token is not valid: get a new one")
    assert any("token" in line and "[" in line for line in lines(caplog))
    assert "no.to.ken" not in "".join(lines(caplog))


def lines(caplog):
    return [record.getMessage() for record in caplog.records
            if record.name == "pushserver.web.refusals"]


def refuse(site, path="/websocket?Id=42", **options):
    with pytest.raises(Refused), site.client(path, **options):
        pass


def test_the_log_says_why_clients_are_refused_in_one_line_for_many(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site(Raising(cherrypy.HTTPError(403, "members\r\nonly"))) as site:
        for _ in range(3):
            refuse(site)
        told(site)
        refuse(site, headers={"Origin": "https://app.example.org"})
        address = f"http://127.0.0.1:{site.port}"
    assert lines(caplog)[0] == \
        "refused with 403, address 127.0.0.1, Id '42': members  only"
    assert len(lines(caplog)) == 2
    assert "'https://app.example.org'" in lines(caplog)[1]
    assert f"the site is '{address}'" in lines(caplog)[1]


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 503])
def test_every_refusal_is_logged_once(status, caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site(Raising(cherrypy.HTTPError(status, "why"))) as site:
        refuse(site)
    assert lines(caplog) == [f"refused with {status}, address 127.0.0.1, Id '42': why"]


def test_what_a_client_sends_makes_no_line_of_its_own(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site() as site:
        refuse(site, "/websocket?Id=1&canary=2")
        refuse(site, headers={"Origin": "http://x\x1b[31m\x85INFO y"})
        refuse(site, headers={"Host": "a\x85b", "Origin": "http://x"})
        refuse(site, method="CANARY")
    text = "".join(lines(caplog))
    assert len(lines(caplog)) == 4 and text.isprintable()
    assert "canary" not in text.lower()


def test_a_connection_that_is_made_is_no_refusal(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site() as site, site.client(ASKS) as client:
        assert client.hang_up() == 1000
    assert lines(caplog) == []


@pytest.mark.parametrize("level, in_cherrypys", [(logging.NOTSET, 1), (logging.WARNING, 0)])
def test_without_a_level_of_ours_cherrypys_log_has_the_line(level, in_cherrypys, caplog):
    caplog.set_level(logging.WARNING)
    caplog.set_level(level, "pushserver")
    caplog.handler.setLevel(logging.NOTSET)
    with running_site(Raising(cherrypy.HTTPError(403, "members only"))) as site:
        refuse(site)
    found = [record for record in caplog.records if record.name.startswith("cherrypy.error")
             and "PUSH refused with 403" in record.getMessage()]
    assert (len(found), lines(caplog)) == (in_cherrypys, [])


def test_a_page_is_accepted_as_before():
    with running_site(Root()) as site, site.client("/echo?Id=1&refusals=close") as client:
        client.text("hello")
        assert client.message() == "hello"
        assert client.hang_up() == 1000
