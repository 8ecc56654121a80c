"""What the site says to a handshake: its page handlers and its tools."""
from __future__ import annotations

import cherrypy
import pytest

from tests.support.handshakes import accepted, check_plain_text, hook, raising, refusal
from tests.support.raw_client import Refused
from tests.support.site import Recorder, Root, running_site
from tests.support.waiting import wait_until


class Raising:
    """A site whose page handler raises what it is told."""

    def __init__(self, error):
        self.error = error

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        raise self.error


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 418, 429, 500, 503])
def test_the_page_handlers_http_error_is_the_answer(status):
    with running_site(Raising(cherrypy.HTTPError(status, "members only, <b>sorry</b>"))) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == status
        assert b"members only" in refused.value.body
        assert len(site.push) == 0


def test_a_refused_client_gets_403_and_is_never_handed_over():
    log = []
    Handler = type("Handler", (Recorder,), {"log": log})

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            raise cherrypy.HTTPError(403, "members only")

    with running_site(Site()) as site:
        refused = refusal(site, headers={"Connection": "Upgrade"})
        assert refused.status == 403
        assert log == []


def test_the_page_handlers_redirect_is_the_answer():
    with running_site(Raising(cherrypy.HTTPRedirect("https://elsewhere.example/", 303))) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == 303
        assert refused.value.headers["Location"] == "https://elsewhere.example/"
        assert len(site.push) == 0


def test_a_bug_in_the_page_handler_is_answered_500_without_its_traceback(caplog):
    with running_site(Raising(ValueError("a secret of the site"))) as site:
        refused = refusal(site)
        assert refused.status == 500
        assert b"secret" not in refused.body
    assert "a secret of the site" in caplog.text


@pytest.mark.parametrize("status", [200, 204, 301, 304, 403, 500, "403 Members only"])
def test_a_status_that_the_page_handler_sets_is_the_answer(status):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.response.status = status
            return "no more than this"

    with running_site(Site()) as site:
        if status == 200:
            accepted(site)
            return
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == int(str(status)[:3])
        assert len(site.push) == 0


@pytest.mark.parametrize("point", ["on_start_resource", "before_request_body", "before_handler",
                                   "before_finalize"])
@pytest.mark.parametrize("priority", [0, 50, 100])
@pytest.mark.parametrize("error, status", [
    (cherrypy.HTTPError(402, "pay first"), 402),
    (cherrypy.HTTPRedirect("https://elsewhere.example/", 302), 302),
    (ValueError("a bug of the site"), 500),
], ids=["402", "redirect", "bug"])
def test_a_tool_that_raises_before_the_answer_is_made_refuses(point, priority, error, status):
    config = hook(point, raising(error), priority=priority)
    with running_site(config=config) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == status
        assert "Sec-WebSocket-Accept" not in refused.value.headers
        assert len(site.push) == 0
        wait_until(lambda: site.push._hub._reserved == {})


@pytest.mark.parametrize("point, priority", [
    ("on_end_resource", 0), ("on_end_resource", 50), ("on_end_resource", 100),
    ("on_end_request", 0), ("on_end_request", 50), ("on_end_request", 94)])
@pytest.mark.parametrize("error", [cherrypy.HTTPError(402, "pay first"), ValueError("a bug")],
                         ids=["402", "bug"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tool_that_raises_at_the_very_end_refuses_too(point, priority, error, capfd):
    config = hook(point, raising(error), priority=priority)
    with running_site(config=config) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake()
        assert refused.value.status in (402, 500)
        check_plain_text(refused.value)
        assert len(site.push) == 0
        site.push.broadcast("for members only")
        assert client.at_end() and client.buffer == b""
        assert site.push._hub._reserved == {}


def test_a_tool_that_answers_in_the_handlers_place_refuses():
    """As CherryPy's session_auth does with its login screen."""
    def login_screen():
        cherrypy.request.handler = None
        cherrypy.response.body = b"log in first"

    with running_site(config=hook("before_handler", login_screen)) as site:
        with pytest.raises(Refused) as refused, site.client():
            pass
        assert refused.value.status == 200
        assert refused.value.body == b"log in first"
        assert len(site.push) == 0


def test_a_tool_that_wraps_the_handler_is_no_hindrance():
    """As CherryPy's json_out does."""
    called = []

    def wrap():
        inner = cherrypy.request.handler

        def outer(*args, **kwargs):
            called.append(True)
            return inner(*args, **kwargs)
        cherrypy.request.handler = outer

    with running_site(config=hook("before_handler", wrap)) as site:
        accepted(site)
        assert called


def test_basic_authentication_says_who_the_connection_is():
    checked = cherrypy.lib.auth_basic.checkpassword_dict({"ada": "lovelace"})
    config = {"/": {"tools.auth_basic.on": True, "tools.auth_basic.realm": "push",
                    "tools.auth_basic.checkpassword": checked}}
    with running_site(config=config) as site:
        refused = refusal(site)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        headers = {"Authorization": "Basic YWRhOmxvdmVsYWNl"}
        with site.client(headers=headers) as client:
            assert site.push.connections("42")[0].user == "ada"
            assert client.hang_up() == 1000


def test_the_page_handler_can_leave_something_for_the_connection():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.request.push_data["room"] = "blue"
            return "unused"

    with running_site(Site()) as site, site.client("/websocket?Id=7") as client:
        connection, = site.push.connections()
        assert connection.data == {"room": "blue"}
        assert connection.Id == "7"
        assert connection.user is None
        assert connection.environ["QUERY_STRING"] == "Id=7"
        assert connection.peer_address == client.sock.getsockname()
        assert connection.local_address[1] == site.port
        assert client.hang_up() == 1000


def test_connections_do_not_share_what_a_page_handler_left():
    with running_site() as site, site.client() as one, site.client() as two:
        first, second = site.push.connections()
        first.data["room"] = "blue"
        assert second.data == {}
        assert one.hang_up() == two.hang_up() == 1000


@pytest.mark.parametrize("config", [
    {"tools.gzip.on": True, "tools.gzip.mime_types": ["text/*", "application/*"]},
    {"tools.encode.on": True, "tools.encode.encoding": "utf-8"},
    {"tools.json_out.on": True},
    {"tools.sessions.on": True},
    {"tools.caching.on": True},
    {"tools.etags.on": True, "tools.etags.autotags": True},
    {"tools.response_headers.on": True,
     "tools.response_headers.headers": [("X-Site", "ours"), ("Content-Type", "text/html")]},
    {"tools.trailing_slash.on": True},
    {"tools.expires.on": True, "tools.expires.secs": 60},
    {"tools.log_headers.on": True, "tools.log_hooks.on": True},
    {"tools.autovary.on": True},
    {"tools.flatten.on": True},
    {"tools.decode.on": True},
    {"response.stream": True},
    {"tools.gzip.on": True, "tools.encode.on": True, "tools.json_out.on": True,
     "tools.sessions.on": True, "tools.caching.on": True, "tools.proxy.on": True},
], ids=lambda config: "+".join(name.split(".")[1] for name in config if name.endswith(".on"))
   or "stream")
def test_tools_that_work_on_pages_do_not_disturb(config):
    with running_site(config={"/": config}) as site:
        for number in range(3):
            with site.client("/echo?Id=1", headers={"Accept-Encoding": "gzip"}) as client:
                client.text(f"hello {number}")
                assert client.message() == f"hello {number}"
                assert client.hang_up() == 1000


def test_a_session_reaches_the_page_handler_and_its_cookie_the_client():
    class Site(Root):
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            cherrypy.session["visits"] = cherrypy.session.get("visits", 0) + 1
            cherrypy.request.push_data["visits"] = cherrypy.session["visits"]

    with running_site(Site(), config={"/": {"tools.sessions.on": True}}) as site:
        with site.socket() as client:
            cookie = client.handshake()["Set-Cookie"].split(";")[0]
            assert client.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        with site.client(headers={"Cookie": cookie}) as client:
            assert site.push.connections()[0].data == {"visits": 2}
            assert client.hang_up() == 1000
