"""WSGI middleware around a site: a handshake succeeds, or is refused and the log says why."""
from __future__ import annotations

import contextlib
import logging

import cherrypy
import pytest
from cherrypy._cptree import Tree

from pushserver.web import socket_takeover
from tests.support import middlewares
from tests.support.middlewares import PREVENTING, WORKING
from tests.support.raw_client import Refused, masked_frame
from tests.support.site import Echo, Root, recorder, running_site
from tests.support.waiting import wait_until

OUR_HEADERS = ["Upgrade", "Connection", "Sec-WebSocket-Accept"]


def name(middleware):
    return middleware.__name__


@pytest.fixture(autouse=True)
def said_once():
    socket_takeover.warn_once.cache_clear()


@contextlib.contextmanager
def around(middleware, where="pipeline", root=None, **options):
    """Serve a site with middleware in CherryPy's pipeline, or around the whole application."""
    app = cherrypy.Application(root or Root(), "")
    tree = Tree()
    if where == "pipeline":
        app.wsgiapp.pipeline.append(("middleware", middleware))
        tree.mount(app, "")
    else:
        tree.graft(middleware(app), "")
    with running_site(tree, **options) as site:
        yield site


def warnings(caplog):
    return [record.getMessage() for record in caplog.records
            if record.name.startswith("pushserver") and record.levelno >= logging.WARNING]


@pytest.mark.parametrize("where", ["pipeline", "outside"])
@pytest.mark.parametrize("middleware", WORKING, ids=name)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handshake_succeeds_inside_of_middleware(middleware, where, caplog):
    with around(middleware, where) as site:
        for _ in range(3):
            with site.socket() as client:
                headers = client.handshake("/echo?Id=42", behind=masked_frame(0x81, b"early"))
                assert client.message() == "early"
                assert site.push.send("42", "pushed") == 1
                assert client.message() == "pushed"
                assert client.hang_up() == 1000
            assert headers["Connection"] == "Upgrade" and headers["Upgrade"] == "websocket"
            assert [sum(key == ours for key in headers) for ours in OUR_HEADERS] == [1, 1, 1]
            assert not {"Content-Length", "Content-Type", "Content-Encoding", "Keep-Alive",
                        "Transfer-Encoding", "Vary"} & set(headers)
            wait_until(lambda: len(site.push) == 0)
        assert site.push._hub._reserved == {}
    assert warnings(caplog) == []


@pytest.mark.parametrize("middleware", [middlewares.buffers, middlewares.never_closes,
                                        middlewares.closes_at_the_end_of_the_iteration], ids=name)
def test_a_handshake_succeeds_inside_of_middleware_over_tls(middleware, server_certificate,
                                                            client_tls):
    with around(middleware, tls=server_certificate) as site:
        with site.client("/echo?Id=1", tls=client_tls) as client:
            client.text("hello")
            assert client.message() == "hello"
            assert client.hang_up() == 1000


def test_middleware_within_middleware():
    def all_of_them(app):
        for middleware in (middlewares.closes_at_the_end_of_the_iteration,
                           middlewares.starts_late, middlewares.catches_all,
                           middlewares.adds_to_the_body, middlewares.compresses,
                           middlewares.buffers, middlewares.never_closes):
            app = middleware(app)
        return app

    with around(all_of_them) as site, site.client("/echo?Id=1") as client:
        client.text("hello")
        assert client.message() == "hello"


@pytest.mark.parametrize("middleware", PREVENTING, ids=name)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_middleware_that_prevents_a_handshake_is_in_the_log_once(middleware, caplog):
    Handler = recorder()

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

    with around(middleware, root=Site(), settings={"max_connections_per_id": 1}) as site:
        for _ in range(3):  # nor does it use the place up
            with site.socket() as client:
                with pytest.raises(Refused) as refused:
                    client.handshake()
                assert refused.value.status == PREVENTING[middleware]
                assert "Sec-WebSocket-Accept" not in refused.value.headers
                site.push.broadcast("not for those that were refused")
                assert client.at_end() and client.buffer == b""
        assert Handler.log == [] and len(site.push) == 0
        assert site.push._hub._reserved == {}
    said = [line for line in warnings(caplog) if "middleware" in line]
    assert said and len(said) == len(set(said)) and all(": " in line for line in said)
    assert not any("Id" in line for line in said)


def test_a_stream_in_place_of_the_101_is_sent_as_it_comes(caplog):
    with around(middlewares.answers_without_an_end) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake()
        assert refused.value.status == 200
        assert len(client.exactly(1 << 20)) == 1 << 20
        client.reset()
        wait_until(lambda: site.push._hub._reserved == {})
        wait_until(lambda: warnings(caplog))


@pytest.mark.parametrize("middleware", WORKING, ids=name)
@pytest.mark.parametrize("error", [cherrypy.HTTPError(403, "members only"), ValueError("a bug")],
                         ids=["403", "bug"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_refusal_passes_middleware_without_a_warning(middleware, error, caplog):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def websocket(self, Id):
            raise error

    with around(middleware, root=Site()) as site:
        with site.socket() as client:
            with pytest.raises(Refused) as refused:
                client.handshake()
            assert refused.value.status in (403, 500)
            client.at_end()
        assert site.push._hub._reserved == {} and len(site.push) == 0
    assert not any("middleware" in line for line in warnings(caplog))


@pytest.mark.parametrize("where", ["pipeline", "outside"])
@pytest.mark.parametrize("middleware", WORKING, ids=name)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_page_is_told_by_a_close_frame_through_middleware(middleware, where, caplog):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def websocket(self, Id):
            raise cherrypy.HTTPError(403, "members only")

    with around(middleware, where, root=Site()) as site:
        for _ in range(2):
            with site.socket() as client:
                client.handshake("/websocket?Id=42&refusals=close")
                first, payload = client.frame()
                assert first == 0x88 and payload[2:] == b"members only"
                assert 4500 <= int.from_bytes(payload[:2], "big") < 5000
                client.send(0x88, payload[:2])
                assert client.at_end()
        assert site.push._hub._reserved == {} and len(site.push) == 0
    assert not any("middleware" in line for line in warnings(caplog))


def test_a_page_handler_may_redirect_inside_of_cherrypy():
    class Site(Root):
        @cherrypy.expose
        @cherrypy.tools.push()
        def old(self, Id):
            raise cherrypy.InternalRedirect("/echo?Id=1")

        @cherrypy.expose
        @cherrypy.tools.push()
        def to_a_page(self, Id):
            raise cherrypy.InternalRedirect("/")

    with running_site(Site()) as site:
        with site.client("/old?Id=1") as client:
            client.text("hello")
            assert client.message() == "hello"
        with pytest.raises(Refused) as page:
            site.client("/to_a_page?Id=1")
        assert page.value.body == b"page"
        wait_until(lambda: len(site.push) == 0)
        assert site.push._hub._reserved == {}


def test_pages_inside_of_middleware_stay_pages():
    with around(middlewares.closes_at_the_end_of_the_iteration) as site, site.socket() as client:
        for _ in range(3):
            with pytest.raises(Refused) as page:
                client.handshake("/", headers={"Connection": "keep-alive"})
            assert page.value.body == b"page"


def test_an_agent_that_wraps_cheroots_own_methods_does_not_hide_the_request(monkeypatch):
    from cheroot.server import HTTPRequest
    original = HTTPRequest.respond

    def respond(*args, **options):
        return original(*args, **options)

    monkeypatch.setattr(HTTPRequest, "respond", respond)
    with running_site() as site, site.client("/echo?Id=1") as client:
        client.text("hello")
        assert client.message() == "hello"
