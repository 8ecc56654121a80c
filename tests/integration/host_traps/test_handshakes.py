"""What ws4py on CherryPy does wrong when it opens a connection."""
from __future__ import annotations

import contextlib
import threading

import cherrypy
import pytest
from cherrypy.lib import cpstats

from tests.support.raw_client import Refused
from tests.support.traps import received, refused, site_of
from tests.support.waiting import wait_until


@pytest.mark.parametrize("error", [cherrypy.HTTPError(401), cherrypy.HTTPError(403),
                                   cherrypy.NotFound("/"), cherrypy.HTTPRedirect("/"),
                                   ValueError("a bug of the site")],
                         ids=["401", "403", "404", "redirect", "bug"])
def test_a_client_that_the_page_handler_refuses_is_not_handed_over(host, error):
    answered = threading.Event()

    def on_end_request():
        answered.set()
    on_end_request.priority = 99
    on_end_request.failsafe = True

    class Root:
        @host.address()
        def websocket(self, Id=None):
            raise error

    config = {"/": {"hooks.on_end_request": on_end_request}}
    with host.running(Root(), config=config), host.socket() as client:
        with pytest.raises(Refused):
            client.handshake()
        assert answered.wait(host.patience)
        assert host.count() == 0
        host.broadcast("for members only")
        client.sock.settimeout(0.2)
        with contextlib.suppress(OSError):
            client._more()
        assert b"for members only" not in client.buffer


def test_a_socket_that_is_handed_over_no_longer_has_the_timeout_of_the_http_server(host):
    Handler = host.recorder()
    timeouts = []
    Handler.opened = lambda handler: timeouts.append(handler.sock.gettimeout())
    with host.running(site_of(host, Handler)), host.client():
        wait_until(lambda: timeouts)
        assert timeouts == [0.0]


def test_a_client_that_left_during_the_handshake_is_opened_and_closed(host):
    Handler = host.recorder()
    left = threading.Event()

    class Root:
        @host.address(Handler)
        def websocket(self, Id=None):
            assert left.wait(host.patience)

    with host.running(Root()):
        client = host.socket()
        client.sock.sendall(client.request())
        client.reset()
        left.set()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(Handler.log) == 2, host.patience)
        assert Handler.log == [("opened",), ("closed", 1006)]
        assert host.count() == 0


def test_a_client_is_served_while_cpstats_is_on(host):
    """#177: its wrapper around the request's body hid the socket."""
    assert cpstats.appstats["Enabled"]
    config = {"/": {"tools.cpstats.on": True}}
    with host.running(site_of(host), config=config), host.client("/echo?Id=1") as client:
        client.text("hello")
        assert received(client) == "hello"


@pytest.mark.parametrize("status, options", [
    (405, {"method": "POST"}),
    (426, {"headers": {"Upgrade": None}}),
    (426, {"headers": {"Upgrade": "h2c"}}),
    (426, {"headers": {"Sec-WebSocket-Version": "7"}}),
    (426, {"headers": {"Sec-WebSocket-Version": None}}),
    (400, {"headers": {"Connection": None}}),
    (400, {"headers": {"Connection": "keep-alive"}}),
    (400, {"headers": {"Sec-WebSocket-Key": None}}),
    (400, {"headers": {"Sec-WebSocket-Key": "short"}}),
    (400, {"headers": {"Sec-WebSocket-Key": "not base64!"}}),
], ids=str)
def test_a_bad_handshake_is_the_fault_of_the_client(host, status, options):
    with host.running(site_of(host)):
        assert refused(host, **options).status == status


def test_a_connection_header_is_read_word_by_word(host):
    with host.running(site_of(host)):
        headers = {"Connection": "not-upgrade-please"}
        try:
            host.client(headers=headers).close()
            status = 101
        except Refused as refusal:
            status = refusal.status
        assert status == 400


def test_one_subprotocol_is_chosen(host):
    site = site_of(host, subprotocols=["chat", "superchat"])
    with host.running(site), host.socket() as client:
        answer = client.handshake(headers={"Sec-WebSocket-Protocol": "superchat, chat"})
        assert answer["Sec-WebSocket-Protocol"] == "superchat"


def test_no_extension_is_named_that_is_not_spoken(host):
    site = site_of(host, extensions=["permessage-deflate"])
    with host.running(site), host.socket() as client:
        answer = client.handshake(headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
        assert "Sec-WebSocket-Extensions" not in answer


def test_a_page_of_another_site_cannot_connect(host):
    with host.running(site_of(host)):
        try:
            host.client(headers={"Origin": "https://elsewhere.example"}).close()
            status = 101
        except Refused as refusal:
            status = refusal.status
        assert status == 403
