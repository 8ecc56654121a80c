from __future__ import annotations

import socket
import threading
import time

import pytest

from pushclient.errors import ConnectionClosed
from pushclient.websocket.waker import Waker
from pushclient.websocket.transport import Wire

BIG = b"x" * 4_000_000
SOON = 2.0


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with Waker() as waker, theirs:
        wire = Wire(ours, waker)
        yield wire, theirs
        wire.release()


def read(sock, size):
    got = b""
    while len(got) < size:
        got += sock.recv(1 << 20)
    return got


def test_receive_tells_nothing_yet_from_the_end(pair):
    wire, theirs = pair
    assert wire.receive(100) is None
    theirs.sendall(b"in")
    wire.wait(SOON)
    assert wire.receive(100) == b"in"
    theirs.shutdown(socket.SHUT_RDWR)
    assert wire.receive(100) == b""


def test_wait_ends_by_time_by_waker_and_by_data(pair):
    wire, theirs = pair
    began = time.monotonic()
    wire.wait(0.05)
    assert 0.04 < time.monotonic() - began < SOON
    threading.Timer(0.05, wire._waker.wake).start()
    wire.wait(None)
    theirs.send(b"x")
    wire.wait(None)
    wire.wait(0.01, reading=False)
    assert time.monotonic() - began < SOON


def test_what_does_not_fit_is_written_while_waiting(pair):
    wire, theirs = pair
    wire.write(BIG)
    wire.write(b"end")
    assert wire.queued > 0 and "queued" in repr(wire)
    got = []
    reader = threading.Thread(target=lambda: got.append(read(theirs, len(BIG) + 3)))
    reader.start()
    while wire.queued:
        wire.wait(SOON, reading=False)
    reader.join(SOON)
    assert got == [BIG + b"end"]


def test_finish_waits_for_the_other_side(pair):
    wire, theirs = pair
    goal = wire.write(BIG)
    got = []
    reader = threading.Timer(0.05, lambda: got.append(read(theirs, len(BIG))))
    reader.start()
    wire.finish(goal, SOON)
    assert wire.queued == 0
    reader.join(SOON)
    assert got == [BIG]


def test_side_that_takes_nothing_is_given_up(pair):
    wire, _ = pair
    with pytest.raises(ConnectionClosed, match="took nothing for 0.05 s"):
        wire.finish(wire.write(BIG), 0.05)
    with pytest.raises(ConnectionClosed, match="took nothing"):
        wire.write(b"x")
    assert wire.receive(10) == b""


def test_release_frees_a_writer_that_waits(pair):
    wire, _ = pair
    errors = []

    def write():
        try:
            wire.finish(wire.write(BIG), 10)
        except ConnectionClosed as error:
            errors.append(str(error))
    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + SOON
    while not wire._writers and time.monotonic() < deadline:
        time.sleep(0.01)
    wire.release()
    writer.join(SOON)
    assert not writer.is_alive() and "not all was sent: connection lost" in errors[0]
    assert wire.sock.fileno() == -1


def test_write_from_within_a_write_goes_behind_it(pair):
    wire, theirs = pair

    class Reentrant:
        """A socket in whose send a signal handler writes too."""

        def send(self, piece):
            sent = wire_socket.send(piece)
            if not self.done:
                self.done = True
                wire.write(b"second")
            return sent
        done = False
    wire_socket, wire.sock = wire.sock, Reentrant()
    wire.write(b"first ")
    wire.sock = wire_socket
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
