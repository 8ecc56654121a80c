"""Pings both ways, and how clients are found to have gone."""
from __future__ import annotations

import os
import signal
import threading

import pytest

from pushserver import InvalidData
from tests.support.handlers import echoing, handler, QUICK, site_of, SMALL
from tests.support.programs import program
from tests.support.raw_client import masked_frame
from tests.support.site import recorder, running_site
from tests.support.waiting import wait_until


@pytest.mark.parametrize("payload", [b"", b"a", b"a" * 125, bytes(range(125))])
def test_a_ping_is_answered_with_its_payload(payload):
    with echoing() as client:
        client.send(0x89, payload)
        assert client.frame() == (0x8A, payload)


def test_a_pong_that_nobody_asked_for_is_ignored():
    with echoing() as client:
        client.send(0x8A, b"unasked")
        client.text("hello")
        assert client.message() == "hello"


def test_a_site_can_ping_and_see_the_pong():
    pongs = []
    Handler = handler(opened=lambda self: self.ping("are you there"),
                      ponged=lambda self, pong: pongs.append(pong.data))
    with running_site(site_of(Handler)) as site, site.client() as client:
        assert client.frame() == (0x89, b"are you there")
        client.send(0x8A, b"are you there")
        wait_until(lambda: pongs == [b"are you there"])
        with pytest.raises(InvalidData):
            site.push.connections()[0].ping("a" * 126)


def test_a_client_that_answers_pings_stays():
    with running_site(settings={"ping_interval": 0.05, "pong_timeout": 5}) as site:
        with site.client("/echo?Id=1") as client:
            for _ in range(5):
                assert client.frame() == (0x89, b"")
                client.send(0x8A)
            client.text("still here")
            assert client.message() == "still here"


def test_any_traffic_stands_for_a_pong():
    with running_site(settings={"ping_interval": 0.05, "pong_timeout": 1}) as site:
        with site.client("/echo?Id=1") as client:
            for _ in range(30):
                frame = client.frame()
                while frame == (0x81, b"busy"):
                    frame = client.frame()
                assert frame == (0x89, b"")
                client.text("busy")


def test_a_client_that_answers_no_ping_is_closed_with_3012():
    Handler = recorder()
    with running_site(site_of(Handler), settings=QUICK) as site, site.client() as client:
        assert client.frame() == (0x89, b"")
        assert client.close_code() == 3012
        assert client.at_end()
        assert site.push.ids() == []
    assert Handler.log == [("opened", "42"), ("closed", "42", 1006, "connection lost")]


def test_without_an_interval_nobody_is_pinged():
    with running_site(settings={"ping_interval": 0, "pong_timeout": 0.05}) as site:
        with site.client("/echo?Id=1") as client:
            client.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.frame()


def test_a_client_that_vanished_with_its_buffers_full_is_gone():
    Handler = recorder()
    with running_site(site_of(Handler), settings=QUICK, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL):
            site.push.broadcast("a" * 500_000)
            wait_until(lambda: site.push.ids() == [])
            wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log == [("opened", "42"), ("closed", "42", 1006, "connection lost")]


PEER = """
import base64, os, socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
key = base64.b64encode(os.urandom(16)).decode()
sock.sendall(("GET /websocket?Id=stopped HTTP/1.1\\r\\nHost: localhost\\r\\n"
              "Upgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
              "Sec-WebSocket-Key: " + key + "\\r\\n\\r\\n").encode())
while True:
    data = sock.recv(65536)
    if not data:
        break
    if data.endswith(b"\\x89\\x00"):
        sock.sendall(b"\\x8a\\x80mask")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_a_client_whose_process_is_stopped_is_gone_in_time():
    Handler = recorder()
    settings = {"ping_interval": 0.2, "pong_timeout": 2}
    with running_site(site_of(Handler), settings=settings) as site, site.client("/echo?Id=2"):
        with program("-c", PEER, str(site.port)) as peer:
            wait_until(lambda: ("opened", "stopped") in Handler.log)
            os.kill(peer.pid, signal.SIGSTOP)
            wait_until(lambda: "stopped" not in site.push.ids())
    assert Handler.log == [("opened", "stopped"), ("closed", "stopped", 1006, "connection lost")]


def test_a_flood_of_pings_is_answered_in_order_beside_others():
    with running_site() as site, site.client("/echo?Id=1") as flooder, \
            site.client("/echo?Id=2") as other:
        count = 20_000
        flood = b"".join(masked_frame(0x89, b"%05d" % number) for number in range(count))
        thread = threading.Thread(target=flooder.sock.sendall, args=(flood,))
        thread.start()
        other.text("hello")
        assert other.message() == "hello"
        assert [flooder.frame() for _ in range(count)] == [
            (0x8A, b"%05d" % number) for number in range(count)]
        thread.join()
