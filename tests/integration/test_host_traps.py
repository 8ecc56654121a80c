"""What ws4py on CherryPy does wrong, one test for each: all pass here and fail on plain ws4py.

To see them fail: ``pytest tests/integration/test_host_traps.py --plain-ws4py``. ``#n`` is an
issue of Lawouach/WebSocket-for-Python.

Not here, because no test can make plain ws4py fail at it: its kqueue poller, which is a copy of
the epoll one and never chosen; an ``Origin: ws://host``, which it accepts because it looks at no
Origin (handshake/test_origins.py has that for ours); and what is cheroot's own, such as its TLS
handshake on the thread that accepts.
"""
from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading

import cherrypy
import pytest
from cherrypy.lib import cpstats

from tests.hosts import OurHost, PlainHost
from tests.support import Refused, masked_frame, wait_until

MESSAGE = 4096
"""Bytes of a message in the tests with much traffic."""


@pytest.fixture
def host(request):
    """Return our host, or plain ws4py when the test run is to show that."""
    return PlainHost() if request.config.getoption("--plain-ws4py") else OurHost()


def site_of(host, handler_cls=None, **options):
    """Return a site whose ``/websocket`` is a WebSocket address, and ``/echo`` one that echoes."""
    class Root:
        @host.address(handler_cls or host.base, **options)
        def websocket(self, Id=None):
            """Accept everybody."""

        @host.address(host.echo())
        def echo(self, Id=None):
            """Accept everybody."""

    return Root()


def refused(host, **options):
    """Return how a handshake was refused."""
    with pytest.raises(Refused) as caught, host.client(**options):
        pass
    return caught.value


def received(client):
    """Return the next message, or None if none comes in time."""
    try:
        return client.message()
    except (OSError, EOFError):
        return None


def messages(client, count):
    """Return up to so many messages, as many as come in time."""
    found = []
    with contextlib.suppress(OSError, EOFError):
        for _ in range(count):
            found.append(client.message())
    return found


def close_code(client):
    """Return the code of the server's close frame, or "none came"."""
    try:
        return client.close_code()
    except (OSError, EOFError):
        return "none came"


def frames(client, count):
    """Return up to so many frames, as many as come in time and can be read."""
    found = []
    with contextlib.suppress(OSError, EOFError):
        for _ in range(count):
            found.append(client.frame())
    return found


@contextlib.contextmanager
def in_background(work):
    """Run something on a thread that does not outlive the test by much."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(5)


# Handing over


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


# The opening handshake


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


# Reading


def test_frames_of_one_tls_record_all_come_back_at_once(host, server_certificate, client_tls):
    """#270: messages arrived one behind."""
    texts = [f"message {number}" for number in range(10)]
    with host.running(site_of(host), tls=server_certificate):
        with host.client("/echo?Id=1", tls=client_tls) as client:
            client.sock.sendall(b"".join(masked_frame(0x81, text.encode()) for text in texts))
            assert messages(client, len(texts)) == texts


def test_half_a_tls_record_keeps_nobody_else_waiting(host, server_certificate, client_tls):
    with host.running(site_of(host), tls=server_certificate):
        with host.client("/echo?Id=2", tls=client_tls) as other, \
                TlsByHand(host, client_tls) as half:
            record = half.encrypted(masked_frame(0x81, b"a" * MESSAGE))
            half.sock.sendall(record[:len(record) // 2])
            other.text("first")
            other.text("second")
            assert messages(other, 2) == ["first", "second"]


class TlsByHand:
    """A connected TLS client that decides itself which encrypted bytes it sends."""

    def __init__(self, host, context):
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._plain = host.socket()
        self.sock = self._plain.sock
        self._until_done(self._tls.do_handshake)
        self.sock.sendall(self.encrypted(self._plain.request("/echo?Id=1")))
        assert self._until_done(self._tls.read).startswith(b"HTTP/1.1 101")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._plain.close()

    def encrypted(self, data):
        self._tls.write(data)
        return self._outgoing.read()

    def _until_done(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self.sock.sendall(self._outgoing.read())
            self._incoming.write(self.sock.recv(65536))


def test_a_header_that_claims_an_exabyte_is_refused_before_any_of_it_is_read(host):
    with host.running(site_of(host)), host.client() as client:
        client.sock.sendall(b"\x82\xff" + (2 ** 62).to_bytes(8, "big") + b"mask")
        assert close_code(client) == 1009


def test_a_message_keeps_its_data_after_the_callback(host):
    messages = []
    Handler = type("Keeper", (host.base,), {
        "received_message": lambda handler, message: messages.append(message)})
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("first")
        client.text("second")
        wait_until(lambda: len(messages) == 2, host.patience)
        assert messages[0].data == b"first"


def test_a_descriptor_over_1024_is_served(host):
    """Where there is no epoll, ws4py uses ``select``, which ends there."""
    with contextlib.ExitStack() as many, host.running(site_of(host), select=True):
        null = os.open(os.devnull, os.O_RDONLY)
        many.callback(os.close, null)
        while null < 1030:
            null = os.dup(null)
            many.callback(os.close, null)
        with host.client("/echo?Id=1") as client:
            client.text("hello")
            assert received(client) == "hello"


# Writing


def test_a_client_that_does_not_read_stalls_no_broadcast(host):
    message = "a" * 65536
    with host.running(site_of(host)), host.client(receive_buffer=4096) as idle:
        with host.client() as reader:
            wait_until(lambda: host.count() == 2)
            turns = threading.Semaphore(1)

            def broadcast():
                for _ in range(100):
                    if turns.acquire(timeout=host.patience):
                        host.broadcast(message)

            with in_background(broadcast):
                for number in range(100):
                    assert received(reader) == message, f"message {number} did not come"
                    turns.release()
            idle.reset()


def test_echoes_that_are_not_read_yet_keep_nobody_else_waiting(host):
    """The manager's one thread was in the ``send`` to one client, with a timeout of seconds."""
    count = 200

    def send():
        with contextlib.suppress(OSError):
            late.sock.sendall(masked_frame(0x81, b"a" * MESSAGE) * count)

    with host.running(site_of(host), buffers=4096):
        with host.client("/echo?Id=1", receive_buffer=4096) as late, \
                host.client("/echo?Id=2") as other, in_background(send):
            for number in range(50):
                other.text(f"message {number}")
                assert received(other) == f"message {number}"
            assert messages(late, count) == ["a" * MESSAGE] * count


def test_frames_that_several_threads_send_at_once_stay_whole(host):
    """#174, #136."""
    senders, rounds = 4, 4

    def push(number):
        for _ in range(rounds):
            host.broadcast(str(number) * 60_000)

    with host.running(site_of(host), buffers=4096), host.client(receive_buffer=4096) as client:
        wait_until(lambda: host.count() == 1)
        threads = [threading.Thread(target=push, args=(number,)) for number in range(senders)]
        for thread in threads:
            thread.start()
        try:
            found = frames(client, senders * rounds)
        finally:
            client.reset()
            for thread in threads:
                thread.join()
        whole = sorted((0x81, str(number).encode() * 60_000)
                       for number in range(senders) for _ in range(rounds))
        assert sorted(found) == whole


def test_a_message_to_a_connection_that_has_closed_is_refused_with_a_reason(host):
    """#73, #131: it was an AttributeError."""
    handlers, closed = [], threading.Event()
    Handler = type("Handler", (host.base,), {
        "opened": lambda handler: handlers.append(handler),
        "closed": lambda handler, code, reason=None: closed.set()})
    with host.running(site_of(host, Handler)):
        with host.client() as client, host.client("/echo?Id=other") as other:
            client.hang_up()
            assert closed.wait(host.patience) and client.at_end()
            other.text("and on")
            assert received(other) == "and on"  # so whatever follows ``closed`` is over
            with pytest.raises(RuntimeError):
                handlers[0].send("too late")


# Staying alive


def test_a_silent_client_is_pinged(host):
    """#148: under CherryPy the heartbeat never started, and it would have sent pongs."""
    with host.running(site_of(host), heartbeat=0.1), host.client() as client:
        assert [first for first, _ in frames(client, 1)] == [0x89]


def test_a_client_that_answers_no_ping_is_gone(host):
    Handler = host.recorder()
    with host.running(site_of(host, Handler), heartbeat=0.1), host.client():
        with contextlib.suppress(AssertionError):
            wait_until(lambda: ("closed", 1006) in Handler.log, host.patience)
        assert Handler.log == [("opened",), ("closed", 1006)]
        assert host.count() == 0


# Handlers


@pytest.mark.parametrize("callback", ["received_message", "closed"])
def test_a_callback_that_raises_harms_no_other_connection(host, callback, caplog):
    """An error in ``closed`` ended the thread that served all."""
    def fail(*args):
        raise ValueError("a bug of the site")

    Handler = type("Handler", (host.base,), {callback: fail})
    with host.running(site_of(host, Handler)):
        with host.client("/echo?Id=other") as other, host.client() as client:
            client.text("anything")
            with contextlib.suppress(OSError, EOFError):
                client.hang_up()
            other.text("still there")
            assert received(other) == "still there"
            wait_until(lambda: any(record.exc_info for record in caplog.records), host.patience,
                       "a traceback in the log")


def test_a_handler_that_sends_on_the_socket_it_has_closed_harms_no_other_connection(host):
    def received_message(handler, message):
        handler.close_connection()
        handler.send("too late")

    Handler = type("Handler", (host.base,), {"received_message": received_message})
    with host.running(site_of(host, Handler)):
        with host.client("/echo?Id=other") as other, host.client() as client:
            client.text("close it")
            assert client.at_end()
            other.text("still there")
            assert received(other) == "still there"


def test_an_error_in_a_handler_closes_with_1011_and_leaves_a_traceback(host, caplog):
    """#234: it left one line and a connection that ended without a word."""
    def received_message(handler, message):
        raise ValueError("a bug of the site")

    Handler = type("Handler", (host.base,), {"received_message": received_message})
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("anything")
        assert close_code(client) == 1011
    assert [str(record.exc_info[1]) for record in caplog.records
            if record.levelno >= logging.ERROR] == ["a bug of the site"]


def test_a_close_by_the_server_is_told_to_the_handler_and_ends_the_socket(host):
    Handler = host.recorder()
    Handler.received_message = lambda handler, message: handler.close(4321, "enough")
    with host.running(site_of(host, Handler)), host.client() as client:
        client.text("anything")
        assert close_code(client) == 4321
        client.send(0x88, (4321).to_bytes(2, "big"))
        assert client.at_end()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(Handler.log) == 2, host.patience)
        assert Handler.log == [("opened",), ("closed", 4321)]


# Closing


@pytest.mark.parametrize("sent, answered, told", [
    (b"", None, 1005),
    (b"\x03", 1002, 1002),
    ((1012).to_bytes(2, "big"), 1012, 1012),
    ((1013).to_bytes(2, "big"), 1013, 1013),
    ((1014).to_bytes(2, "big"), 1014, 1014),
    *(((code).to_bytes(2, "big"), 1002, 1002)
      for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)),
], ids=str)
def test_a_close_frame_is_answered_as_rfc_6455_says(host, sent, answered, told):
    Handler = host.recorder()
    with host.running(site_of(host, Handler)), host.client() as client:
        client.send(0x88, sent)
        assert close_code(client) == answered
        client.close()
        wait_until(lambda: len(Handler.log) == 2, host.patience)
        assert Handler.log[-1] == ("closed", told)


# Running


def test_the_engine_can_stop_and_start_again(host):
    """#166: threads could only be started once."""
    with host.running(site_of(host)):
        for number in range(3):
            host.stop()
            host.start()
            with host.client(f"/echo?Id={number}") as client:
                client.text("hello")
                assert received(client) == "hello"


def test_a_stop_waits_for_the_closing_handshakes(host):
    Handler = host.recorder()
    with host.running(site_of(host, Handler)), host.client() as client:
        wait_until(lambda: Handler.log)
        with in_background(host.stop) as stopping:
            assert close_code(client) == 1001
            assert stopping.is_alive()
            client.send(0x88, (1001).to_bytes(2, "big"))
            assert client.at_end()
            stopping.join(host.patience)
            assert Handler.log == [("opened",), ("closed", 1001)]


def test_clients_are_told_to_leave_before_the_http_server_stops(host):
    http_server_stops = 25
    with host.running(site_of(host)) as site, host.client() as client:
        wait_until(lambda: host.count() == 1)
        told = []

        def leave():
            told.append(close_code(client))
            client.close()

        site.bus.subscribe("stop", leave, http_server_stops)
        host.stop()
        assert told == [1001]


def test_the_engine_stops_when_the_thread_that_serves_the_sockets_dies(host, caplog):
    with host.running(site_of(host)) as site, host.client():
        host.kill()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: site.bus.state == site.bus.states.EXITING, host.patience)
        assert site.bus.state == site.bus.states.EXITING
        assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError
                   for record in caplog.records)


def test_a_ticker_goes_on_after_an_error(host):
    """CherryPy's Monitor, which a site would use with ws4py, ends at the first one."""
    results = iter([ValueError("not now"), "tick", "tock"])

    def make():
        result = next(results, "done")
        if isinstance(result, ValueError):
            raise result
        return result

    with host.running(site_of(host)), host.client() as client:
        host.every(0.05, make)
        assert messages(client, 2) == ["tick", "tock"]
