"""Servers that others wrote: echo of every kind of message, and a clean close from either side.

Node's ``ws`` is looked for in NODE_PATH and in the repository's ``node_modules``.
"""
from __future__ import annotations

import sys

import pytest

from pushclient import PushClient, WebSocketClient

from tests.support.installed import node
from tests.support.loopback import LOOPBACK
from tests.support.programs import ROOT, start
from tests.support.scripted_server import DEADLINE

ONE_MB = 1_000_000


class Peer:
    """A server process and what it says."""

    def __init__(self, name):
        self.process = start(*(
            [node("ws"), str(ROOT / "tests" / "support" / "third_party_server.js")]
            if name == "ws" else [sys.executable, "-m", "tests.support.third_party_servers", name]))
        self.url = f"ws://{LOOPBACK}:{int(self.line())}/"

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)


@pytest.fixture(params=["websockets", "tornado", "aiohttp", "ws"])
def peer(request):
    peer = Peer(request.param)
    yield peer
    peer.end()


class Single(WebSocketClient):
    def __init__(self, url):
        self.got, self.end = [], None
        super().__init__(url, proxy=None)

    def received_message(self, message):
        self.got.append(message.data)
        if message.data == b"last":
            self.close(1000, "client")

    def closed(self, code, reason=None):
        self.end = code, reason


def test_every_kind_of_message_comes_back_and_the_client_closes_cleanly(peer):
    fragments = [b"x" * 1000] * 50
    single = Single(peer.url)
    single.connect()
    single.send("text é")
    single.send(b"\0\xff", binary=True)
    single.send((piece for piece in fragments), binary=True)
    single.send(piece for piece in ("one ", "é"))
    single.send("m" * ONE_MB)
    single.send(bytes(ONE_MB), binary=True)
    single.send("")
    single.send("last")
    single.run_forever()
    assert single.got == ["text é".encode(), b"\0\xff", b"".join(fragments), "one é".encode(),
                          b"m" * ONE_MB, bytes(ONE_MB), b"", b"last"]
    assert single.end[0] == 1000
    assert peer.line() == "1000"


def test_server_closes_cleanly(peer):
    with PushClient(peer.url, proxy=None) as client:
        client.send("before")
        client.send("close")
        assert list(client) == ["before"]
        assert client.error is None
    assert peer.line() == "1000"


def test_client_that_stays_connected_closes_cleanly(peer):
    with PushClient(peer.url, proxy=None) as client:
        client.send(["é", 1])
        assert client.receive(DEADLINE) == '["é",1]'
        client.send(b"b" * ONE_MB)
        assert client.receive(DEADLINE) == b"b" * ONE_MB
        client.close(4001, "enough")
    assert peer.line() == "4001"
