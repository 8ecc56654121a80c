"""The chore that looks for those who linger: it is due when the first of them is."""
from __future__ import annotations

import pytest

from pushserver import ChannelRule
from pushserver.runtime.runtime import Home
from pushserver.channels.presence import Info
from pushserver.connections.publishing import Publishing
from pushserver.settings import Settings

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


@pytest.fixture
def publishing(loop):
    made = Publishing(Settings(), RULES)
    made._home = Home(made.settings, made._hub, loop, loop, None)
    return made


def vanish(publishing, client, channel):
    publishing._exchange._presence.join(channel, Info(client, client))
    publishing._exchange.left(client, vanished=True)


def test_a_short_linger_does_not_wait_for_a_longer_one(publishing, loop):
    vanish(publishing, "ann", "long:a")
    vanish(publishing, "bob", "short:a")
    (timer,) = loop.armed
    assert 0.9 < timer.seconds <= 1


def test_a_longer_linger_is_looked_for_after_the_shorter_one(publishing, loop):
    vanish(publishing, "bob", "short:a")
    vanish(publishing, "ann", "long:a")
    (timer,) = loop.armed
    publishing._exchange._presence.leave("short:a", "bob")
    timer.cancel()
    timer.action()
    (timer,) = loop.armed
    assert 59 < timer.seconds <= 60


def test_those_who_linger_equally_long_share_one_look(publishing, loop):
    for number in range(10):
        vanish(publishing, str(number), "short:a")
    assert len(loop.timers) == 1
