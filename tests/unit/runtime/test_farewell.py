"""The last bytes of a connection arrive, whatever its client still sends."""
from __future__ import annotations

import contextlib
import socket
import time

import pytest

from pushserver.runtime import farewell
from pushserver.runtime.farewell import Farewell
from pushserver.runtime.loop import Loop
from pushserver.runtime.runtime import Runtime
from pushserver.runtime.workers import Workers
from tests.support.waiting import PATIENCE, wait_until

LONG = 60


@pytest.fixture
def runtime():
    """A loop that runs."""
    runtime = Runtime(Loop(lambda error: None), Workers(1))
    runtime.start()
    yield runtime
    runtime.loop.stop(PATIENCE)
    runtime.workers.stop(time.monotonic() + PATIENCE)
    for left in tuple(runtime.farewells):
        left.abort()


@contextlib.contextmanager
def connected():
    """Yield the two ends of a TCP connection, the server's first; the client's is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), PATIENCE)
        with client:
            yield listener.accept()[0], client


def test_what_was_written_arrives_though_the_client_sends_on(runtime):
    with connected() as (server, client):
        client.sendall(b"sent too early" * 100)     # a close would discard the answer for this
        server.sendall(b"the last words")
        assert Farewell.begin(runtime, server, LONG)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"and on")
        assert client.recv(100) == b"the last words"
        assert client.recv(100) == b""
        assert len(runtime.farewells) == 1, "it waits for the client"
        client.close()
        wait_until(lambda: not runtime.farewells)


def test_a_client_that_stays_is_cut_at_the_deadline(runtime):
    with connected() as (server, client):
        assert Farewell.begin(runtime, server, 0.05)
        assert client.recv(100) == b""
        wait_until(lambda: not runtime.farewells)


def test_a_client_that_sends_without_end_is_cut(runtime):
    with connected() as (server, client):
        assert Farewell.begin(runtime, server, LONG)
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                client.sendall(b"x" * 65536)
        wait_until(lambda: not runtime.farewells)


def test_past_the_most_the_caller_keeps_the_socket(runtime, monkeypatch):
    monkeypatch.setattr(farewell, "MOST", 1)
    with connected() as (one, _), connected() as (other, client):
        assert Farewell.begin(runtime, one, LONG)
        assert not Farewell.begin(runtime, other, LONG)
        other.sendall(b"still open")
        other.close()
        assert client.recv(100) == b"still open"


def test_after_the_loop_has_stopped_the_socket_is_closed_at_once(runtime):
    runtime.loop.stop(PATIENCE)
    with connected() as (server, client):
        assert Farewell.begin(runtime, server, LONG)
        assert client.recv(100) == b""
        assert not runtime.farewells
