"""Through an HTTP proxy by CONNECT."""
from __future__ import annotations

import base64
import socket
import ssl
import threading

import pytest

from pushclient import ConnectFailed, ConnectTimeout, ProxyFailed, PushClient
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support.loopback import LOOPBACK, free_port
from tests.support.scripted_server import Server
from tests.support.waiting import PATIENCE

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tunnel(peer):
    """Make a tunnel to wherever the client wants, once it has said who it is."""
    target = peer.read_request().split()[1].decode()
    seen.append((target, peer.header("Proxy-Authorization")))
    host, port = target.rsplit(":", 1)
    with socket.create_connection((LOOPBACK, int(port))) as onward:
        peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=copy, args=(onward, peer.sock))
        back.start()
        copy(peer.sock, onward)
        back.join(PATIENCE)


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


seen: list[tuple[str, str | None]] = []


@pytest.fixture
def proxy():
    seen.clear()
    with Server(tunnel) as server:
        yield f"{LOOPBACK}:{server.port}"


def greet(peer):
    peer.answer(with_it=frame(OPCODE_TEXT, b"through"))
    peer.close()


def received(url, **options):
    with PushClient(url, max_attempts=1, timeout=1.0, **options) as client:
        return list(client)


def test_argument_with_credentials(proxy):
    with Server(greet) as server:
        assert received(server.url, proxy=f"http://me:s%40cret@{proxy}") == ["through"]
    credentials = base64.b64encode(b"me:s@cret").decode()
    assert seen == [(f"{LOOPBACK}:{server.port}", f"Basic {credentials}")]


def test_tls_inside_the_tunnel(proxy, server_certificate, client_tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)
    with Server(greet, tls=context) as server:
        assert received(server.url, proxy=proxy, ssl_context=client_tls) == ["through"]
    assert len(seen) == 1


def test_environment_and_its_exceptions(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://{proxy}")
    with Server(greet) as server:
        assert received(server.url) == ["through"]
        assert len(seen) == 1
        assert received(server.url, proxy=None) == ["through"]
        monkeypatch.setenv("no_proxy", LOOPBACK)
        assert received(server.url) == ["through"]
        assert len(seen) == 1


@pytest.mark.parametrize("answer, kind, words", [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ProxyFailed, "proxy answered 407"),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ProxyFailed, "the proxy answered 502 Bad Gateway"),
    (b"", ConnectTimeout, "the proxy's answer took longer than 1 s")])
def test_proxy_that_makes_no_tunnel_is_named(answer, kind, words):
    def refuse(peer):
        peer.read_request()
        peer.sock.sendall(answer)
        peer.sock.recv(1)
    with Server(refuse) as server:
        with pytest.raises(kind, match=words):
            received("ws://example.invalid/", proxy=f"{LOOPBACK}:{server.port}")


def test_proxy_that_is_not_there_is_named():
    port = free_port()
    with pytest.raises(ConnectFailed, match=f"proxy {LOOPBACK}:{port}.*refused"):
        received("ws://example.invalid/", proxy=f"http://me:secret@{LOOPBACK}:{port}")
