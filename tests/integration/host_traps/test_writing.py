"""What ws4py on CherryPy does wrong when it writes."""
from __future__ import annotations

import contextlib
import threading

import pytest

from tests.support.raw_client import masked_frame
from tests.support.traps import frames, in_background, MESSAGE, messages, received, site_of
from tests.support.waiting import wait_until


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
