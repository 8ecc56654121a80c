from __future__ import annotations

import socket
import threading
import time

import pytest

from pushclient.errors import ConnectionClosed
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
