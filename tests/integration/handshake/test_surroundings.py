"""What is around handshakes: pages, other servers, the log, bugs of the site."""
from __future__ import annotations

import logging
import threading
from wsgiref.simple_server import make_server, WSGIRequestHandler

import cherrypy
import pytest

from pushserver import Connection
from pushserver.channels.memory_broker import MemoryBroker
from tests.support.handshakes import refusal
from tests.support.raw_client import Client, Refused
from tests.support.site import Root, running_site


def test_a_page_without_the_tool_is_a_page():
    with running_site() as site, site.socket() as client:
        with pytest.raises(Refused) as page:
            client.handshake("/")
        assert (page.value.status, page.value.body) == (200, b"page")


def test_several_pages_and_then_a_handshake_on_one_socket():
    with running_site() as site, site.socket() as client:
        for _ in range(3):
            with pytest.raises(Refused):
                client.handshake("/", headers={"Connection": "keep-alive"})
        client.handshake("/echo?Id=1")
        client.text("hello")
        assert client.message() == "hello"


def test_another_http_server_than_cherrypys_is_told_what_push_needs():
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    app = cherrypy.Application(Root(), "")
    with running_site(), make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with Client(server.server_address) as client, pytest.raises(Refused) as refused:
            client.handshake()
        thread.join()
    assert refused.value.status == 501
    assert b"cheroot" in refused.value.body


def test_what_clients_send_is_not_in_the_log_of_the_site(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site() as site:
        refusal(site, "/websocket?Id=secret%00", headers={"Origin": "https://secret.example"})
        with site.client("/echo?Id=1") as client:
            client.text("secret")
            assert client.message() == "secret"
            client.send(0xF1, b"secret")
            assert client.close_code() == 1002
    assert "secret" not in "".join(record.getMessage() for record in caplog.records
                                   if record.name.startswith("pushserver"))


def test_a_handler_class_that_cannot_be_made_is_answered_500(caplog):
    class Broken(Connection):
        def __init__(self, *args, **kwargs):
            raise ValueError("a bug of the site")

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Broken)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site:
        refused = refusal(site)
        assert refused.status == 500
        assert b"bug" not in refused.body
        assert site.push._hub._reserved == {}
    assert "a bug of the site" in caplog.text


class Away(MemoryBroker):
    """A broker that is not there when a channel gets its first connection."""

    def subscribe(self, channel):
        raise ConnectionError("the broker is away")


def test_a_broker_that_is_away_refuses_the_handshake_and_harms_nobody_else(caplog):
    class Site(Root):
        @cherrypy.expose
        @cherrypy.tools.push(channels=["news"])
        def news(self, Id):
            """Accept everybody."""

    with running_site(Site(), plugin={"broker": Away()}) as site:
        assert refusal(site, "/news?Id=1").status == 500
        assert site.push._hub._reserved == {} and site.push.channels() == {}
        with site.client("/echo?Id=1") as client:
            client.text("hello")
            assert client.message() == "hello"
    assert "the broker is away" in caplog.text
