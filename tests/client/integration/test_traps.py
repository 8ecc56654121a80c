"""What ws4py's own threaded client does wrong, and pushclient does not.

``pytest tests/client/integration/test_traps.py --plain-ws4py`` runs the same tests with ws4py's
client, where each fails.
"""
from __future__ import annotations

import os
import socket
import ssl
import threading

import pytest
from ws4py.client.threadedclient import WebSocketClient as PlainClient
from ws4py.exc import HandshakeError

import pushclient
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support.loopback import LOOPBACK
from tests.support.scripted_server import Server
from tests.support.waiting import wait_until

HANDSHAKES = 50
SHORT = 2.0
"""Seconds after which a connect counts as hanging."""


@pytest.fixture
def make(request):
    """Make a client of the kind under test, its callbacks noted in ``client.events``."""
    plain = request.config.getoption("--plain-ws4py", default=False)
    made = []

    def make(url, *arguments, **options):
        client = (Plain if plain else Ours)(url, *arguments, **options)
        made.append(client)
        return client
    yield make
    for client in made:
        if client.sock is not None:
            client.close_connection()


class Noting:
    def __init__(self, *arguments, **options):
        self.events = []
        super().__init__(*arguments, **options)

    def opened(self):
        self.events.append("opened")

    def received_message(self, message):
        self.events.append(str(message))

    def closed(self, code, reason=None):
        self.events.append(code)


class Ours(Noting, pushclient.WebSocketClient):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, timeout=SHORT / 2, proxy=None, **options)


class Plain(Noting, PlainClient):
    pass


def connect(client):
    """Connect on a thread, so that one that hangs fails the test; return what was raised.

    Args:
        client: the client, or a function that makes it.
    """
    raised = []

    def run():
        try:
            (client() if callable(client) else client).connect()
        except Exception as error:
            raised.append(error)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SHORT)
    assert not thread.is_alive(), "connect() hangs"
    return raised[0] if raised else None


def echo(peer):
    peer.echo()


def test_frames_that_arrive_with_the_answer_are_delivered(make):
    three = b"".join(frame(OPCODE_TEXT, word) for word in (b"a", b"b", b"c"))

    def script(peer):
        peer.answer(with_it=three)
        peer.close()
    with Server(script) as server:
        for _ in range(HANDSHAKES):
            client = make(server.url)
            assert connect(client) is None
            wait_until(lambda: 1000 in client.events, SHORT)
            assert client.events == ["opened", "a", "b", "c", 1000]


def test_connecting_to_a_silent_server_ends(make):
    with Server(lambda peer: (peer.read_request(), peer.sock.recv(1))) as server:
        assert isinstance(connect(make(server.url)), TimeoutError)


def test_each_address_is_tried(make, monkeypatch):
    with Server(echo) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", server.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, server.port))])
        assert connect(make(f"ws://localhost:{server.port}/")) is None


def test_no_lookup_runs_in_the_constructor(make, monkeypatch):
    looked_up = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: looked_up.append(1) or [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, 1))])
    make("ws://localhost/")
    assert not looked_up


def test_lookup_that_hangs_ends(make, monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(SHORT * 3)
        raise socket.gaierror(socket.EAI_AGAIN, "gave up")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert isinstance(connect(lambda: make("ws://slow.invalid/")), TimeoutError)
    finally:
        release.set()


def answers(answer):
    def script(peer):
        peer.read_request()
        peer.sock.sendall(answer)
        peer.sock.recv(1)
    return script


def test_answer_without_accept_is_refused(make):
    answer = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
              b"Connection: Upgrade\r\n\r\n")
    with Server(answers(answer)) as server:
        assert isinstance(connect(make(server.url)), HandshakeError)


@pytest.mark.parametrize("answer", [b"101\r\n\r\n", b"HTTP/1.1 101\r\n\r\n"])
def test_bare_101_is_a_handshake_error_and_leaves_no_socket(make, answer):
    left = threading.Event()

    def script(peer):
        peer.read_request()
        peer.sock.sendall(answer)
        if not peer.sock.recv(1):
            left.set()
    with Server(script) as server:
        client = make(server.url)
        error = connect(client)
        assert isinstance(error, HandshakeError), repr(error)
        assert left.wait(SHORT), "the socket is still open"


def test_keep_alive_beside_upgrade_is_accepted(make):
    with Server(lambda peer: (peer.answer(connection="keep-alive, Upgrade"),
                              peer.close())) as server:
        assert connect(make(server.url)) is None


def test_subprotocol_keeps_its_spelling(make):
    with Server(lambda peer: (peer.answer(extra="Sec-WebSocket-Protocol: Chat.V2\r\n"),
                              peer.close())) as server:
        client = make(server.url, ["Chat.V2"])
        assert connect(client) is None
        chosen = [name if isinstance(name, str) else name.decode() for name in client.protocols]
        assert chosen == ["Chat.V2"]


@pytest.fixture
def tls(server_certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)
    return context


def test_certificate_of_a_stranger_is_refused(make, tls):
    with Server(echo, tls=tls) as server:
        assert isinstance(connect(make(server.url)), OSError)


def test_cert_none_is_obeyed(make, tls):
    with Server(echo, tls=tls) as server:
        assert connect(make(server.url, ssl_options={"cert_reqs": ssl.CERT_NONE})) is None


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="counts in /proc")
def test_run_forever_does_not_poll(make):
    def switches():
        with open(f"/proc/self/task/{threading.get_native_id()}/status") as status:
            return int(status.read().split("voluntary_ctxt_switches:")[1].split()[0])
    with Server(echo) as server:
        client = make(server.url)
        assert connect(client) is None
        threading.Timer(1.0, client.close).start()
        before = switches()
        client.run_forever()
        assert switches() - before < 5, "woken again and again"
