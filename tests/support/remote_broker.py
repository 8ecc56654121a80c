"""A site of several nodes in one process: their brokers share a store, and deliver late.

It simulates brokers on a network, and what can go wrong there; see ``RemoteBroker``.
"""
from __future__ import annotations

import threading
import time
from copy import copy
from functools import partial

from pushserver.channels.memory_broker import MemoryBroker
from pushserver.channels.memory_presence import MemoryPresence
from tests.support.courier import Courier
from tests.support.waiting import PATIENCE


class RemoteSite:
    """What the nodes share. It is the receiver of its store, and delivers to all nodes.

    Args:
        clock: seconds that never go back.

    Attributes:
        mistakes: errors on threads that no test waits for.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self.nodes = []
        self.mistakes = []
        self.presence = MemoryPresence(clock)
        self.owners = {}
        self.lock = threading.Lock()    # for what is due at which node
        self.lose_histories()

    def lose_histories(self):
        """Forget all histories, like a store without a disk when it restarts."""
        self.store = MemoryBroker(self._clock)
        self.store.start(self)

    def node(self):
        """Return the broker of a new node."""
        self.nodes.append(RemoteBroker(self))
        return self.nodes[-1]

    def deliver(self, channel, publication, epoch):
        for node in self.nodes:
            node.arrive(channel, publication, epoch)

    def wake(self):
        """Do nothing: the couriers check by themselves."""


def _asked(name):
    """Return a method that asks ``store``."""
    return lambda self, *args, **options: self.ask(getattr(self.store, name), *args, **options)


class RemoteBroker:
    """The broker of one node; see ``Broker``. No call may be made on the loop's thread.

    Attributes:
        copies: says how often a publication is delivered here: 0 is a loss, 2 a duplicate.
        is_reachable: while false, calls raise and what would arrive is lost.
        is_open: while this is not set, calls wait: the network is slow.
        waiting: calls that are waiting.
    """

    def __init__(self, site):
        self.site = site
        self.presence, self.control = RemotePresence(self), RemoteControl(self)
        self.copies = lambda channel, publication: 1
        self.is_reachable = True
        self.is_open = threading.Event()
        self.is_open.set()
        self.waiting = []
        self.channels = set()
        self._receiver = self._courier = None

    def ask(self, call, *args, **options):
        """Return the store's answer."""
        if threading.current_thread().name == "pushserver-loop":
            self.site.mistakes.append(f"{call} on the loop's thread")
        assert not self.site.mistakes, self.site.mistakes
        self.waiting.append(call)
        assert self.is_open.wait(PATIENCE)
        self.waiting.pop()
        if not self.is_reachable:
            raise ConnectionError("the store cannot be reached")
        return call(*args, **options)

    def arrive(self, channel, publication, epoch):
        courier = self._courier
        if courier is not None and self.is_reachable and channel in self.channels:
            for _ in range(self.copies(channel, publication)):
                courier.give(partial(self._receiver.deliver, channel, copy(publication), epoch))

    def start(self, receiver):
        self._receiver = receiver
        self.channels.clear()
        self._courier = Courier("remote-deliveries", self.site.mistakes.append, receiver.wake)

    def stop(self):
        courier, self._courier = self._courier, None
        if courier is not None:
            courier.stop()

    def kill(self):
        """End like a process that is killed: its clients do not leave first."""
        self.stop(), self.control.stop()
        for (channel, client), owner in self.site.owners.items():
            if owner is self.presence:
                self.site.presence.leave(channel, client)

    held_bytes = 0

    def evict(self, size):
        return 0    # the store's memory is not this process's

    def health(self):
        return "" if self.is_reachable else "the store cannot be reached"

    def subscribe(self, channel):
        self.ask(self.channels.add, channel)
        if self._courier is not None:
            self._courier.flush()   # the store's answer comes after what it had already sent

    def unsubscribe(self, channel):
        self.ask(self.channels.discard, channel)

    publish, history, recover, remove_history, sweep = map(_asked, (
        "publish", "history", "recover", "remove_history", "sweep"))

    @property
    def store(self):
        return self.site.store


class RemotePresence:
    """Who is there, for one node; see ``Presence``."""

    held_bytes = 0

    def __init__(self, broker):
        self.ask, self.health, self._site = broker.ask, broker.health, broker.site
        self.store = broker.site.presence
        self._due = []

    def start(self):
        """Do nothing."""

    def stop(self):
        """Do nothing."""

    leave, lingers, still, of, stats, channels = map(_asked, (
        "leave", "lingers", "still", "of", "stats", "channels"))

    def join(self, channel, info):
        self._site.owners[channel, info.client] = self
        return self.ask(self.store.join, channel, info)

    def due(self):
        with self._site.lock:
            for channel, info in self.ask(self.store.due):
                self._site.owners[channel, info.client]._due.append((channel, info))
            found, self._due = self._due, []
        return found

    def next_due(self):
        return 0.0 if self._due else self.ask(self.store.next_due)


class RemoteControl:
    """Commands of one node; see ``Control``."""

    def __init__(self, broker):
        self._broker = broker
        self._obey = self._courier = None
        self.health = broker.health

    def start(self, obey):
        self._obey = obey
        self._courier = Courier("remote-commands", self._broker.site.mistakes.append)

    def stop(self):
        courier, self._obey, self._courier = self._courier, None, None
        if courier is not None:
            courier.stop()

    def tell(self, command):
        obey = self._obey
        if obey is None:
            return 0
        concerned = obey(command)
        self._broker.ask(self._pass_on, command)
        return concerned

    def _pass_on(self, command):
        for other in self._broker.site.nodes:
            if other is not self._broker and other.is_reachable:
                other.control.arrive(command)

    def arrive(self, command):
        courier = self._courier
        if courier is not None:
            courier.give(partial(self._obey, command))
