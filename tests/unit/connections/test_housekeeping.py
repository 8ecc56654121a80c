"""The job that looks for those who linger: it is due when the first of them is."""
from __future__ import annotations

import pytest

from pushserver import ChannelRule
from pushserver.channels.delivery import Delivery
from pushserver.channels.hub import Hub
from pushserver.channels.memory_broker import MemoryBroker
from pushserver.channels.memory_presence import MemoryPresence
from pushserver.channels.node import Node
from pushserver.channels.presence import Info
from pushserver.connections.housekeeping import Housekeeping
from pushserver.runtime.runtime import Runtime

RULES = (ChannelRule("long:", join_leave=True, linger=60),
         ChannelRule("short:", join_leave=True, linger=1))


class Timer:
    def __init__(self, seconds, action):
        self.seconds = seconds
        self.action = action
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True


class Loop:
    """A loop, and workers, that do at once what they are told, and keep what is for later."""

    def __init__(self):
        self.timers = []

    def call(self, action):
        action()

    def call_later(self, seconds, action):
        self.timers.append(Timer(seconds, action))
        return self.timers[-1]

    def post(self, mailbox, job):
        job()

    @property
    def armed(self):
        return [timer for timer in self.timers if not timer.is_cancelled]


@pytest.fixture
def loop():
    return Loop()


class Departures:
    """A node that has started, with its housekeeping."""

    def __init__(self, loop):
        self.presence = MemoryPresence()
        housekeeping = Housekeeping()
        hub = Hub(max_connections=10, max_per_id=10, duplicates="share")
        self.node = Node(hub, RULES, MemoryBroker(presence=self.presence), Delivery(),
                         housekeeping.expect_departures)
        housekeeping.begin(Runtime(loop, loop), self.node)
        self.sweep, = loop.timers
        del loop.timers[:]

    def vanish(self, client, channel):
        self.presence.join(channel, Info(client, client))
        self.node.left(client, vanished=True)


@pytest.fixture
def departures(loop):
    return Departures(loop)


def test_a_short_linger_does_not_wait_for_a_longer_one(departures, loop):
    departures.vanish("ann", "long:a")
    departures.vanish("bob", "short:a")
    (timer,) = loop.armed
    assert 0.9 < timer.seconds <= 1


def test_a_longer_linger_is_looked_for_after_the_shorter_one(departures, loop):
    departures.vanish("bob", "short:a")
    departures.vanish("ann", "long:a")
    (timer,) = loop.armed
    departures.presence.leave("short:a", "bob")
    timer.cancel()
    timer.action()
    (timer,) = loop.armed
    assert 59 < timer.seconds <= 60


def test_those_who_linger_equally_long_share_one_look(departures, loop):
    for number in range(10):
        departures.vanish(str(number), "short:a")
    assert len(loop.timers) == 1


def test_a_look_that_fails_is_made_up_for_after_a_sweep(departures, loop, monkeypatch):
    departures.vanish("bob", "short:a")
    timer = loop.timers.pop()
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(departures.presence, "due", failing)
        patch.setattr(departures.presence, "next_due", failing)
        timer.action()
    assert loop.timers == []
    departures.sweep.action()
    assert 0 < min(timer.seconds for timer in loop.armed) <= 1


def failing():
    raise ConnectionError("the store is away")
