"""The broker of a site that is one process: histories in memory."""
from __future__ import annotations

import secrets
import threading
import time
import zlib
from collections import OrderedDict
from typing import Callable

from .broker import Receiver
from .control import Control, LocalControl
from .history import History
from .memory_presence import MemoryPresence
from .presence import Presence
from .publication import NOWHERE, Clock, Limits, Page, Position, Publication

KEY_AGE = 300.0
"""Seconds for which an idempotency key is kept."""

MAX_KEYS = 100_000
"""The most idempotency keys kept; the oldest go first."""

KEEP_UNUSED = 24 * 3600.0
"""Seconds without a publication after which an empty history is forgotten, with its epoch."""

SWEEP_SIZE = 1000
"""Histories that one call of ``sweep`` checks."""

NAME_GROUPS = 4096
"""Groups of channels whose epochs change together; few, because they are never forgotten."""

EPOCH_SIZE = 4
"""Random bytes in the part that all epochs of one broker share."""


class _Channel:
    """One channel's history with its lock."""

    __slots__ = ("lock", "history", "gone")

    def __init__(self, history: History) -> None:
        self.lock = threading.Lock()
        self.history = history
        self.gone = False


class MemoryBroker:
    """Keep histories in this process, for as long as it lives; see ``Broker``.

    A lock for each channel is held while a publication is appended and handed to the receiver, so
    that both happen in one order. What has been appended has also been delivered.

    Only a publication creates a history; reading one that does not exist leaves nothing behind. Its
    epoch, which earlier readers may already have been told, is made of the channel's name and the
    number of forgotten histories in the same group of names.

    Args:
        clock: seconds that never go back.
        presence: tracks who is in the channels; None: in memory.
        control: what carries commands; None: this process is the only node.
    """

    def __init__(self, clock: Clock = time.monotonic, *, presence: Presence | None = None,
                 control: Control | None = None) -> None:
        self.presence: Presence = presence or MemoryPresence(clock)
        self.control: Control = control or LocalControl()
        self._receiver: Receiver | None = None
        self._clock = clock
        self._lock = threading.Lock()       # for the table of channels and for the keys
        self._fleeting = threading.Lock()   # for all channels without history
        self._channels: dict[str, _Channel] = {}
        self._keys: OrderedDict[tuple[str, str], tuple[float, Position]] = OrderedDict()
        self._key_locks: dict[tuple[str, str], threading.Lock] = {}
        self._epoch = secrets.token_hex(EPOCH_SIZE)
        self._forgotten: dict[int, int] = {}    # counts of histories, by group of names
        self._sweeping: list[str] = []

    def __repr__(self) -> str:
        return f"<MemoryBroker {len(self._channels)} channels>"

    def start(self, receiver: Receiver) -> None:
        """See ``Broker.start``."""
        self._receiver = receiver

    def stop(self) -> None:
        """See ``Broker.stop``; what is published from now on is only kept."""
        self._receiver = None

    def health(self) -> str:
        """See ``Broker.health``."""
        return ""

    def subscribe(self, channel: str) -> None:
        """See ``Broker.subscribe``: every publication is made here, so there is nothing to do."""

    def unsubscribe(self, channel: str) -> None:
        """See ``Broker.unsubscribe``."""

    def publish(self, channel: str, publication: Publication, limits: Limits,
                key: str | None = None) -> Position:
        """See ``Broker.publish``."""
        publication.time = time.time()
        try:
            if key is None:
                return self._publish(channel, publication, limits)
            return self._publish_once(channel, publication, limits, key)
        finally:
            receiver = self._receiver
            if receiver is not None:
                receiver.wake()

    def _deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.deliver(channel, publication, epoch)

    def _publish(self, channel: str, publication: Publication, limits: Limits) -> Position:
        if not limits.publications:
            known = self._channels.get(channel)  # its other publications may be kept
            with self._fleeting if known is None else known.lock:
                self._deliver(channel, publication, "")
            return NOWHERE
        while True:
            found = self._channel(channel, limits)
            with found.lock:
                if found.gone:
                    continue  # swept since; the next one is new
                history = found.history
                history.limits = limits
                position = history.append(publication)
                self._deliver(channel, publication, position.epoch)
                return position

    def _publish_once(self, channel: str, publication: Publication, limits: Limits,
                      key: str) -> Position:
        """Publish unless it was done with this key; threads with the same key take turns."""
        name = channel, key
        with self._lock:
            lock = self._key_locks.setdefault(name, threading.Lock())
        with lock:
            now = self._clock()
            with self._lock:
                known = self._keys.get(name)
            try:
                if known is not None and known[0] > now:
                    return known[1]
                position = self._publish(channel, publication, limits)
                with self._lock:
                    self._remember(name, now + KEY_AGE, position)
                return position
            finally:
                with self._lock:
                    self._key_locks.pop(name, None)

    def _remember(self, name: tuple[str, str], until: float, position: Position) -> None:
        self._keys.pop(name, None)
        self._keys[name] = until, position
        while len(self._keys) > MAX_KEYS or next(iter(self._keys.values()))[0] <= until - KEY_AGE:
            self._keys.popitem(last=False)

    def _channel(self, channel: str, limits: Limits) -> _Channel:
        found = self._channels.get(channel)
        if found is None:
            with self._lock:
                found = self._channels.get(channel)
                if found is None:
                    history = History(self._next_epoch(channel), limits, self._clock)
                    found = self._channels[channel] = _Channel(history)
        return found

    def _next_epoch(self, channel: str) -> str:
        """Return the epoch of a channel's history if it were made now; other channels' differ.

        Requires the lock.
        """
        name = _checksum(channel)
        return f"{self._epoch}-{self._forgotten.get(name % NAME_GROUPS, 0)}-{name:x}"

    def _read(self, channel: str, limits: Limits, read: Callable[[History], Page]) -> Page:
        """Read a history; one without publications is empty and is not kept."""
        while True:
            with self._lock:  # so that a history made later begins where this page ends
                found, epoch = self._channels.get(channel), self._next_epoch(channel)
            if found is None:
                return read(History(epoch, limits, self._clock))
            with found.lock:
                if not found.gone:
                    return read(found.history)

    def history(self, channel: str, limits: Limits, limit: int | None,
                since: Position | None = None, reverse: bool = False) -> Page:
        """See ``Broker.history``."""
        if not limits.publications:
            return Page((), NOWHERE, False)
        return self._read(channel, limits, lambda kept: kept.page(limit, since, reverse))

    def recover(self, channel: str, limits: Limits, since: Position | None,
                limit: int | None = None) -> Page:
        """See ``Broker.recover``."""
        if not limits.publications:
            return Page((), NOWHERE, False)
        return self._read(channel, limits, lambda kept: kept.since(since, limit))

    def remove_history(self, channel: str) -> None:
        """See ``Broker.remove_history``."""
        found = self._channels.get(channel)
        if found is not None:
            with found.lock:
                found.history.remove()

    def sweep(self) -> None:
        """See ``Broker.sweep``; one call checks a thousand channels."""
        with self._lock:
            if not self._sweeping:
                self._sweeping = list(self._channels)
            names, self._sweeping = self._sweeping[:SWEEP_SIZE], self._sweeping[SWEEP_SIZE:]
        for name in names:
            found = self._channels.get(name)
            if found is not None:
                self._sweep_one(name, found)

    def _sweep_one(self, name: str, found: _Channel) -> None:
        with found.lock:
            history = found.history
            history.expire()
            unused = self._clock() - history.used
            if not len(history) and unused > max(KEEP_UNUSED, history.limits.age):
                found.gone = True
                with self._lock:
                    del self._channels[name]
                    if history.top:  # its offsets must not be reused under its epoch
                        group = _checksum(name) % NAME_GROUPS
                        self._forgotten[group] = self._forgotten.get(group, 0) + 1


def _checksum(channel: str) -> int:
    return zlib.crc32(channel.encode("utf-8", "replace"))
