"""TLS clients that are slow to begin, in nobody's way; and what a handshake tells the site."""
from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import struct
import time

import cherrypy
import pytest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server as WSGIServer
from cherrypy.process.servers import ServerAdapter
from cherrypy.process.wspbus import Bus

from pushserver import PushPlugin, PushTool
from pushserver.web.tls import ShakesHandsLater, begin_tls
from tests.support.loopback import free_port
from tests.support.raw_client import Client, masked_frame
from tests.support.site import Echo
from tests.support.waiting import PATIENCE, wait_until

LONG = 6 * PATIENCE
"""The HTTP server's timeout: who waits for it fails."""

THREADS = 3


class Root:
    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def echo(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def env(self):
        return {name: value for name, value in cherrypy.request.wsgi_environ.items()
                if isinstance(value, str)}

    @cherrypy.expose
    def size(self):
        request = cherrypy.request
        return str(len(request.body.read() if request.method == "POST" else b""))


class TlsSite:
    """A site with an HTTP server on CherryPy's bus, as an engine has it."""

    def __init__(self, adapter, timeout):
        self.bus, self.port, self.log = Bus(), free_port(), []
        self.push = PushPlugin(self.bus)
        self.push.subscribe()
        cherrypy.tools.push = PushTool(self.push)
        self.http = WSGIServer(("127.0.0.1", self.port), cherrypy.Application(Root()),
                               numthreads=THREADS, request_queue_size=100)
        self.http.ssl_adapter = adapter
        self.http.timeout = timeout
        self.http.expiration_interval = 0.05
        self.http.error_log = lambda text="", level=20, traceback=False: self.log.append(
            (level, text))
        ServerAdapter(self.bus, self.http, ("127.0.0.1", self.port)).subscribe()

    def start(self):
        self.bus.publish("start")

    def stop(self):
        self.bus.publish("stop")

    def raw(self, data=b""):
        """Return a TCP connection, after some bytes."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        sock.sendall(data)
        return sock

    def get(self, path, tls, **options):
        """Return a page."""
        connection = http.client.HTTPSConnection("localhost", self.port, context=tls,
                                                 timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path, **options)
            return connection.getresponse().read()

    def echoes(self, tls):
        """Tell whether a new WebSocket client is answered."""
        with Client(("127.0.0.1", self.port), tls=tls) as client:
            client.handshake("/echo?Id=1")
            client.text("hello")
            return client.message() == "hello" and client.hang_up() == 1000


@contextlib.contextmanager
def tls_site(adapter, timeout=LONG):
    before = cherrypy.tools.push
    site = TlsSite(adapter, timeout)
    site.start()
    try:
        yield site
    finally:
        site.stop()
        cherrypy.tools.push = before


@pytest.fixture
def site(server_certificate):
    with tls_site(BuiltinSSLAdapter(*server_certificate)) as site:
        yield site


def client_hello(context):
    """Return the first bytes of a client's handshake."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname="localhost").do_handshake()
    return out.read()


BEGINNINGS = {"silent": lambda hello: b"", "one byte": lambda hello: hello[:1],
              "half a hello": lambda hello: hello[:len(hello) // 2],
              "all but a byte": lambda hello: hello[:-1],
              "a hello and no more": lambda hello: hello}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_clients_that_do_not_finish_the_handshake_keep_nobody_out(site, client_tls, beginning):
    start = BEGINNINGS[beginning](client_hello(client_tls))
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(site.raw(start)) for _ in range(4 * THREADS)]
        for _ in range(3):
            assert site.echoes(client_tls)
            assert site.get("/size", client_tls) == b"0"
        for sock in slow:   # they are still let in
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert sock.recv(1 << 16) != b""


def test_neither_do_those_that_shake_hands_and_ask_for_nothing(site, client_tls):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(client_tls.wrap_socket(site.raw(), server_hostname="localhost"))
                for _ in range(4 * THREADS)]
        assert site.echoes(client_tls)
        for sock in idle:
            sock.sendall(b"GET /size HTTP/1.0\r\n\r\n")
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_handshake_that_comes_byte_by_byte_works(site, client_tls):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_tls.wrap_bio(into, out, server_hostname="localhost")
    with site.raw() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def run(step):
            while True:
                try:
                    found = step()
                except ssl.SSLWantReadError:
                    found = None
                for byte in out.read():
                    sock.sendall(bytes([byte]))
                if found is not None:
                    return found
                into.write(sock.recv(1 << 16))

        run(lambda: tls.do_handshake() or True)
        run(lambda: tls.write(b"GET /size HTTP/1.0\r\n\r\n"))
        assert run(lambda: tls.read(1 << 16)).startswith(b"HTTP/1.1 200 ")


def closed_by_server(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_they_are_let_go_after_the_servers_timeout(server_certificate, client_tls, beginning):
    with tls_site(BuiltinSSLAdapter(*server_certificate), timeout=0.3) as site:
        with site.raw(BEGINNINGS[beginning](client_hello(client_tls))) as sock:
            assert closed_by_server(sock)


def test_who_sends_a_byte_now_and_then_is_let_go_too(server_certificate, client_tls):
    hello = client_hello(client_tls)
    with tls_site(BuiltinSSLAdapter(*server_certificate), timeout=0.5) as site, \
            site.raw() as sock:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in hello[:-1]:
                sock.sendall(bytes([byte]))
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1):
                        break
            else:
                pytest.fail(f"still connected after {time.monotonic() - begun} s")


def test_plain_http_is_told_what_to_use(site, client_tls):
    for request in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50000):
        with site.raw(request) as sock:
            answer = b""
            while data := sock.recv(1 << 16):
                answer += data
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"this server only speaks HTTPS on this port.")
    assert site.echoes(client_tls)
    assert sum("plain HTTP" in text for _, text in site.log) == 2


@pytest.mark.parametrize("data", [b"\0" * 100, b"SSH-2.0-client\r\n", b"\x16\x03\x01\xff\xff" * 99,
                                  b"\x80\x2e\x01\0\x02" + b"x" * 50])
def test_what_is_no_handshake_ends_only_its_own_connection(site, client_tls, data):
    for _ in range(2 * THREADS):
        with site.raw(data) as sock:
            with contextlib.suppress(OSError):      # it may have gone
                sock.shutdown(socket.SHUT_WR)
            assert closed_by_server(sock)
    assert site.echoes(client_tls)
    assert all(level <= 20 for level, _ in site.log)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_reset_ends_only_its_own_connection(site, client_tls, beginning):
    start = BEGINNINGS[beginning](client_hello(client_tls))
    for _ in range(2 * THREADS):
        with site.raw(start) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert site.echoes(client_tls)
    assert all(level <= 20 for level, _ in site.log)


def test_a_client_that_does_not_trust_the_certificate_harms_nobody(site, client_tls):
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(site.raw(), server_hostname="localhost").close()
    assert site.echoes(client_tls)


def test_the_site_sees_what_the_handshake_said(site, client_tls):
    env = json.loads(site.get("/env", client_tls))
    assert env["wsgi.url_scheme"] == "https" and env["HTTPS"] == "on"
    assert env["SSL_PROTOCOL"].startswith("TLSv1.") and env["SSL_CIPHER"]
    assert env["SSL_TLS_SNI"] == "localhost"
    assert env["SSL_CLIENT_VERIFY"] == "NONE"
    assert "BEGIN CERTIFICATE" in env["SSL_SERVER_CERT"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates_are_checked(server_certificate, authority, client_tls, version):
    adapter = BuiltinSSLAdapter(*server_certificate)
    adapter.context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(adapter.context)
    client_tls.minimum_version = client_tls.maximum_version = version
    with tls_site(adapter) as site:
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            site.get("/env", client_tls)
        authority.issue_cert("alice@example.org").configure_cert(client_tls)
        env = json.loads(site.get("/env", client_tls))
        assert env["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert site.echoes(client_tls)


def test_a_connection_that_is_kept_alive_answers_many_requests(site, client_tls):
    connection = http.client.HTTPSConnection("localhost", site.port, context=client_tls,
                                             timeout=PATIENCE)
    with contextlib.closing(connection):
        for size in (0, 10, 200_000, 0):
            connection.request("POST", "/size", body=b"x" * size,
                               headers={"Content-Type": "application/octet-stream"})
            body = connection.getresponse().read()
            assert body == str(size).encode(), body.decode()


def test_frames_right_behind_the_handshake_are_not_lost(site, client_tls):
    frames = b"".join(masked_frame(0x81, b"%d" % number) for number in range(50))
    with Client(("127.0.0.1", site.port), tls=client_tls) as client:
        client.handshake("/echo?Id=1", behind=frames)
        assert [client.message() for _ in range(50)] == [str(number) for number in range(50)]


def test_the_engine_starts_and_stops_any_number_of_times(site, client_tls):
    for _ in range(3):
        with site.raw():
            assert site.echoes(client_tls)
            site.stop()
        site.start()
    assert site.echoes(client_tls)
    assert len([base for base in site.http.ConnectionClass.__mro__
                if base is ShakesHandsLater]) == 1


def test_a_certificate_that_the_site_replaces_is_used(site, authority, client_tls, tmp_path):
    renewed = authority.issue_cert("localhost", "renewed.example.org")
    renewed.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    renewed.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    site.http.ssl_adapter.context = context
    with client_tls.wrap_socket(site.raw(), server_hostname="renewed.example.org") as sock:
        assert ("DNS", "renewed.example.org") in sock.getpeercert()["subjectAltName"]


def test_an_adapter_of_the_sites_own_is_left_alone(server_certificate, client_tls):
    class Own(BuiltinSSLAdapter):
        def wrap(self, sock):
            wrapped.append(sock)
            return super().wrap(sock)

    wrapped = []
    with tls_site(Own(*server_certificate)) as site:
        assert type(site.http.ssl_adapter) is Own
        assert site.echoes(client_tls)
        wait_until(lambda: len(wrapped) >= 1)


def test_a_server_without_tls_is_left_alone():
    with tls_site(None) as site:
        assert site.http.ssl_adapter is None
        assert not issubclass(site.http.ConnectionClass, ShakesHandsLater)
        assert site.echoes(None)


class StillThere(socket.socket):
    """A socket whose client goes only after it was looked for."""

    def getpeername(self):
        return "somebody"


@pytest.mark.filterwarnings("error")
def test_a_client_that_has_gone_before_the_tls_layer_is_made_leaves_no_socket(server_certificate):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            accepted = StillThere(fileno=listener.accept()[0].detach())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with pytest.raises(OSError), accepted:
            begin_tls(BuiltinSSLAdapter(*server_certificate), accepted)
