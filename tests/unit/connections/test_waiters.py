"""Who waits for a client to read, and what becomes of a client that does not; with a fake clock."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from pushserver import Settings
from pushserver.connections.keepalive import KeepAlive
from pushserver.connections.waiters import Waiters


class FakeLoop:
    """The part of a loop that has timers; ``pass_time`` fires them."""

    def __init__(self):
        self.now = 0.0
        self._timers = []

    def call_later(self, seconds, action):
        timer = SimpleNamespace(when=self.now + seconds, action=action)
        timer.cancel = lambda: self._timers.remove(timer) if timer in self._timers else None
        self._timers.append(timer)
        return timer

    @staticmethod
    def guarded(item, step, *args):
        step(*args)

    @property
    def has_timers(self):
        return bool(self._timers)

    def pass_time(self, seconds):
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.when <= end]:
            timer = min(due, key=lambda one: one.when)
            self._timers.remove(timer)
            self.now = timer.when
            timer.action()
        self.now = end


class FakeLink:
    """A client that reads only when it is told to."""

    def __init__(self, **settings):
        self.loop = FakeLoop()
        self.context = SimpleNamespace(settings=Settings(**settings),
                                       runtime=SimpleNamespace(loop=self.loop))
        self.connection = SimpleNamespace(heartbeat_freq=None)
        self.outbox = SimpleNamespace(size=0)
        self.inbox = SimpleNamespace(is_full=False)
        self.pace = SimpleNamespace(is_paused=False)
        self.encoding = SimpleNamespace(codec=SimpleNamespace(awaits_pings=False), ping=b"ping")
        self.last_read = self.taken = self.sent = 0
        self.ended = []
        self.on_flush = lambda: None

    def progress(self):
        return self.taken, self.sent - self.taken

    def write(self, data):
        self.sent += len(data)

    def flush(self):
        self.on_flush()

    def no_pong(self):
        self.ended.append("no pong")

    def slow(self):
        self.ended.append("slow")


@pytest.fixture
def link():
    return FakeLink(ping_interval=25, pong_timeout=10)


def test_who_waits_is_called_once_there_is_as_little_as_wanted(link):
    waiters, called = Waiters(link), []
    link.outbox.size = 100
    waiters.add(50, lambda: called.append(50))
    waiters.add(0, lambda: called.append(0))
    waiters.add(100, lambda: called.append(100))
    assert called == [100] and repr(waiters) == "<Waiters 2>"
    for size in (60, 50, 20, 0):
        link.outbox.size = size
        waiters.tell()
    assert called == [100, 50, 0] and not waiters and not link.loop.has_timers


def test_who_takes_a_little_in_time_may_be_as_slow_as_it_likes(link):
    waiters = Waiters(link)
    link.outbox.size = 1000
    waiters.add(50, lambda: None)
    for _ in range(100):
        link.loop.pass_time(9)
        link.taken += 1
    assert not link.ended and waiters


def test_who_takes_nothing_is_slow(link):
    waiters = Waiters(link)
    link.outbox.size = 1000
    waiters.add(50, lambda: None)
    link.taken += 1
    link.loop.pass_time(10)
    assert not link.ended
    link.loop.pass_time(9.9)
    assert not link.ended
    link.loop.pass_time(0.1)
    assert link.ended == ["slow"]


def test_what_only_the_systems_buffer_takes_does_not_count(link):
    waiters, called = Waiters(link), []

    def flush():
        link.outbox.size = 0
        waiters.tell()

    link.on_flush = flush
    link.outbox.size = 1000
    waiters.add(50, lambda: called.append(1))
    link.loop.pass_time(10)
    assert called == [1] and link.ended == ["slow"] and not link.loop.has_timers


def test_at_the_end_all_are_called(link):
    waiters, called = Waiters(link), []
    link.outbox.size = 1000
    for number in range(3):
        waiters.add(number, lambda number=number: called.append(number))
    waiters.end()
    waiters.end()
    assert called == [0, 1, 2] and not link.loop.has_timers


def test_a_wait_that_begins_later_has_its_own_time(link):
    waiters = Waiters(link)
    for _ in range(5):
        link.outbox.size = 1000
        waiters.add(50, lambda: None)
        link.loop.pass_time(9)
        link.outbox.size = 0
        waiters.tell()
    assert not link.ended


def test_a_ping_behind_much_else_may_be_answered_late(link):
    link.sent = 5000
    keepalive = KeepAlive(link)
    link.loop.pass_time(25)
    assert link.sent == 5004
    for _ in range(5):
        link.loop.pass_time(9)
        link.taken += 1000
    link.taken = 5004       # it has the ping now
    link.loop.pass_time(4)
    assert not link.ended
    link.last_read = link.loop.now
    link.loop.pass_time(24)
    assert not link.ended
    keepalive.stop()


@pytest.mark.parametrize("taken", [0, 4999, 5004, 9000])
def test_a_ping_is_overdue_once_it_has_come_or_comes_no_closer(link, taken):
    link.sent = 5000
    KeepAlive(link)
    link.loop.pass_time(25)
    link.taken = taken
    link.sent += 9000       # what comes behind the ping does not count
    link.loop.pass_time(20)
    assert link.ended == ["no pong"]
