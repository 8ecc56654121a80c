"""Rights that last as long as something that the site looks up."""
from __future__ import annotations

import gc
import threading
import weakref

import pytest

from pushserver import Connection
from pushserver.connections import lease
from tests.support.bare_server import codes, hosting
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(lease, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(lease, "DOUBT", 0.02)


class Looked:
    """Return one answer after the other, then the last one again and again."""

    def __init__(self, *answers):
        self.answers, self.count = list(answers), 0

    def __call__(self):
        self.count += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("answers, looks", [
    ((0.0,), 2), ((100.0, 0.0), 3), ((0.01, 0.0), 2), ((0.0, 100.0, 0.0), 4),
    ((OSError("away"), 100.0, OSError("away"), 0.0), 5)])
def test_rights_end_when_it_is_over_and_what_is_over_too_early_is_looked_at_twice(answers, looks):
    left = Looked(*answers)
    with hosting() as host:
        peer, other = host.join(), host.join("43")
        peer.connection.end_with(left)
        assert codes([peer.next()]) == [3005]
        assert left.count == looks and host.server.ids() == ["43"]
        other.connection.send("still here")
        assert other.next() == "still here"


def test_a_handler_that_blocks_does_not_delay_the_look():
    gate = threading.Event()

    class Blocked(Connection):
        def received_message(self, message):
            assert gate.wait(PATIENCE)

    with hosting() as host:
        peer = host.join(handler_cls=Blocked)
        peer.send(1, b"x")
        peer.connection.end_with(Looked(100.0, 0.0))
        try:
            assert codes([peer.next()]) == [3005]
        finally:
            gate.set()


def test_one_that_has_ended_is_looked_up_no_more_and_freed():
    class Handler(Connection):
        pass

    with hosting() as host:
        peer = host.join(handler_cls=Handler)
        freed, left = weakref.ref(peer.connection), Looked(100.0)
        peer.connection.end_with(lambda connection=peer.connection: connection and left())
        wait_until(lambda: left.count > 2)
        del peer.connection
        gc.collect()
        gc.disable()
        try:
            peer.close()
            peer.rest()
            wait_until(lambda: freed() is None)
        finally:
            gc.enable()


def test_a_lease_says_whose_it_is():
    with hosting() as host:
        peer = host.join()
        peer.connection.end_with(Looked(100.0))
        assert repr(peer.connection._lease) == "<Lease of <Handle of <Link Id='42' open>>>"
