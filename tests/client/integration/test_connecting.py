"""Connecting: what goes wrong ends in time, with an error that names it."""
from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time

import pytest
import trustme

from pushclient import (CertificateRefused, ConnectFailed, ConnectionClosed, ConnectTimeout,
                        HandshakeFailed, InvalidSetting, PushClient, Refused, TlsFailed,
                        UnknownHost, WebSocketClient)
from pushserver.errors import PushError

from tests.support.loopback import LOOPBACK, free_port
from tests.support.scripted_server import Server
from tests.support.waiting import PATIENCE, wait_until

TIMEOUT = 1.0
SLACK = 1.5
TWENTY_MB = 20_000_000


def client(url, **options):
    return PushClient(url, **{"timeout": TIMEOUT, "max_attempts": 1, "proxy": None, **options})


def failure(url, **options):
    """Return the error that ends a client, once it has ended in time."""
    began = time.monotonic()
    with pytest.raises(PushError) as caught, client(url, **options) as connecting:
        for _ in connecting:
            pytest.fail("there was a message")
    assert time.monotonic() - began < TIMEOUT + SLACK
    assert "\n" not in str(caught.value)
    return caught.value


def single_failure(url, **options):
    """Return the error of a single connection, ws4py's way."""
    began = time.monotonic()
    with pytest.raises(PushError) as caught:
        WebSocketClient(url, timeout=TIMEOUT, proxy=None, **options).connect()
    assert time.monotonic() - began < TIMEOUT + SLACK
    return caught.value


def silent(peer):
    peer.read_request()
    peer.sock.recv(1)


def one_byte_a_second(peer):
    peer.read_request()
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n":
        peer.sock.sendall(bytes((byte,)))
        threading.Event().wait(0.3)


def without_accept(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      b"Connection: Upgrade\r\n\r\n")
    peer.sock.recv(1)


def wrong_accept(peer):
    peer.read_request()
    peer.request = peer.request.replace(peer.key, b"dGhlIHNhbXBsZSBub25jZQ==")
    peer.answer()
    peer.sock.recv(1)


def redirects(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: https://example.org/login\r\n"
                      b"Content-Length: 0\r\n\r\n")


def huge_header(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX-Much: " + b"x" * TWENTY_MB)


def endless_lines(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Much: x\r\n" * 1_000_000)


def bare_101(peer):
    peer.read_request()
    peer.sock.sendall(b"101\r\n\r\n")
    peer.sock.recv(1)


def not_http(peer):
    peer.sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    peer.sock.recv(1)


def leaves(peer):
    peer.read_request()


def chooses_a_subprotocol(peer):
    peer.answer(extra="Sec-WebSocket-Protocol: chat\r\n")


def chooses_an_extension(peer):
    peer.answer(extra="Sec-WebSocket-Extensions: permessage-deflate\r\n")


def refuses(peer):
    peer.read_request()
    peer.sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain;charset=utf-8\r\n"
                      b"Content-Length: 29\r\n\r\n")
    peer.sock.sendall(b"Origin: use the site's own.\r\n")


WRONG = [
    (silent, ConnectTimeout, "the server's answer took longer than 1 s"),
    (one_byte_a_second, ConnectTimeout, "the server's answer took longer than 1 s"),
    (without_accept, HandshakeFailed, "no Sec-WebSocket-Accept"),
    (wrong_accept, HandshakeFailed, "wrong Sec-WebSocket-Accept"),
    (redirects, Refused, "302 Found, a redirect to https://example.org/login"),
    (huge_header, HandshakeFailed, "headers are over 65536 bytes"),
    (endless_lines, HandshakeFailed, "headers are over 65536 bytes"),
    (bare_101, HandshakeFailed, "not HTTP: it begins '101'"),
    (not_http, HandshakeFailed, "not HTTP: it begins 'SSH-2.0-OpenSSH_9.6'"),
    (leaves, ConnectFailed, "closed the connection before it answered"),
    (chooses_a_subprotocol, HandshakeFailed, "subprotocol 'chat', which was not offered"),
    (chooses_an_extension, HandshakeFailed, "extension 'permessage-deflate'"),
    (refuses, Refused, "403 Forbidden: Origin: use the site's own."),
]


@pytest.mark.parametrize("script, kind, words", WRONG, ids=[row[0].__name__ for row in WRONG])
@pytest.mark.parametrize("connect", [failure, single_failure], ids=["client", "single"])
def test_wrong_server_ends_in_time_with_its_name(connect, script, kind, words):
    with Server(script) as server:
        error = connect(server.url)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade", "UPGRADE", "x,upgrade"])
def test_every_correct_spelling_of_the_connection_header_is_accepted(connection):
    def script(peer):
        peer.answer(connection=connection)
        peer.send("in")
        peer.close()
    with Server(script) as server, client(server.url) as connecting:
        assert list(connecting) == ["in"]


def test_server_that_never_accepts_is_a_timeout():
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        full = [socket.socket() for _ in range(4)]
        try:
            for sock in full:  # the kernel answers no more than fit its queue
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
            error = failure(f"ws://{LOOPBACK}:{listener.getsockname()[1]}/")
        finally:
            for sock in full:
                sock.close()
    assert isinstance(error, ConnectTimeout)
    assert "took longer" in str(error)


def test_refused_connection_names_host_and_cause():
    port = free_port()
    error = failure(f"ws://localhost:{port}/")
    assert type(error) is ConnectFailed and isinstance(error, OSError)
    assert f"localhost:{port}" in str(error) and "Connection refused" in str(error)


def test_unknown_host_is_named():
    error = failure("ws://no-such-host.invalid/", timeout=5.0)
    assert isinstance(error, (UnknownHost, ConnectTimeout))
    assert "no-such-host.invalid" in str(error)


def test_lookup_that_hangs_is_bounded_and_interrupted(monkeypatch):
    release, began = threading.Event(), threading.Event()

    def hang(*_, **__):
        began.set()
        release.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "gave up")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = failure("ws://slow.invalid/")
        assert "the lookup of slow.invalid took longer than 1 s" in str(error)
        began.clear()
        with client("ws://slow.invalid/", timeout=PATIENCE) as connecting:
            assert began.wait(PATIENCE)
            before = time.monotonic()
            connecting.close()
            assert time.monotonic() - before < SLACK
    finally:
        release.set()


def test_lookup_that_hangs_costs_one_thread_however_often_it_is_tried(monkeypatch):
    release, calls = threading.Event(), []

    def hang(*arguments, **_):
        calls.append(arguments)
        release.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "gave up")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = failure("ws://slow.invalid/", timeout=0.1, max_attempts=3)
        assert isinstance(error, ConnectTimeout)
        assert len(calls) == 1
    finally:
        release.set()


def test_each_address_is_tried_and_the_name_is_looked_up_anew(monkeypatch):
    lookups = []
    dead = free_port()

    def lookup(host, port, **_):
        lookups.append(host)
        good = [(socket.AF_INET, 1, 6, "", (LOOPBACK, server.port))] if len(lookups) > 1 else []
        return [(socket.AF_INET6, 1, 6, "", ("::1", dead, 0, 0)),
                (socket.AF_INET, 1, 6, "", (LOOPBACK, dead))] + good
    with Server(lambda peer: (peer.answer(), peer.send("found"), peer.close())) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        with client("ws://several.example/", max_attempts=2) as connecting:
            assert next(connecting) == "found"
    assert lookups == ["several.example"] * 2


def test_address_that_never_answers_costs_a_quarter_second(monkeypatch):
    with socket.socket() as listener, Server(lambda peer: (peer.answer(), peer.close())) as server:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        full = [socket.socket() for _ in range(4)]
        for sock in full:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [
            (socket.AF_INET, 1, 6, "", listener.getsockname()),
            (socket.AF_INET, 1, 6, "", (LOOPBACK, server.port))])
        began = time.monotonic()
        with client("ws://several.example/", timeout=PATIENCE) as connecting:
            assert list(connecting) == []
        assert time.monotonic() - began < PATIENCE / 2
        for sock in full:
            sock.close()


def test_ipv6_and_unix_sockets_work(tmp_path):
    def script(peer):
        peer.answer()
        peer.send(f"{peer.resource} {peer.header('Host')}")
        peer.close()
    with Server(script, family=socket.AF_INET6) as server:
        with client(f"ws://[::1]:{server.port}/push", Id="é 1") as connecting:
            assert list(connecting) == [f"/push?Id=%C3%A9%201 [::1]:{server.port}"]
    path = str(tmp_path / "push.sock")
    with Server(script, script, unix=path):
        with client("ws://localhost/push?a=b", Id="1", unix_socket=path) as connecting:
            assert list(connecting) == ["/push?a=b&Id=1 localhost"]
        with client(f"ws+unix://{path}?a=b") as connecting:
            assert list(connecting) == ["/?a=b localhost"]


def test_missing_unix_socket_is_named(tmp_path):
    error = failure("ws://localhost/", unix_socket=str(tmp_path / "none"))
    assert "No such file" in str(error) and str(tmp_path / "none") in str(error)


# TLS

def served(authority, **certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = certificate.pop("names", (LOOPBACK,))
    authority.issue_cert(*names, **certificate).configure_cert(context)
    return context


def test_trusted_certificate_is_accepted(authority, client_tls):
    def script(peer):
        peer.answer(with_it=b"\x81\x02ok")
        peer.close()
    with Server(script, tls=served(authority)) as server:
        with client(server.url, ssl_context=client_tls) as connecting:
            assert list(connecting) == ["ok"]


def self_signed(folder):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "cert.pem")
    authority.private_key_pem.write_to_path(folder / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_bad_certificates_are_named(authority, client_tls, tmp_path):
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    for context, trust, words in (
            (served(authority, not_after=past), client_tls, "certificate has expired"),
            (served(authority, names=("other.example",)), client_tls,
             "not valid for '127.0.0.1'"),
            (served(authority), None, "unable to get local issuer certificate"),
            (self_signed(tmp_path), client_tls, "self-signed certificate")):
        with Server(echo_quietly, tls=context) as server:
            for fail in (failure, single_failure):
                error = fail(server.url, ssl_context=trust)
                assert type(error) is CertificateRefused
                assert words in str(error).replace("self signed", "self-signed")


def echo_quietly(peer):
    peer.echo()


def test_server_without_tls_is_named():
    with Server(not_http) as server:
        error = failure(server.url.replace("ws:", "wss:"))
    assert type(error) is TlsFailed and "no TLS with 127.0.0.1" in str(error)


def test_server_silent_in_the_tls_handshake_is_a_timeout():
    with Server(lambda peer: (peer.sock.recv(9999), peer.sock.recv(9999))) as server:
        error = failure(server.url.replace("ws:", "wss:"))
    assert "the TLS handshake took longer than 1 s" in str(error)


def test_only_cert_none_turns_verification_off(authority):
    with Server(echo_quietly, tls=served(authority)) as server:
        for options in ({}, {"cert_reqs": ssl.CERT_REQUIRED}, {"cert_reqs": ssl.CERT_OPTIONAL}):
            assert isinstance(single_failure(server.url, ssl_options=options), CertificateRefused)
        single = WebSocketClient(server.url, ssl_options={"cert_reqs": ssl.CERT_NONE}, proxy=None)
        single.connect()
        single.close()
        single.run_forever()


# what ends a client, and what does not

@pytest.mark.parametrize("status, ends", [(400, True), (403, True), (404, True), (408, False),
                                          (425, False), (426, True), (429, False), (500, False),
                                          (503, False)])
def test_4xx_ends_the_client_but_for_those_that_time_changes(status, ends):
    def script(peer):
        peer.read_request()
        peer.sock.sendall(b"HTTP/1.1 %d Because\r\nContent-Length: 0\r\n\r\n" % status)
    with Server(script) as server:
        error = failure(server.url, max_attempts=2)
        assert server.accepted == (1 if ends else 2)
    assert isinstance(error, Refused) and error.status == status


def test_what_has_worked_before_is_tried_again():
    def open_once(peer):
        peer.answer()
        peer.send("1")
        peer.close(1012)
    with Server(open_once, redirects, without_accept, open_once) as server:
        with client(server.url, max_attempts=None) as connecting:
            assert [next(connecting), next(connecting)] == ["1", "1"]
        assert server.accepted == 4


def test_retry_after_is_honoured():
    def busy(peer):
        peer.read_request()
        times.append(time.monotonic())
        peer.sock.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    def ready(peer):
        times.append(time.monotonic())
        peer.answer()
        peer.close()
    times = []
    with Server(busy, ready) as server, client(server.url, max_attempts=2) as connecting:
        assert list(connecting) == []
    assert 1.0 < times[1] - times[0] < 1.0 + 0.5 + SLACK


# what is sent

def test_headers_origin_subprotocols_and_credentials_are_sent():
    def script(peer):
        peer.answer(extra="Sec-WebSocket-Protocol: Chat.V2\r\n")
        seen.append(peer)
        peer.close()
    seen, chosen = [], []
    with Server(script) as server:
        url = server.url.replace("//", "//me:s%3Acret@")
        with client(url, headers={"X-Token": "t"}, origin="https://example.org",
                    subprotocols=["chat", "Chat.V2"],
                    on_state=lambda state: chosen.append(connecting.subprotocol)) as connecting:
            assert list(connecting) == []
    peer = seen[0]
    assert peer.header("X-Token") == "t"
    assert peer.header("Origin") == "https://example.org"
    assert peer.header("Sec-WebSocket-Protocol") == "chat, Chat.V2"
    assert peer.header("Authorization") == "Basic bWU6czpjcmV0"
    assert "Chat.V2" in chosen


@pytest.mark.parametrize("options", [
    {"Id": "1\r\nX-Evil: 1"}, {"Id": ""}, {"Id": "x" * 129}, {"headers": {"X": "1\r\nY: 2"}},
    {"headers": {"X\r\nY": "1"}}, {"headers": [("X Y", "1")]}, {"origin": "a\r\nb: c"},
    {"subprotocols": ["a\r\nX: b"]}, {"subprotocols": ["a,b"]}, {"subprotocols": "chat"},
    {"headers": {"Sec-WebSocket-Key": "x"}}, {"headers": {"Upgrade": "h2c"}},
    {"headers": {"Content-Length": "10"}}, {"timeout": 0}, {"timeout": "1"},
    {"max_message_size": 0}, {"max_queue": True}, {"max_attempts": 0}, {"ping_interval": -1}])
def test_injection_and_senseless_settings_are_refused_at_once(options):
    with pytest.raises(InvalidSetting) as caught:
        PushClient("ws://localhost/", **options)
    assert "\n" not in str(caught.value)


def test_resource_changed_to_something_that_breaks_the_request_is_refused():
    single = WebSocketClient(f"ws://{LOOPBACK}:{free_port()}/", proxy=None)
    for resource in ("/ HTTP/1.1\r\nX: 1", "no-slash", "/a b"):
        single.resource = resource
        with pytest.raises(InvalidSetting):
            single.handshake_request


# close() while connecting

@pytest.mark.parametrize("script", [silent, one_byte_a_second])
def test_close_interrupts_a_client_that_is_connecting(script):
    states = []
    with Server(script) as server:
        connecting = client(server.url, timeout=PATIENCE, on_state=states.append).start()
        wait_until(lambda: server.accepted)
        began = time.monotonic()
        connecting.close()
        assert time.monotonic() - began < SLACK
    assert states == ["connecting", "closed"]


def test_close_from_another_thread_interrupts_connect():
    with Server(silent) as server:
        single = WebSocketClient(server.url, timeout=PATIENCE, proxy=None)
        closer = threading.Thread(
            target=lambda: (wait_until(lambda: server.accepted), single.close()))
        closer.start()
        began = time.monotonic()
        with pytest.raises(ConnectionClosed, match="closed while connecting"):
            single.connect()
        assert time.monotonic() - began < SLACK
        closer.join()
