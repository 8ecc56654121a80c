"""What comes with the handshake, or right behind it."""
from __future__ import annotations

import cherrypy
import pytest

from tests.support.raw_client import masked_frame, Refused
from tests.support.site import Echo, recorder, running_site
from tests.support.waiting import wait_until

CLOSE = b"\x03\xe8"
"""The payload of a close frame with 1000."""


def test_frames_in_the_packet_of_the_handshake_are_read():
    with running_site() as site, site.socket() as client:
        client.handshake("/echo?Id=1", behind=masked_frame(0x81, b"one") + masked_frame(0x82, b"2")
                         + masked_frame(0x89, b"ping") + masked_frame(0x81, b"three")[:4])
        assert sorted(client.frame() for _ in range(3)) == [
            (0x81, b"one"), (0x82, b"2"), (0x8A, b"ping")]
        client.sock.sendall(masked_frame(0x81, b"three")[4:])
        assert client.message() == "three"


def test_a_large_message_in_the_packet_of_the_handshake_is_read():
    message = "a" * 60_000
    with running_site() as site, site.socket() as client:
        client.handshake("/echo?Id=1", behind=masked_frame(0x81, message.encode()))
        assert client.message() == message


def test_a_close_in_the_packet_of_the_handshake_is_answered():
    Handler = recorder()

    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site, site.socket() as client:
        client.handshake(behind=masked_frame(0x88, CLOSE))
        assert client.close_code() == 1000
        assert client.at_end()
        wait_until(lambda: len(Handler.log) == 2)
        assert Handler.log == [("opened", "42"), ("closed", "42", 1000, "")]


def test_frames_behind_a_refused_handshake_are_not_read():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=Echo)
        def websocket(self, Id):
            raise cherrypy.HTTPError(403)

    with running_site(Site()) as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake(behind=masked_frame(0x81, b"hello"))
        assert refused.value.status == 403
        client.at_end()
        assert b"hello" not in client.buffer


def test_a_broadcast_right_behind_the_handshake_reaches_the_client():
    """From the moment in which the client can read the answer, it counts."""
    with running_site() as site:
        for number in range(50):
            with site.client("/websocket?Id=%d" % number) as client:
                site.push.send(str(number), "hello")
                assert client.message() == "hello"
