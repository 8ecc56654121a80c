"""Which subprotocol is chosen."""
from __future__ import annotations

import cherrypy
import pytest

from tests.support.handshakes import refusal
from tests.support.site import running_site


def test_a_client_that_speaks_only_protobuf_is_told_to_use_json():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site:
        found = refusal(site, "/websocket?Id=42",
                        headers={"Sec-WebSocket-Protocol": "centrifuge-protobuf"})
        assert found.status == 400 and b"JSON" in found.body
        both = {"Sec-WebSocket-Protocol": "centrifuge-protobuf, centrifuge-json"}
        with site.client("/websocket?Id=42", headers=both):
            pass


@pytest.mark.parametrize("supported, offered, chosen", [
    (["chat"], "chat", "chat"),
    (["chat", "news"], "news, chat", "news"),
    (["chat", "news"], "other,  chat ,news", "chat"),
    (["chat"], "other", None),
    (["chat"], "CHAT", None),
    (["chat"], None, None),
    (["chat"], ", ,", None),
    ([], "chat", None),
])
def test_the_first_subprotocol_that_both_speak_is_chosen(supported, offered, chosen):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(subprotocols=supported)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site, site.socket() as client:
        answer = client.handshake(headers={"Sec-WebSocket-Protocol": offered})
        assert answer["Sec-WebSocket-Protocol"] == chosen
        assert site.push.connections()[0].protocols == ([chosen] if chosen else [])
        assert client.hang_up() == 1000


@pytest.mark.parametrize("first, second, chosen", [
    ("chat", "superchat", "chat"), ("superchat", "chat", "chat"), ("news, x", "chat", "news"),
    ("", "chat", "chat")])
def test_subprotocols_may_come_on_several_lines(first, second, chosen):
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(subprotocols=["chat", "news"])
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site, site.socket() as client:
        offered = f"{first}\r\nSec-WebSocket-Protocol: {second}"
        answer = client.handshake(headers={"Sec-WebSocket-Protocol": offered})
        assert answer["Sec-WebSocket-Protocol"] == chosen
        assert client.hang_up() == 1000


@pytest.mark.parametrize("headers", [
    {"Connection": "Upgrade\r\nConnection: keep-alive"},
    {"Connection": "keep-alive\r\nConnection: Upgrade"},
    {"Upgrade": "h2c\r\nUpgrade: websocket"}, {"Upgrade": "websocket\r\nUpgrade: h2c"}])
def test_other_lists_may_come_on_several_lines_too(headers):
    with running_site() as site, site.client(headers=headers) as client:
        assert client.hang_up() == 1000
