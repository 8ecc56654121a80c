"""The brokers that the suite is run over: a new one adds a class here, and no test changes.

Each class makes a site of its own, whose time stands still until a test lets it pass.
"""
from __future__ import annotations

from pushserver.channels.memory_broker import MemoryBroker
from tests.support.history import FakeClock
from tests.support.remote_broker import RemoteSite


class Memory:
    """A site that is one process.

    Attributes:
        broker: of its node.
    """

    def __init__(self):
        self._clock = FakeClock()
        self.broker = MemoryBroker(self._clock)

    def pass_time(self, seconds):
        """Let time pass for histories, keys and those who linger."""
        self._clock.now += seconds

    def close(self):
        """End what the site has begun; its nodes have been stopped."""


class Remote:
    """A site of several nodes, which share what they know.

    Attributes:
        broker: of its first node.
        death_notice: seconds after which the clients of a dead node are gone.
    """

    death_notice = 0.0

    def __init__(self):
        self._clock = FakeClock()
        self._site = RemoteSite(self._clock)
        self.broker = self._site.node()

    def another(self):
        """Return the broker of one more node."""
        return self._site.node()

    def kill(self, broker):
        """End a node as a process ends that is killed; it is not stopped any more."""
        broker.kill()

    def lose_histories(self):
        """Lose what the site's channels remember, with their epochs."""
        self._site.lose_histories()

    def pass_time(self, seconds):
        self._clock.now += seconds

    def close(self):
        assert self._site.mistakes == []


OF_SEVERAL_NODES = {"remote": Remote}
"""Implementations that join several nodes."""

ALL = {"memory": Memory, **OF_SEVERAL_NODES}
