"""What is received, on its way to the handler: counted, in order, and let go at the end."""
from __future__ import annotations

import gc
import weakref

from pushserver import Connection
from pushserver.wire.frames import OPCODE_TEXT
from tests.support.bare_server import hosting
from tests.support.handlers import blocked
from tests.support.waiting import wait_until


def test_an_inbox_says_what_waits_in_it(gate):
    with hosting(max_inbox=1000) as host:
        peer = host.join(handler_cls=blocked(gate))
        link, = host.server._hub.everyone()
        assert repr(link.inbox) == "<Inbox 0 bytes>"
        peer.send(OPCODE_TEXT, b"x" * 100)
        wait_until(lambda: link.inbox.backlog)
        assert repr(link.inbox) == "<Inbox 356 bytes>"
        peer.send(OPCODE_TEXT, b"x" * 1000)
        wait_until(lambda: link.inbox.is_full)
        assert repr(link.inbox) == "<Inbox 1612 bytes, full>"
        gate.set()
        wait_until(lambda: repr(link.inbox) == "<Inbox 0 bytes>")


def test_a_connection_that_has_ended_is_freed_without_a_search_for_garbage():
    class Handler(Connection):
        pass

    with hosting() as host:
        peer = host.join(handler_cls=Handler)
        freed = weakref.ref(peer.connection)
        del peer.connection
        gc.collect()
        gc.disable()
        try:
            peer.close()
            peer.rest()
            wait_until(lambda: freed() is None)
        finally:
            gc.enable()


def test_what_is_to_be_done_later_is_not_done_for_one_that_has_ended(gate):
    done = []
    with hosting() as host:
        peer = host.join(handler_cls=blocked(gate))
        link, = host.server._hub.everyone()
        peer.send(OPCODE_TEXT, b"hold the worker")
        wait_until(lambda: link.inbox.active)
        peer.connection.handle.later(0, lambda: done.append("late"))
        wait_until(lambda: link.inbox.jobs)
        peer.sock.close()
        wait_until(lambda: not host.server._lifecycle.runtime.links)
        gate.set()
        wait_until(lambda: not link.inbox.active)
    assert done == []
