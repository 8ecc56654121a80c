"""Signal handlers that interrupt the client's methods and call others."""
from __future__ import annotations

import contextlib
import itertools
import signal
import ssl
import threading
import time

import pytest

from pushclient import ConnectionClosed, PushClient, WebSocketClient
from pushclient.bell import Bell
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_TEXT, frame

from tests.support import centrifuge_site
from tests.support.scripted_server import Server, drain, hold
from tests.support.site import entered, running_site
from tests.support.waiting import PATIENCE, wait_until

OFTEN = 0.0003
"""Seconds from the end of one handler to the next signal."""

BIG = 8_000_000

SOON = 3.0
"""Seconds: less than ``close()`` waits for a thread that cannot end."""


AGAIN = 5.0
"""Seconds after which a signal is sent again: Python runs no handler for one that comes just as the
thread begins to wait, until it has waited."""


@contextlib.contextmanager
def interrupted(handler, seconds=OFTEN):
    """Interrupt the block again and again by a handler, on the main thread.

    Not by SIGALRM, with which pytest ends tests that hang.
    """
    main, begun, handled, over = threading.get_ident(), [], [], []
    bell = Bell()  # threading.Event would not do: its lock cannot be taken again in a handler

    def handle(*_):
        try:
            if not over:
                handler()
        finally:
            handled.append(1)
            bell.ring()

    def interrupt():
        bell.wait(lambda: begun)
        while not bell.wait(lambda: over, seconds):
            before, tries = len(handled), 0
            while not tries or not bell.wait(lambda: len(handled) > before, AGAIN):
                assert tries < 2 * PATIENCE / AGAIN
                tries += 1
                signal.pthread_kill(main, signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        begun.append(1)
        bell.ring()
        yield
    finally:
        over.append(1)
        bell.ring()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


class Log:
    """A script that notes the texts that it gets, and sends them back if it is to."""

    def __init__(self, *, echo=False):
        self.got = []
        self._echo = echo

    def __call__(self, peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                peer.sock.sendall(b"\x88\x00")
                return
            self.got.append(bytes(message.data).split(b" ")[:2])
            if self._echo:
                peer.sock.sendall(frame(OPCODE_TEXT, message.data))

    def numbers(self, name):
        return [int(number) for who, number in self.got if who == name]


def client(server, **options):
    return PushClient(server.url, **{"proxy": None, "timeout": PATIENCE, **options})


def tls(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def sends(sending, name, size=10):
    """Return a function that sends a message with the next number."""
    numbers = iter(range(1_000_000))
    sent = []

    def send():
        number = next(numbers)
        sending.send(f"{name} {number} {'x' * size}")
        sent.append(number)
    return send, sent


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size", [10, 5000, 400_000])
def test_a_handler_sends_while_the_program_sends(size, secure, server_certificate, client_tls):
    log = Log()
    with Server(log, tls=tls(server_certificate) if secure else None) as server:
        with client(server, ssl_context=client_tls if secure else None) as sending:
            send, sent = sends(sending, "main", size)
            send_too, sent_too = sends(sending, "signal", size)
            until = time.monotonic() + 1
            send()
            with interrupted(send_too):
                while time.monotonic() < until:
                    send()
            wait_until(lambda: len(log.got) == len(sent) + len(sent_too))
        assert server.accepted == 1
    assert log.numbers(b"main") == sent and log.numbers(b"signal") == sent_too
    assert len(sent_too) > 5


def test_a_handler_sends_on_a_single_connection():
    log = Log()
    with Server(log) as server:
        single = WebSocketClient(server.url, proxy=None)
        single.connect()
        send, sent = sends(single, "main", 100_000)
        send_too, sent_too = sends(single, "signal", 100_000)
        until = time.monotonic() + 1
        with interrupted(send_too):
            while time.monotonic() < until:
                send()
        wait_until(lambda: len(log.got) == len(sent) + len(sent_too))
        with interrupted(single.close):
            single.run_forever()
    assert log.numbers(b"main") == sent and log.numbers(b"signal") == sent_too


def test_a_handler_sends_while_the_program_iterates():
    log = Log(echo=True)
    with Server(log) as server, client(server) as iterating:
        send, sent = sends(iterating, "main")
        send()
        with interrupted(send):
            for number, message in enumerate(iterating):
                assert message.startswith(f"main {number} ")
                if number == 300:
                    break


def test_a_handler_sends_while_the_program_starts_and_closes():
    log = Log()
    with Server(log) as server:
        for _ in range(20):
            with contextlib.suppress(ConnectionClosed), client(server) as one:
                send, _ = sends(one, "signal")

                def send_if_open():
                    with contextlib.suppress(ConnectionClosed):
                        send()
                with interrupted(send_if_open):
                    one.start()
                    wait_until(lambda: one.state == "open")
                    began = time.monotonic()
                    one.close()
                    assert time.monotonic() - began < SOON
            assert not one._reconnector._thread.is_alive()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size", [10, 400_000])
def test_a_handler_closes_while_the_program_sends(size, secure, server_certificate, client_tls):
    took = []

    def close():
        began = time.monotonic()
        one.close()
        took.append(time.monotonic() - began)
    with Server(Log(), tls=tls(server_certificate) if secure else None) as server:
        for turn in range(30):
            one = client(server, ssl_context=client_tls if secure else None).start()
            send, _ = sends(one, "main", size)
            send()
            with pytest.raises(ConnectionClosed), interrupted(close, 0.001 + turn * 0.0001):
                while True:
                    send()
            one.close()
            assert not one._reconnector._thread.is_alive() and one.error is None
    assert max(took) < SOON


@pytest.mark.parametrize("wait", [0.0001, 0.001, 0.01])
def test_a_handler_closes_while_the_program_starts(wait):
    took = []

    def close():
        began = time.monotonic()
        one.close()
        took.append(time.monotonic() - began)
    with Server(Log()) as server:
        for _ in range(30):
            one = client(server)
            with interrupted(close, wait), contextlib.suppress(ConnectionClosed):
                one.start()
                wait_until(lambda: took)
            one.close()
            thread = one._reconnector._thread
            if thread is not None:
                thread.join(PATIENCE)
                assert not thread.is_alive()
            assert one.state == "closed"
            took.clear()
    assert max(took, default=0) < SOON


def test_a_handler_closes_what_the_program_closes_or_iterates_over():
    def close():
        began = time.monotonic()
        one.close()
        took.append(time.monotonic() - began)
    took = []
    with Server(Log()) as server:
        for _ in range(20):
            one = client(server).start()
            wait_until(lambda: one.state == "open")
            with interrupted(close):
                one.close()
            assert not one._reconnector._thread.is_alive()
            one = client(server).start()
            with interrupted(close, 0.01):
                assert list(one) == []
            one.close()
    assert max(took) < SOON


def test_a_handler_that_takes_its_time_is_not_held_against_the_server():
    may_read = threading.Event()
    log = Log()

    def script(peer):
        peer.answer()
        may_read.wait(PATIENCE)
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            log.got.append(len(message.data))

    def dawdle():
        may_read.set()
        time.sleep(1.0)
    with Server(script) as server, client(server, timeout=0.4) as sending:
        wait_until(lambda: sending.state == "open")
        with interrupted(dawdle, 0.1):
            sending.send("x" * 8_000_000)
        assert may_read.is_set()
        sending.send("more")
        wait_until(lambda: log.got == [8_000_000, 4])
        assert server.accepted == 1


def test_a_server_that_takes_nothing_is_given_up_though_signals_come():
    with Server(hold) as server, client(server, timeout=0.5) as sending:
        began = time.monotonic()
        with interrupted(lambda: None), \
                pytest.raises(ConnectionClosed, match="the server took nothing for 0.5 s"):
            while True:
                sending.send("x" * 8_000_000)
        assert time.monotonic() - began >= 0.5


def test_a_handler_calls_methods_that_wait_though_a_send_cannot_go_on():
    calls = []

    def use():
        if sending.state == "open" and not calls:
            for call in (sending.receive, lambda: next(sending), lambda: sending.send("x" * BIG),
                         sending.close):
                began = time.monotonic()
                try:
                    calls.append(call())
                except ConnectionClosed as error:
                    calls.append(str(error))
                assert time.monotonic() - began < SOON
    with Server(hold) as server, client(server, close_timeout=0.3) as sending:
        wait_until(lambda: sending.state == "open")
        with pytest.raises(ConnectionClosed), interrupted(use, 0.2):
            while True:
                sending.send("x" * BIG)
    why = "a signal handler that has interrupted another call cannot wait for a message"
    assert calls == [why, why, None, None]


@pytest.mark.parametrize("error", [TimeoutError("too long"), ValueError("handler's"),
                                   ConnectionError("of another connection")])
def test_what_a_handler_raises_comes_out_of_send(error):
    def fail():
        if not raised:
            raised.append(1)
            raise error
    with Server(Log()) as server:
        for turn in range(20):
            raised = []
            with client(server) as sending:
                wait_until(lambda: sending.state == "open")
                with pytest.raises(type(error)) as caught, interrupted(fail, 0.001 * turn):
                    while True:
                        sending.send("main 1 " + "x" * 100_000)
                assert caught.value is error


@pytest.fixture
def in_channels():
    """A site, and a client in one of its channels."""
    with running_site(centrifuge_site.root(), plugin={"channels": centrifuge_site.RULES}) as site:
        with PushClient(site.url("/connection/websocket"), Id="42", proxy=None, timeout=PATIENCE,
                        channels=["deep:a"]) as inside:
            entered(site, "deep:a")
            yield site, inside


def test_a_handler_calls_while_the_program_calls(in_channels):
    site, inside = in_channels
    told = []

    def call():
        number = len(told)
        inside.publish("deep:a", number)
        inside.send(number)
        inside.subscribe(f"open:{number}")
        inside.unsubscribe(f"open:{number}")
        inside.position("deep:a")
        for ask in (lambda: inside.rpc("add", [1]), lambda: inside.presence("deep:a")):
            with pytest.raises(ConnectionClosed, match="cannot wait for an answer: call"):
                ask()
        told.append(number)
    until = time.monotonic() + 2
    with interrupted(call, 0.005):
        for number in itertools.count():
            assert inside.rpc("add", [number, 1]) == number + 1
            if time.monotonic() > until:
                break
    inside.rpc("add", [1])
    assert [one.data for one in inside.history("deep:a")] == told and len(told) > 5
    assert inside.error is None and len(site.push) == 1


def test_a_handler_closes_while_the_program_calls(in_channels):
    site, inside = in_channels
    took = []

    def close():
        began = time.monotonic()
        inside.close()
        took.append(time.monotonic() - began)
    with pytest.raises(ConnectionClosed), interrupted(close, 0.1):
        while True:
            inside.rpc("add", [1, 2])
    assert max(took) < SOON
    inside.close()
    assert not inside._reconnector._thread.is_alive()


def test_ctrl_c_ends_an_iteration_and_leaves_the_client_usable():
    def ctrl_c():
        raise KeyboardInterrupt
    with Server(Log(echo=True)) as server, client(server) as one:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt), interrupted(ctrl_c, 0.05):
                next(one)
            one.send("main 1 again")
            assert next(one) == "main 1 again"
        assert one.error is None
