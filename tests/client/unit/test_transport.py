from __future__ import annotations

import itertools
import socket
import ssl
import sys
import threading
import time

import pytest

from pushclient.errors import ConnectionClosed
from pushclient.websocket import transport as transport_module
from pushclient.websocket.transport import Transport
from pushclient.websocket.waker import Waker
from tests.support.waiting import wait_until

BIG = b"x" * 4_000_000
SOON = 2.0


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with Waker() as waker, theirs:
        transport = Transport(ours, waker)
        yield transport, theirs
        transport.release()


def read(sock, size):
    got = b""
    while len(got) < size:
        got += sock.recv(1 << 20)
    return got


def test_receive_tells_nothing_yet_from_the_end(pair):
    transport, theirs = pair
    assert transport.receive(100) is None
    theirs.sendall(b"in")
    transport.wait(SOON)
    assert transport.receive(100) == b"in"
    theirs.shutdown(socket.SHUT_RDWR)
    assert transport.receive(100) == b""


def test_wait_ends_by_time_by_waker_and_by_data(pair):
    transport, theirs = pair
    began = time.monotonic()
    transport.wait(0.05)
    assert 0.04 < time.monotonic() - began < SOON
    threading.Timer(0.05, transport._waker.wake).start()
    transport.wait(None)
    theirs.send(b"x")
    transport.wait(None)
    transport.wait(0.01, reading=False)
    assert time.monotonic() - began < SOON


def test_what_does_not_fit_is_written_while_waiting(pair):
    transport, theirs = pair
    transport.write(BIG)
    transport.write(b"end")
    assert transport.queued > 0 and "queued" in repr(transport)
    got = []
    reader = threading.Thread(target=lambda: got.append(read(theirs, len(BIG) + 3)))
    reader.start()
    while transport.queued:
        transport.wait(SOON, reading=False)
    reader.join(SOON)
    assert got == [BIG + b"end"]


def test_finish_waits_for_the_other_side(pair):
    transport, theirs = pair
    goal = transport.write(BIG)
    got = []
    reader = threading.Timer(0.05, lambda: got.append(read(theirs, len(BIG))))
    reader.start()
    transport.finish(goal, SOON)
    assert transport.queued == 0
    reader.join(SOON)
    assert got == [BIG]


def test_side_that_takes_nothing_is_given_up(pair):
    transport, _ = pair
    with pytest.raises(ConnectionClosed, match="took nothing for 0.05 s"):
        transport.finish(transport.write(BIG), 0.05)
    with pytest.raises(ConnectionClosed, match="took nothing"):
        transport.write(b"x")
    assert transport.receive(10) == b""


def test_release_frees_a_writer_that_waits(pair):
    transport, _ = pair
    errors = []

    def write():
        try:
            transport.finish(transport.write(BIG), 10)
        except ConnectionClosed as error:
            errors.append(str(error))
    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: transport._writers)
    transport.release()
    writer.join(SOON)
    assert not writer.is_alive() and "not all was sent: connection lost" in errors[0]
    assert transport.sock.fileno() == -1


def test_write_from_within_a_write_goes_behind_it(pair):
    transport, theirs = pair

    class Reentrant:
        """A socket in whose send a signal handler writes too."""

        def send(self, piece):
            sent = own_socket.send(piece)
            if not self.done:
                self.done = True
                transport.write(b"second")
            return sent
        done = False
    own_socket, transport.sock = transport.sock, Reentrant()
    transport.write(b"first ")
    transport.sock = own_socket
    assert read(theirs, 12) == b"first second"


class Sock(socket.socket):
    """Takes the place of a socket; ``send`` does first what a test says, once for each call."""

    def __init__(self, sock, *before):
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self._before = list(before)

    def send(self, piece):
        if self._before:
            self._before.pop(0)()
        return super().send(piece)


def fails(error):
    def fail():
        raise error()
    return fail


@pytest.mark.parametrize("error", [BlockingIOError, ssl.SSLWantWriteError])
def test_wakes_without_progress_are_not_taken_for_a_timeout(pair, error):
    transport, theirs = pair
    transport.sock = Sock(transport.sock, *[fails(error)] * 50)
    transport.finish(transport.write(b"at last"), SOON)
    assert read(theirs, 7) == b"at last"


def test_tls_that_wants_to_read_before_it_writes_waits_for_that(pair):
    transport, theirs = pair
    transport.sock = Sock(transport.sock, *[fails(ssl.SSLWantReadError)] * 2)
    goal = transport.write(b"at last")
    threading.Timer(0.1, theirs.sendall, [b"x"]).start()
    transport.finish(goal, SOON)
    assert read(theirs, 7) == b"at last" and not transport._write_wants_read
    transport.sock = Sock(transport.sock, fails(ssl.SSLWantReadError))
    transport.write(b"again")
    transport.wait(SOON)  # what was sent makes it readable
    assert read(theirs, 5) == b"again"


def test_server_that_takes_little_at_a_time_is_not_given_up(pair):
    transport, theirs = pair
    goal = transport.write(BIG)
    got = []

    def take():
        while sum(map(len, got)) < len(BIG):
            time.sleep(0.02)
            got.append(theirs.recv(100_000))
    reader = threading.Thread(target=take)
    reader.start()
    began = time.monotonic()
    transport.finish(goal, 0.3)
    assert time.monotonic() - began > 0.3
    reader.join()


def test_writes_from_within_a_write_have_nothing_to_wait_for(pair):
    transport, theirs = pair

    def handler():
        goals.append(transport.write(BIG))
        transport.finish(goals[-1], 0.01)
        goals.append(transport.write(b"third"))
    goals = []
    transport.sock = Sock(transport.sock, handler)
    first = transport.write(b"first")
    assert goals == [0, 0] and transport.queued == len(BIG) + 10 - transport._sent
    reader = threading.Thread(target=lambda: got.append(read(theirs, len(BIG) + 10)))
    got = []
    reader.start()
    transport.finish(first, SOON)
    while transport.queued:
        transport.wait(SOON, reading=False)
    reader.join(SOON)
    assert got == [b"first" + BIG + b"third"]


@pytest.mark.parametrize("end", ["shut_down", "release"])
def test_an_end_from_within_a_write_is_taken(pair, end):
    transport, theirs = pair
    transport.sock = Sock(transport.sock, lambda: getattr(transport, end)(
        *["the handler's"] * (end == "shut_down")))
    transport.write(BIG)
    assert transport.failure and transport.queued == 0
    with pytest.raises(ConnectionClosed, match="nothing was sent"):
        transport.write(b"x")


def test_an_exception_from_within_a_write_ends_the_connection(pair):
    transport, theirs = pair
    transport.sock = Sock(transport.sock, fails(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        transport.write(b"x")
    assert transport.failure == "connection lost" and transport.queued == 0
    assert transport.receive(10) == b"" == theirs.recv(10), "both sides learn of it"


class _Handler(Exception):
    """What a signal handler raises."""


def _raise_at(step, path):
    """Raise at a step of the module at ``path``; each is one after which Python runs handlers."""
    steps = iter(range(step + 1))

    def look(frame, event, _):
        if frame.f_code.co_filename == path and event in ("call", "c_return") \
                and next(steps, None) == step:
            sys.setprofile(None)
            raise _Handler
    return look


def test_a_handler_that_raises_at_any_step_leaves_no_socket_behind():
    for step in itertools.count():
        sock, other = socket.socketpair()
        sock.setblocking(False)
        with other, Waker() as waker:
            transport = Transport(sock, waker)
            goal = transport.write(b"x" * 4_000_000)
            try:
                sys.setprofile(_raise_at(step, transport_module.__file__))
                transport.finish(goal, 0.01)
            except (_Handler, ConnectionClosed) as error:
                raised = type(error)
            finally:
                sys.setprofile(None)
            transport.release()
            assert sock.fileno() == -1, step
        if raised is ConnectionClosed:
            break
    assert step > 20


def test_waker_may_be_used_by_anybody_at_any_time():
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.sleep(SOON)
    began = time.monotonic()
    waker.sleep(0.05)
    assert time.monotonic() - began > 0.04
    waker.close()
    waker.wake()
    waker.close()
