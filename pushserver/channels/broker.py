"""Where publications pass on their way from a site's threads to the hub, and are remembered."""
from __future__ import annotations

import secrets
import threading
import time
import zlib
from collections import OrderedDict
from typing import Callable, Protocol

from .history import NOWHERE, Clock, History, Limits, Page, Position, Publication

Deliver = Callable[[str, Publication, str], None]
"""Queues one publication for the subscribers of a channel: channel, publication, epoch; the epoch
is empty for a channel that remembers nothing."""

KEY_AGE = 300.0
"""Seconds for which an idempotency key is remembered."""

MAX_KEYS = 100_000
"""Idempotency keys that are remembered at most, the newest."""

KEEP_UNUSED = 24 * 3600.0
"""Seconds without a publication after which an empty history is forgotten, with its epoch."""

SWEEP_SIZE = 1000
"""Histories that one call of ``sweep`` looks at."""

NAME_GROUPS = 4096
"""Groups of channels whose epochs change together; few, for they are never forgotten."""

EPOCH_SIZE = 4
"""Random bytes in what the epochs of one broker have in common."""


class Broker(Protocol):
    """Give each publication its place, keep it, and hand it to this node's subscribers.

    What the rest of the package relies on:

    - For each channel that remembers, offsets are 1, 2, 3 ... within an epoch, and ``deliver`` is
      called in that order, once for each, one call at a time, whichever thread or node published.
      A broker that has lost some on the way gives the next one its true offset: whoever merges
      sees the hole.
    - ``deliver`` may come before ``publish`` returns or after, on any thread. It queues and
      returns; it never waits, does no I/O on a client's socket and never calls the application.
    - What one thread publishes to one channel is delivered in that order.
    - ``history`` and ``deliver`` may run in any order to each other: a page can hold what is still
      to be delivered, and can lack what has been. Offsets tell, and ``resume.Joining`` merges.
    - A history that is lost starts again under an epoch that it never had. A position of
      another epoch is never answered with ``recovered``.
    - A channel whose limits have no publications is not remembered: its publications have the
      offset 0 and an empty epoch, and are delivered in one order all the same.

    Every method may be called from any thread.
    """

    def publish(self, channel: str, publication: Publication, limits: Limits,
                key: str | None = None) -> Position:
        """Append one publication to a channel and have it delivered.

        Args:
            channel: its name, checked.
            publication: without an offset; not used again by the caller.
            limits: what the channel may remember.
            key: a second publication with the same key within five minutes is not made; the
                answer is that of the first.
        """

    def history(self, channel: str, limits: Limits, limit: int | None,
                since: Position | None = None, reverse: bool = False) -> Page:
        """Read what a channel remembers; see ``History.page``."""

    def recover(self, channel: str, limits: Limits, since: Position | None,
                limit: int | None = None) -> Page:
        """Return what was published after a position, or why not; see ``History.since``."""

    def remove_history(self, channel: str) -> None:
        """Forget what a channel remembers; offsets and epoch go on."""

    def sweep(self) -> None:
        """Free what is too old; to be called now and then."""


class _Channel:
    """One channel's history with its lock."""

    __slots__ = ("lock", "history", "gone")

    def __init__(self, history: History) -> None:
        self.lock = threading.Lock()
        self.history = history
        self.gone = False


class MemoryBroker:
    """Keep histories in this process, for the time that it lives; see ``Broker``.

    A lock for each channel is held while a publication is appended and handed to ``deliver``, so
    that both have one order. What has been appended has been delivered, too.

    Only a publication makes a history; to read one that is not there leaves nothing behind. Its
    epoch, told already to those who read before, is made of the channel's name and of how many
    histories have been forgotten whose names have much in common with it.

    Args:
        deliver: queues a publication for its subscribers.
        clock: seconds that never go back.
    """

    def __init__(self, deliver: Deliver, clock: Clock = time.monotonic) -> None:
        self._deliver = deliver
        self._clock = clock
        self._lock = threading.Lock()       # of the table of channels and of the keys
        self._fleeting = threading.Lock()   # of all channels that remember nothing
        self._channels: dict[str, _Channel] = {}
        self._keys: OrderedDict[tuple[str, str], tuple[float, Position]] = OrderedDict()
        self._key_locks: dict[tuple[str, str], threading.Lock] = {}
        self._epoch = secrets.token_hex(EPOCH_SIZE)
        self._forgotten: dict[int, int] = {}    # histories, by a part of their names' checksums
        self._sweeping: list[str] = []

    def __repr__(self) -> str:
        return f"<MemoryBroker {len(self._channels)} channels>"

    def publish(self, channel: str, publication: Publication, limits: Limits,
                key: str | None = None) -> Position:
        """See ``Broker.publish``."""
        publication.time = time.time()
        if key is None:
            return self._publish(channel, publication, limits)
        return self._publish_once(channel, publication, limits, key)

    def _publish(self, channel: str, publication: Publication, limits: Limits) -> Position:
        if not limits.publications:
            known = self._channels.get(channel)  # the others of this channel may be remembered
            with self._fleeting if known is None else known.lock:
                self._deliver(channel, publication, "")
            return NOWHERE
        while True:
            found = self._channel(channel, limits)
            with found.lock:
                if found.gone:
                    continue  # swept away since; there is another by now
                history = found.history
                history.limits = limits
                position = history.append(publication)
                self._deliver(channel, publication, position.epoch)
                return position

    def _publish_once(self, channel: str, publication: Publication, limits: Limits,
                      key: str) -> Position:
        """Publish unless this was done under the key; two threads with one key wait in turn."""
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
        """Return what a channel's history will have if it is made now; another channel's differs.

        Needs the lock.
        """
        name = _checksum(channel)
        return f"{self._epoch}-{self._forgotten.get(name % NAME_GROUPS, 0)}-{name:x}"

    def _read(self, channel: str, limits: Limits, read: Callable[[History], Page]) -> Page:
        """Read a history; one that nobody has published to is empty and is not kept."""
        while True:
            with self._lock:  # so that a history which comes later begins where this page ends
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
        """See ``Broker.sweep``; one call looks at a thousand channels."""
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
                    if history.top:  # its offsets must not come again under its epoch
                        group = _checksum(name) % NAME_GROUPS
                        self._forgotten[group] = self._forgotten.get(group, 0) + 1


def _checksum(channel: str) -> int:
    return zlib.crc32(channel.encode("utf-8", "replace"))
