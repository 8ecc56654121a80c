"""A site behind ``PushFront``: clients that are slow to ask keep nobody else out."""
from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import threading

import cherrypy
import pytest
import trustme
from cherrypy._cpserver import Server
from cherrypy.process.wspbus import Bus

from pushserver import InvalidSetting, PushFront, PushPlugin, PushTool
from pushserver.web import arrivals, exchanges
from pushserver.web.heads import MAX_BODY
from pushserver.wire.handshake import MAX_HEAD
from tests.support.loopback import free_port
from tests.support.programs import program
from tests.support.raw_client import Client, masked_frame, shaken_hands
from tests.support.site import Echo
from tests.support.waiting import PATIENCE, wait_until

THREADS = 2
LONG = 6 * PATIENCE
"""cheroot's timeout: a thread that waits for a client makes a test fail."""


PAGE = bytes(range(250)) * 14_000       # more than the system takes for a client


class Root:
    def __init__(self):
        self.entered, self.leave = threading.Event(), threading.Event()
        self.failures = []

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def echo(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    def index(self):
        return cherrypy.request.remote.ip or "nobody"

    @cherrypy.expose
    def size(self):
        return str(len(cherrypy.request.body.read()))

    @cherrypy.expose
    def env(self, name="SSL_SERVER_M_SERIAL"):
        return str(cherrypy.request.wsgi_environ.get(name))

    @cherrypy.expose
    def late(self):
        """Read a body that may not come."""
        try:
            return str(len(cherrypy.request.rfile.read()))
        except Exception as error:
            self.failures.append(error)
            raise
    late._cp_config = {"request.process_request_body": False}

    @cherrypy.expose
    def large(self):
        return PAGE

    @cherrypy.expose
    def stream(self):
        return iter([PAGE])
    stream._cp_config = {"response.stream": True}

    @cherrypy.expose
    def wait(self, large=False):
        self.entered.set()
        assert self.leave.wait(PATIENCE)
        return PAGE if large else "done"


class Site:
    """A site with a front on a bus of its own."""

    def __init__(self, certificate=None, **settings):
        self.bus, self.root = Bus(), Root()
        self.push = PushPlugin(self.bus)
        self.push.subscribe()
        cherrypy.tools.push = PushTool(self.push)
        cherrypy.tree.mount(self.root, "/")
        self.adapter = Server()
        self.adapter.instance = "pushserver.PushFront"
        self.adapter.socket_host, self.adapter.socket_port = "127.0.0.1", free_port()
        self.adapter.thread_pool, self.adapter.socket_timeout = THREADS, LONG
        self.adapter.socket_queue_size = 100
        self.adapter.bus = self.bus
        if certificate is not None:
            self.adapter.ssl_module = "builtin"
            self.adapter.ssl_certificate = self.adapter.ssl_private_key = certificate
        for name, value in settings.items():
            setattr(self.adapter, name, value)
        self.adapter.subscribe()
        self.client_tls = None
        self.log = []

    def start(self):
        self.bus.publish("start")
        self.front = self.adapter.httpserver
        self.front.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)    # of clients
        self.front.error_log = lambda text="", level=20, traceback=False: self.log.append(text)

    def stop(self):
        self.bus.publish("stop")
        self.adapter.unsubscribe()
        cherrypy.tree.apps.pop("", None)

    def raw(self, data=b"", tls=False, reads=True):
        """Return a connection, after some bytes."""
        if self.adapter.socket_file:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(self.adapter.socket_file)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in self.adapter.socket_host
                                 else socket.AF_INET)
            if not reads:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.settimeout(PATIENCE)
            sock.connect((self.adapter.socket_host, self.adapter.socket_port))
        if tls:
            sock = self.client_tls.wrap_socket(sock, server_hostname="localhost")
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(sock))
            sock.sendall(data)
            stack.pop_all()
            return sock

    def get(self, path="/", body=None):
        """Return a page's status and text."""
        made = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        made.sock = self.raw(tls=self.client_tls is not None)
        with contextlib.closing(made):
            made.request("POST" if body is not None else "GET", path, body)
            answer = made.getresponse()
            return answer.status, answer.read().decode()

    def echo(self, tls=False):
        """Connect a WebSocket, and return what comes back of a message sent with the handshake."""
        address = "127.0.0.1", self.adapter.socket_port
        with contextlib.closing(Client(address, tls=self.client_tls if tls else None)) as client:
            client.handshake("/echo?Id=1", behind=masked_frame(0x81, b"early"))
            return client.message()


def answer_of(sock):
    """Return all that a server sends until it closes."""
    with sock:
        data = b""
        while piece := sock.recv(65536):
            data += piece
    return data


@pytest.fixture
def site():
    made = Site()
    made.start()
    yield made
    made.root.leave.set()
    made.stop()


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def pem(tmp_path, authority):
    path = tmp_path / "site.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture
def tls_site(pem, authority):
    made = Site(str(pem))
    made.client_tls = ssl.create_default_context()
    authority.configure_trust(made.client_tls)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def many():
    """Close all connections that a test puts in."""
    with contextlib.ExitStack() as stack:
        yield lambda sock: stack.enter_context(contextlib.closing(sock))


BEGINNINGS = {"silent": b"", "slow": b"GET / HT", "without an end": b"GET / HTTP/1.1\r\nA: b\r\n",
              "no body": b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
              "half closed": None}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_who_has_not_asked_takes_no_thread(site, many, kind):
    for _ in range(5 * THREADS):
        sock = many(site.raw(BEGINNINGS[kind] or b""))
        if kind == "half closed":
            sock.shutdown(socket.SHUT_WR)
    assert site.get() == (200, "127.0.0.1")


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_who_begins_no_tls_keeps_nobody_out(tls_site, many, beginning):
    for _ in range(5 * THREADS):
        many(tls_site.raw(beginning))
    assert tls_site.get() == (200, "127.0.0.1")


def test_who_has_done_the_tls_handshake_takes_no_thread(tls_site, many):
    for _ in range(5 * THREADS):
        many(tls_site.raw(b"GET /", tls=True))
    assert tls_site.get() == (200, "127.0.0.1")


def serial(site):
    with site.raw(tls=True) as sock:
        return sock.getpeercert()["serialNumber"]


def look_again(site):
    """Have the front look at its certificate's files now."""
    site.front._connections._look_again = 0.0
    site.raw().close()
    wait_until(lambda: site.front._connections._look_again)


def test_a_renewed_certificate_is_used_from_then_on(tls_site, pem, authority, many):
    kept, before = many(tls_site.raw(tls=True)), serial(tls_site)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    look_again(tls_site)
    assert serial(tls_site) not in (before, None)
    assert int(tls_site.get("/env")[1], 16) == int(serial(tls_site), 16)
    kept.sendall(get(b"/", last=True))
    assert answer_of(kept).endswith(b"127.0.0.1")
    assert len(tls_site.log) == 1 and "has changed and is used" in tls_site.log[0]


@pytest.mark.parametrize("kind", ["nonsense", "missing", "of another key"])
def test_a_certificate_that_cannot_be_used_leaves_the_old_one(tls_site, pem, authority, kind):
    before = serial(tls_site)
    other = authority.issue_cert("localhost")
    if kind == "missing":
        pem.unlink()
    else:
        pem.write_bytes(b"nonsense" if kind == "nonsense" else other.cert_chain_pems[0].bytes()
                        + authority.issue_cert("localhost").private_key_pem.bytes())
    for _ in range(3):
        look_again(tls_site)
        assert serial(tls_site) == before
    assert len(tls_site.log) == 1 and "the old certificate is still used" in tls_site.log[0]
    other.private_key_and_cert_chain_pem.write_to_path(str(pem))
    look_again(tls_site)
    assert serial(tls_site) != before


def test_a_name_chooses_the_certificate(tls_site, authority):
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(other)

    def choose(sock, name, context):
        if name == "other.example":
            sock.context = other

    tls_site.front.ssl_adapter.context.sni_callback = choose
    for name in ("localhost", "other.example"):
        with tls_site.client_tls.wrap_socket(tls_site.raw(), server_hostname=name) as sock:
            assert sock.getpeercert()["subjectAltName"] == (("DNS", name),)
            sock.sendall(get(b"/", last=True))
            assert answer_of(sock).endswith(b"127.0.0.1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates_reach_the_site_and_sessions_are_resumed(tls_site, authority, version):
    context = tls_site.front.ssl_adapter.context
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    tls_site.client_tls.minimum_version = tls_site.client_tls.maximum_version = version
    with contextlib.suppress(OSError):  # over TLS 1.3, a client is told only when it reads
        with tls_site.raw(get(b"/"), tls=True) as sock:
            assert sock.recv(1) == b""
    authority.issue_cert("someone@example.org", common_name="someone").configure_cert(
        tls_site.client_tls)
    session, reused = None, []
    for _ in range(2):
        sock = tls_site.client_tls.wrap_socket(tls_site.raw(), server_hostname="localhost",
                                               session=session)
        sock.sendall(get(b"/env?name=SSL_CLIENT_S_DN_CN", last=True))
        reused.append(sock.session_reused)
        data = b""
        while not data.endswith(b"someone"):
            data += sock.recv(65536)
        session = sock.session
        sock.close()
    assert reused == [False, True]


def test_clients_cannot_renegotiate(tls_site):
    assert tls_site.front.ssl_adapter.context.options & ssl.OP_NO_RENEGOTIATION


def records(tls_site, data):
    """Return what a client sends over TLS in one record, and its connection."""
    sock = tls_site.raw()
    tls, outgoing = shaken_hands(sock, tls_site.client_tls)
    tls.write(data)
    return outgoing.read(), sock


def test_who_sends_a_record_byte_by_byte_takes_no_thread(tls_site, many):
    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nA: %s\r\n\r\n" % (b"a" * 15_000)
    sent = []
    for _ in range(5 * THREADS):
        record, sock = records(tls_site, data)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in record[:20]:
            sock.sendall(bytes([byte]))
        sent.append((record, many(sock)))
    assert tls_site.get() == (200, "127.0.0.1")
    for record, sock in sent:
        sock.sendall(record[20:])
        assert len(sock.recv(65536)) > 22      # tickets, or an answer


def test_who_stops_half_way_in_a_handshake_is_closed(tls_site, many):
    tls_site.front._connections._shaking.seconds = 0.2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_site.client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    for data in (b"", outgoing.read()):
        sock = many(tls_site.raw(data))
        while sock.recv(65536):
            pass


def test_plain_http_is_told_so(tls_site):
    answer = answer_of(tls_site.raw(b"GET / HTTP/1.1\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 ") and b"only speaks HTTPS" in answer
    assert tls_site.get() == (200, "127.0.0.1")


@pytest.mark.parametrize("data, status, text", [
    (b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD, b"431 ", b"too long"),
    (b"nonsense\r\n", b"400 ", b"Malformed Request-Line"),
    (b"GET / HTTP/1.1\nHost: a\n\n", b"400 ", b"CRLF")])
def test_bad_requests_are_answered(site, data, status, text):
    answer = answer_of(site.raw(data))
    assert answer.startswith(b"HTTP/1.1 " + status) and text in answer


@pytest.mark.parametrize("data", [BEGINNINGS["slow"], BEGINNINGS["no body"]])
def test_who_is_too_slow_is_told_so(site, data):
    site.front._connections._heads.seconds = site.front._connections._bodies.seconds = 0.2
    assert answer_of(site.raw(data)).startswith(b"HTTP/1.1 408 ")


def test_the_silent_are_closed_without_a_word(site):
    site.front._connections._heads.seconds = 0.2
    assert answer_of(site.raw()) == b""


def test_a_client_that_sends_on_reads_its_refusal(site):
    sock = site.raw(b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * MAX_HEAD)
    assert b" 431 " in answer_of(sock)


@pytest.mark.parametrize("size", [0, 1, 5000, MAX_BODY, MAX_BODY + 1, 10 * MAX_BODY])
def test_bodies_arrive(site, size):
    assert site.get("/size", b"b" * size) == (200, str(size))


def test_who_asks_whether_a_body_is_too_large_is_told_so_before_sending_it(many):
    site = Site(max_request_body_size=1000)
    site.start()
    try:
        sock = many(site.raw(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"))
        assert answer_of(sock).startswith(b"HTTP/1.1 413 ")
    finally:
        site.stop()


def test_bodies_arrive_over_tls(tls_site):
    for size in (1, 20_000, MAX_BODY, 3 * MAX_BODY):
        assert tls_site.get("/size", b"b" * size) == (200, str(size))


def test_a_connection_makes_several_requests(site):
    made = http.client.HTTPConnection("127.0.0.1", site.adapter.socket_port, timeout=PATIENCE)
    with contextlib.closing(made):
        for size in (0, 10, 100_000, 5):
            made.request("POST", "/size", b"b" * size)
            assert made.getresponse().read() == b"%d" % size
        wait_until(lambda: len(site.front._connections._idle) == 1)
    wait_until(lambda: not len(site.front._connections._idle))


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_requests_sent_together_are_answered_in_order(site, pieces):
    sizes = (3, 0, 70_000, 20)
    data = b"".join(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                    % (size, b"b" * size) for size in sizes)
    data += b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    step = -(-len(data) // pieces)
    sock = site.raw()
    for begin in range(0, len(data), step):
        sock.sendall(data[begin:begin + step])
    answer = answer_of(sock)
    assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] \
        == [b"3", b"0", b"70000", b"20", b"127.0.0.1"]


def get(path, last=False):
    return b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path, b"Connection: close\r\n" * last)


def waits(site):
    return site.front._connections._waits


@pytest.mark.parametrize("tls", [False, True])
def test_who_does_not_read_a_page_takes_no_thread(request, many, tls):
    site = request.getfixturevalue("tls_site" if tls else "site")
    for _ in range(5 * THREADS):
        many(site.raw(get(b"/large"), tls, reads=False))
    assert site.get() == (200, "127.0.0.1")
    assert site.front.held_bytes > len(PAGE)
    site.front.shutdown_timeout = 0.1       # it would wait for them


@pytest.mark.parametrize("tls", [False, True])
def test_a_page_that_is_read_late_is_whole_and_the_next_ones_follow(request, many, tls):
    site = request.getfixturevalue("tls_site" if tls else "site")
    sock = many(site.raw(get(b"/large") * 2 + get(b"/large"), tls, reads=False))
    wait_until(lambda: len(site.front._connections._answering) == 1)
    sock.sendall(get(b"/", last=True))
    pages = [part.partition(b"\r\n\r\n")[2] for part in
             answer_of(sock).split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert pages == [PAGE, PAGE, PAGE, b"127.0.0.1"]
    assert waits(site).kept == 0


def test_a_connection_waits_for_its_next_request_after_a_page_that_was_read_late(site, many):
    sock = many(site.raw(get(b"/large"), reads=False))
    wait_until(lambda: len(site.front._connections._answering) == 1)
    received = 0
    while received < len(PAGE):
        received += len(sock.recv(65536))
    wait_until(lambda: len(site.front._connections._idle) == 1)
    sock.sendall(get(b"/", last=True))
    assert answer_of(sock).endswith(b"127.0.0.1")


def test_who_reads_nothing_of_a_page_is_closed_in_the_end(site, many):
    site.front._connections._answering.seconds = 0.2
    many(site.raw(get(b"/large"), reads=False))
    wait_until(lambda: waits(site).kept)
    wait_until(lambda: not waits(site).kept)
    assert not len(site.front._connections._answering)


def test_a_page_is_written_to_its_end_at_a_stop(site):
    sock = site.raw(get(b"/large", last=True), reads=False)
    wait_until(lambda: waits(site).kept)
    stopping = threading.Thread(target=site.bus.publish, args=("stop",))
    stopping.start()
    assert answer_of(sock).endswith(PAGE)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("path", [b"/large", b"/stream"])
def test_threads_wait_for_what_is_not_kept_while_nobody_else_needs_them(site, many, monkeypatch,
                                                                        path):
    monkeypatch.setattr(exchanges, "MOST_KEPT_OF_ONE", 0)
    made = [many(site.raw(get(path, last=True), reads=False)) for _ in range(THREADS)]
    wait_until(lambda: len(waits(site)._waiting) == THREADS)
    assert waits(site).kept == 0
    for sock in made:
        assert len(answer_of(sock)) > len(PAGE)


@pytest.mark.parametrize("limit", ["MOST_KEPT", "MOST_KEPT_OF_ONE"])
def test_who_reads_slowest_is_closed_if_others_need_the_threads(site, many, monkeypatch, limit):
    monkeypatch.setattr(exchanges, limit, 0)
    made = [many(site.raw(get(b"/large", last=True), reads=False)) for _ in range(5 * THREADS)]
    assert site.get() == (200, "127.0.0.1")
    wait_until(lambda: len(waits(site)._waiting) == waits(site).most)
    sizes = []
    for sock in made:
        with contextlib.suppress(OSError):
            sizes.append(len(answer_of(sock)) > len(PAGE))
    assert sum(sizes) <= THREADS    # the last of them needed not give way


def test_who_reads_slowest_is_closed_if_there_is_no_room_for_others_answers(site, many,
                                                                            monkeypatch):
    monkeypatch.setattr(exchanges, "MOST_KEPT", len(PAGE))
    monkeypatch.setattr(exchanges, "SETTLED", 0.0)
    first = many(site.raw(get(b"/large", last=True), reads=False))
    wait_until(lambda: waits(site).kept)
    second = many(site.raw(get(b"/large", last=True), reads=False))
    wait_until(lambda: not waits(site).kept)
    assert len(answer_of(first)) < len(PAGE) and answer_of(second).endswith(PAGE)


LONG_POST = b"POST /late HTTP/1.1\r\nHost: a\r\n%s\r\n"
LONG_BODIES = {"long": b"Content-Length: 100000\r\n", "chunked": b"Transfer-Encoding: chunked\r\n",
               "expected": b"Content-Length: 10\r\nExpect: 100-continue\r\n"}


@pytest.mark.parametrize("kind", LONG_BODIES)
def test_long_bodies_that_do_not_come_leave_threads_to_others(site, many, kind):
    for _ in range(5 * THREADS):
        many(site.raw(LONG_POST % LONG_BODIES[kind]))
    assert site.get() == (200, "127.0.0.1")


def test_long_bodies_are_read_in_turn(site, many):
    made = [many(site.raw(LONG_POST % LONG_BODIES["long"])) for _ in range(5)]
    wait_until(lambda: len(site.front._connections._queued) == 4)
    for sock in made:   # the others wait although they have come
        sock.sendall(b"b" * 100_000)
    for sock in made:
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).endswith(b"100000")


@pytest.mark.parametrize("tls", [False, True])
def test_who_sends_a_long_body_too_slowly_is_told_so_if_others_wait(request, many, monkeypatch,
                                                                    tls):
    site = request.getfixturevalue("tls_site" if tls else "site")
    monkeypatch.setattr(exchanges, "SETTLED", 0.2)
    slow = many(site.raw(LONG_POST % LONG_BODIES["long"] + b"b", tls))
    wait_until(lambda: len(waits(site)._waiting) == 1)
    assert site.get("/size", b"b" * 100_000) == (200, "100000")
    assert answer_of(slow).startswith(b"HTTP/1.1 408 ")
    assert type(site.root.failures[0]) is exchanges.TooSlow and not site.log


def test_long_bodies_that_wait_for_too_long_are_told_so(site, many):
    site.front._connections._queued.seconds = 0.2
    many(site.raw(LONG_POST % LONG_BODIES["long"]))
    wait_until(lambda: len(waits(site)._waiting) == 1)
    assert answer_of(many(site.raw(LONG_POST % LONG_BODIES["long"]))).startswith(b"HTTP/1.1 503 ")


def test_idle_connections_give_way(site):
    site.front._connections._most_idle = 1
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(contextlib.closing(http.client.HTTPConnection(
            "127.0.0.1", site.adapter.socket_port, timeout=PATIENCE))) for _ in range(3)]
        for one in made:
            one.request("GET", "/")
            assert one.getresponse().read() == b"127.0.0.1"
        assert made[0].sock.recv(1) == b"" and made[1].sock.recv(1) == b""
        made[2].request("GET", "/")
        assert made[2].getresponse().read() == b"127.0.0.1"


def test_idle_connections_end_after_the_servers_timeout(site):
    site.front._connections._idle.seconds = 0.2
    made = http.client.HTTPConnection("127.0.0.1", site.adapter.socket_port, timeout=PATIENCE)
    with contextlib.closing(made):
        made.request("GET", "/")
        made.getresponse().read()
        assert made.sock.recv(1) == b""


def test_the_oldest_give_way_where_too_many_have_not_asked(site, many, monkeypatch):
    monkeypatch.setattr(arrivals, "AGE", 0.0)
    site.front._connections._most_pending = 5
    silent = [many(site.raw(b"G")) for _ in range(8)]
    assert site.get() == (200, "127.0.0.1")
    assert silent[0].recv(1) == b""
    silent[-1].sendall(b"ET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer_of(silent[-1]).startswith(b"HTTP/1.1 200")


def test_new_ones_wait_if_all_are_too_young_to_give_way(site, many):
    site.front._connections._most_pending = 2
    for _ in range(2):
        many(site.raw(b"G"))
    assert site.get() == (200, "127.0.0.1")     # as soon as one is old enough


@pytest.mark.parametrize("tls", [False, True])
def test_a_websocket_opens_with_what_was_sent_after_its_handshake(request, tls):
    site = request.getfixturevalue("tls_site" if tls else "site")
    assert site.echo(tls) == "early"


def test_it_counts_what_has_come(site, many):
    assert site.front.held_bytes == 0
    many(site.raw(b"GET / HTTP/1.1\r\n"))
    wait_until(lambda: site.front.held_bytes == len(b"GET / HTTP/1.1\r\n"))
    assert site.push.stats()["memory"]["heads"] == len(b"GET / HTTP/1.1\r\n")


def test_it_stops_and_starts(site, many):
    kept = http.client.HTTPConnection("127.0.0.1", site.adapter.socket_port, timeout=PATIENCE)
    with contextlib.closing(kept):
        kept.request("GET", "/")
        kept.getresponse().read()
        slow = many(site.raw(b"GET /"))
        site.bus.publish("stop")
        assert slow.recv(1) == b"" and kept.sock.recv(1) == b""
    site.start()
    assert site.get() == (200, "127.0.0.1")


def test_a_page_that_is_being_answered_is_answered_at_a_stop(site):
    sock = site.raw(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    assert site.root.entered.wait(PATIENCE)
    stopping = threading.Thread(target=site.bus.publish, args=("stop",))
    stopping.start()
    site.root.leave.set()
    assert answer_of(sock).endswith(b"done")
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_a_page_that_is_made_at_a_stop_is_written_to_its_end(site):
    sock = site.raw(get(b"/wait?large=1"), reads=False)
    assert site.root.entered.wait(PATIENCE)
    stopping = threading.Thread(target=site.bus.publish, args=("stop",))
    stopping.start()
    wait_until(lambda: not site.front._connections._serving)
    site.root.leave.set()
    assert answer_of(sock).endswith(PAGE)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_a_unix_socket(tmp_path):
    site = Site(socket_host=None, socket_file=str(tmp_path / "site.sock"))
    site.start()
    try:
        assert site.get() == (200, "nobody")
    finally:
        site.stop()


def test_ipv6():
    site = Site(socket_host="::1")
    site.start()
    try:
        assert site.get() == (200, "::1")
    finally:
        site.stop()


ACTIVATED = """
import os, sys, cherrypy
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
class Root:
    @cherrypy.expose
    def index(self):
        return "activated"
cherrypy.config.update({"server.instance": "pushserver.PushFront", "environment": "embedded",
                        "server.socket_port": int(sys.argv[2])})
cherrypy.tree.mount(Root())
cherrypy.engine.start()
sys.stdin.read()
cherrypy.engine.exit()
"""


def test_a_socket_that_systemd_has_made():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as early, program(
                "-c", ACTIVATED, str(listener.fileno()), str(port), stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()]) as process:
            early.sendall(get(b"/", last=True))
            assert answer_of(early).endswith(b"activated")
            process.stdin.close()
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("limit, most", [(None, 3), (2, 2), (0, 0)])
def test_a_site_may_limit_kept_connections_as_in_cheroot(many, limit, most):
    site = Site()
    site.adapter.httpserver, site.adapter.bind_addr = site.adapter.httpserver_from_self()
    site.adapter.httpserver.keep_alive_conn_limit = limit
    site.start()
    try:
        for number in range(3):
            sock = many(site.raw(get(b"/")))
            answer = sock.recv(65536)
            assert (b"Connection: close" in answer) == (most == 0)
        wait_until(lambda: len(site.front._connections._idle) == most)
    finally:
        site.stop()


def test_a_full_queue_of_requests_is_told_so_at_once(many):
    site = Site(accepted_queue_size=1)
    site.start()
    try:
        for number in range(THREADS + 1):
            many(site.raw(get(b"/wait")))
            wait_until(lambda number=number: site.front.requests.idle == max(
                0, THREADS - number - 1))
        wait_until(lambda: site.front.requests.qsize == 1)
        for _ in range(3):
            assert answer_of(site.raw(get(b"/"))).startswith(b"HTTP/1.1 503 ")
        site.root.leave.set()
        wait_until(lambda: not site.front.requests.qsize)
        assert site.get() == (200, "127.0.0.1")
    finally:
        site.root.leave.set()
        site.stop()


def test_it_gives_memory_back_when_there_is_too_much(site, many):
    silent = many(site.raw())
    slow = [many(site.raw(b"GET / HTTP/1.1\r\nA: " + b"a" * 10_000)) for _ in range(3)]
    page = many(site.raw(get(b"/large"), reads=False))
    wait_until(lambda: site.front.held_bytes > 30_000 + 100_000)
    assert site.front.evict(100_000) == 100_000     # first of what is more
    wait_until(lambda: 30_000 < site.front.held_bytes < 40_000)
    assert len(answer_of(page)) < len(PAGE)
    assert site.front.evict(15_000) == 15_000
    for sock in slow[:2]:
        assert answer_of(sock) == b""
    assert site.front.held_bytes > 10_000
    silent.sendall(get(b"/", last=True))        # that holds nothing
    assert answer_of(silent).endswith(b"127.0.0.1")


def test_another_tls_adapter_is_refused_with_advice():
    front = PushFront(Server())
    front.bind_addr = "127.0.0.1", free_port()
    front.ssl_adapter = object()
    with pytest.raises(InvalidSetting, match="server.ssl_module to 'builtin'"):
        front.prepare()
