"""A node that writes down what its broker does, and sees that it does it as it must."""
from __future__ import annotations

import itertools
import threading
from typing import Any, NamedTuple

from pushserver.channels.publication import Limits, Publication
from tests.support.waiting import wait_until

KEEP = Limits(100, 1 << 20, 60.0)
"""Of a channel that remembers enough for most tests."""

NOTHING = Limits(0, 1 << 20, 60.0)
"""Of a channel that remembers nothing."""

_MARKERS = itertools.count()


class Delivered(NamedTuple):
    """One call of ``deliver``."""

    channel: str
    offset: int
    data: Any
    epoch: str


class RecordingNode:
    """The receiver of a broker; ``subscribe`` has been called for the channels of most tests.

    Attributes:
        delivered: what was delivered, in order.
        commands: what was to be obeyed, each with its thread.
        on_deliver, on_wake, on_obey: called in each of these.
        obeyed: how many of them are done.
        concerned: how many connections ``obey`` says there were.
    """

    CHANNELS = ("a", "b", "c")

    def __init__(self, broker):
        self.broker, self.presence, self.control = broker, broker.presence, broker.control
        self.delivered = []
        self.commands = []
        self.on_deliver = self.on_wake = lambda: None
        self.on_obey = lambda: None
        self.concerned = self.obeyed = 0
        self._woken_for = 0
        self._overlaps = []
        self._delivering = {}
        self.start()

    def start(self):
        """Start in the order in which the server does."""
        self.control.start(self.obey)
        self.presence.start()
        self.broker.start(self)
        for channel in self.CHANNELS:
            self.broker.subscribe(channel)

    def stop(self):
        self.broker.stop()
        self.presence.stop()
        self.control.stop()

    # What the broker calls

    def deliver(self, channel, publication, epoch):
        lock = self._delivering.setdefault(channel, threading.Lock())
        if not lock.acquire(blocking=False):
            self._overlaps.append(channel)
            return
        self.on_deliver()
        self.delivered.append(Delivered(channel, publication.offset, publication.data, epoch))
        lock.release()

    def wake(self):
        self._woken_for = len(self.delivered)
        self.on_wake()

    def obey(self, command):
        self.commands.append((command, threading.current_thread()))
        self.on_obey()
        self.obeyed += 1
        return self.concerned

    # What the tests do

    def publish(self, channel="c", data="x", limits=KEEP, **options):
        return self.broker.publish(channel, Publication.of(data), limits, **options)

    def received(self, count):
        """Wait until so much is delivered and the node was woken for it; return it."""
        wait_until(lambda: self._woken_for >= count, what=f"the delivery of {count}")
        assert self._overlaps == [] and len(self.delivered) == count, self.delivered
        return self.delivered

    def settled(self, channel="c"):
        """Return what was delivered up to now: up to a last publication, which is left out."""
        marker = f"marker {next(_MARKERS)}"
        self.publish(channel, marker, NOTHING)
        wait_until(lambda: any(one.data == marker for one in self.delivered[:self._woken_for]))
        return [one for one in self.delivered if not str(one.data).startswith("marker")]


def in_threads(*works):
    """Run functions at once, each on a thread of its own; return what they return, in order."""
    results, together = [None] * len(works), threading.Barrier(len(works))

    def run(index, work):
        together.wait()
        results[index] = work()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
