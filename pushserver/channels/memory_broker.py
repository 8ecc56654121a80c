"""The broker of a site that is one process: histories in memory."""
from __future__ import annotations

import heapq
import math
import secrets
import sys
import threading
import time
import zlib
from collections import OrderedDict
from typing import Callable

from .broker import Receiver
from .control import Control, LocalControl
from .history import History
from .makers import Makers
from .memory_presence import MemoryPresence
from .presence import Presence
from .publication import NOWHERE, Clock, Limits, Page, Position, Publication
from .remembered import Ended, Remembered

KEY_AGE = 300.0
"""Seconds for which an idempotency key is kept."""

MAX_KEYS = 100_000
"""The most idempotency keys kept; the oldest go first."""

KEY_OVERHEAD = 350
"""Bytes counted for a key in addition to its text and its channel's name."""

MAX_MADE = 100_000
"""The most channels made by clients whose histories are kept, unless the site says otherwise."""

CHANNEL_OVERHEAD = 800
"""Bytes counted for a channel's history in addition to its name and its publications."""

REMEMBERED_BYTES = 32 * 1024 * 1024
"""Bytes for the positions of channels with empty histories: so many for those of clients, and so
many for those of the site."""

FREED_SHARE = 50
"""Of the most bytes, one part in this is freed when they are passed."""

HALVES = 2
"""In how many turns all positions are dropped."""

KEEP_UNUSED = 24 * 3600.0
"""Seconds after which, at the latest, half of these are dropped."""

RECHECK = 10.0
"""The fewest seconds between two searches for what is too old in a channel that is in use."""

SWEEP_BATCH = 200
"""Histories that are freed without a pause."""

SWEEP_PAUSE = 0.001
"""Seconds of a pause, so that freeing very many is no busy thread beside the loop's."""

SPARE_DATES = 1000
"""Dates of expiry that may be out of date, beside as many as there are channels."""

EPOCH_SIZE = 4
"""Random bytes in the part that all epochs of one broker share."""


class _Channel:
    """One channel's history with its lock.

    Attributes:
        generation: part of the history's epoch.
        maker: the client that has made it, as ``Makers`` knows it; empty: the site.
        due: when to look for what is too old; the date in the heap that counts.
        gone: its history is empty and it is no longer in the table.
    """

    __slots__ = ("lock", "history", "generation", "maker", "due", "gone")

    def __init__(self, history: History, generation: int, maker: str) -> None:
        self.lock = threading.Lock()
        self.history = history
        self.generation = generation
        self.maker = maker
        self.due = math.inf
        self.gone = False


class MemoryBroker:
    """Keep histories in this process, for as long as it lives; see ``Broker``.

    A lock for each channel is held while a publication is appended and handed to the receiver, so
    that both happen in one order. What has been appended has also been delivered. The lock for the
    table may be taken while a channel's is held, never the other way.

    Only a publication creates a history; reading one that does not exist leaves nothing behind. A
    history that has become empty is freed, and only its position is kept, in bounded memory. If
    that is dropped, the channel gets another epoch: an epoch is made of the channel's name and of
    how often positions have been dropped before the history began.

    Args:
        clock: seconds that never go back.
        presence: tracks who is in the channels; None: in memory.
        control: what carries commands; None: this process is the only node.
        max_made: the most histories of channels made by clients; see ``Makers``.
        max_bytes: of histories and keys; past it, whoever publishes frees the histories that go
            first; 0: any number. Being told to ``evict`` comes too late if many publish at once.
    """

    def __init__(self, clock: Clock = time.monotonic, *, presence: Presence | None = None,
                 control: Control | None = None, max_made: int = MAX_MADE,
                 max_bytes: int = 0) -> None:
        self.presence: Presence = presence or MemoryPresence(clock)
        self.control: Control = control or LocalControl()
        self._receiver: Receiver | None = None
        self._clock = clock
        self._max_made = max_made
        self._max_bytes = max_bytes
        self._lock = threading.Lock()       # for the table of channels and all that follows
        self._fleeting = threading.Lock()   # for all channels without history
        self._channels: dict[str, _Channel] = {}
        self._keys: OrderedDict[tuple[str, str], tuple[float, Position]] = OrderedDict()
        self._key_locks: dict[tuple[str, str], threading.Lock] = {}
        self._epoch = secrets.token_hex(EPOCH_SIZE)
        self._generation = 0
        self._by_site, self._by_clients = Makers(), Makers()
        self._ended = {True: Remembered(REMEMBERED_BYTES), False: Remembered(REMEMBERED_BYTES)}
        self._turn_at = clock() + KEEP_UNUSED
        self._dates: list[tuple[float, str]] = []   # a heap of when to look at which channel
        self._bytes = 0

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
                key: str | None = None, maker: str = "") -> Position:
        """See ``Broker.publish``."""
        publication.time = time.time()
        try:
            if key is None:
                return self._publish(channel, publication, limits, maker)
            return self._publish_once(channel, publication, limits, key, maker)
        finally:
            receiver = self._receiver
            if receiver is not None:
                receiver.wake()
            if self._bytes > self._max_bytes > 0:
                self.evict(self._bytes - self._max_bytes + self._max_bytes // FREED_SHARE)

    def _deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.deliver(channel, publication, epoch)

    def _publish(self, channel: str, publication: Publication, limits: Limits,
                 maker: str) -> Position:
        if not limits.publications:
            known = self._channels.get(channel)  # its other publications may be kept
            with self._fleeting if known is None else known.lock:
                self._deliver(channel, publication, "")
            return NOWHERE
        while True:
            found = self._channels.get(channel) or self._make(channel, limits, maker)
            with found.lock:
                if found.gone:
                    continue  # freed since; the next one is new
                if found.history.limits is not limits:
                    self._limit(channel, found, limits)
                if found.maker and not maker:
                    self._take_over(channel, found)
                position = self._append(found, publication)
                self._deliver(channel, publication, position.epoch)
                return position

    def _append(self, found: _Channel, publication: Publication) -> Position:
        """Append to a history and count its bytes. Requires the channel's lock."""
        before = found.history.size
        position = found.history.append(publication)
        self._count(found, before)
        return position

    def _count(self, found: _Channel, before: int) -> None:
        """Count the bytes that a history has got or lost. Requires the channel's lock."""
        grown = found.history.size - before
        if grown:   # else it is full of publications of one size
            with self._lock:
                self._bytes += grown
                self._makers(found.maker).grow(found.maker, grown)

    def _take_over(self, channel: str, found: _Channel) -> None:
        """Make a client's channel the site's, which has published there. Requires its lock."""
        size = _channel_cost(channel) + found.history.size
        with self._lock:
            self._by_clients.remove(found.maker, channel, size)
            found.maker = ""
            self._by_site.add("", channel, size, found.history.used)

    def _publish_once(self, channel: str, publication: Publication, limits: Limits,
                      key: str, maker: str) -> Position:
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
                position = self._publish(channel, publication, limits, maker)
                with self._lock:
                    self._remember(name, now + KEY_AGE, position)
                return position
            finally:
                with self._lock:
                    self._key_locks.pop(name, None)

    def _remember(self, name: tuple[str, str], until: float, position: Position) -> None:
        if self._keys.pop(name, None) is not None:
            self._bytes -= _key_cost(name)
        self._keys[name] = until, position
        self._bytes += _key_cost(name)
        while len(self._keys) > MAX_KEYS or next(iter(self._keys.values()))[0] <= until - KEY_AGE:
            oldest, _ = self._keys.popitem(last=False)
            self._bytes -= _key_cost(oldest)

    # The table of channels

    def _makers(self, maker: str) -> Makers:
        return self._by_clients if maker else self._by_site

    def _make(self, channel: str, limits: Limits, maker: str) -> _Channel:
        """Return a channel, made if it is not there; if there are too many, another one goes."""
        with self._lock:
            found = self._channels.get(channel)
            if found is not None:
                return found
            history, generation = self._next(channel, limits)
            for ended in self._ended.values():
                ended.take(channel)
            found = self._channels[channel] = _Channel(history, generation, maker)
            size = _channel_cost(channel)
            self._makers(maker).add(maker, channel, size, history.used)
            self._bytes += size
            self._expect(channel, found, self._clock() + limits.age if limits.age else math.inf)
            is_full = len(self._by_clients) > self._max_made
        if is_full:
            self._evict_first(self._by_clients)
        return found

    def _next(self, channel: str, limits: Limits) -> tuple[History, int]:
        """Return the empty history of a channel that has none, and its generation.

        Requires the table's lock.
        """
        ended = self._ended[True].find(channel) or self._ended[False].find(channel) \
            or Ended(self._generation, 0)
        epoch = f"{self._epoch}-{ended.generation}-{zlib.crc32(_encoded(channel)):x}"
        return History(epoch, limits, self._clock, ended.top), ended.generation

    def _limit(self, channel: str, found: _Channel, limits: Limits) -> None:
        """Change a history's limits. Requires its lock."""
        if limits.age != found.history.limits.age:
            due = self._clock() + limits.age if limits.age else math.inf
            with self._lock:
                self._expect(channel, found, due)
        found.history.limits = limits

    def _expect(self, channel: str, found: _Channel, due: float) -> None:
        """Have a channel looked at when something in it is too old. Requires the table's lock."""
        found.due = due
        if due != math.inf:
            heapq.heappush(self._dates, (due, channel))
        if len(self._dates) > 2 * len(self._channels) + SPARE_DATES:
            self._dates = [(one.due, name) for name, one in self._channels.items()
                           if one.due != math.inf]
            heapq.heapify(self._dates)

    def _free(self, channel: str, found: _Channel) -> int:
        """Free a history, but for its position; return the bytes. Requires its lock."""
        history, ended, dropped = found.history, self._ended[bool(found.maker)], {}
        found.gone = True
        freed = _channel_cost(channel) + history.size
        with self._lock:
            del self._channels[channel]
            self._makers(found.maker).remove(found.maker, channel, freed)
            self._bytes -= freed
            freed += ended.bytes
            if history.top:     # its offsets must not be used again under its epoch
                dropped = ended.put(channel, Ended(found.generation, history.top))
            if dropped:
                self._generation += 1
            return freed - ended.bytes

    # Reading

    def _read(self, channel: str, limits: Limits, read: Callable[[History], Page]) -> Page:
        """Read a history; one without publications is empty and is not kept."""
        while True:
            with self._lock:  # so that a history made later begins where this page ends
                found = self._channels.get(channel)
                empty = self._next(channel, limits)[0] if found is None else None
            if found is None:
                assert empty is not None
                return read(empty)
            with found.lock:
                if not found.gone:
                    before = found.history.size
                    page = read(found.history)
                    self._count(found, before)
                    return page

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

    # Freeing

    def remove_history(self, channel: str) -> None:
        """See ``Broker.remove_history``."""
        found = self._channels.get(channel)
        if found is not None:
            with found.lock:
                if not found.gone:
                    self._free(channel, found)

    def sweep(self) -> None:
        """See ``Broker.sweep``; it looks only at channels in which something is too old."""
        now = self._clock()
        while self._sweep_some(now):
            time.sleep(SWEEP_PAUSE)
        self._drop_positions(now)

    def _sweep_some(self, now: float) -> bool:
        """Look at a batch of channels; tell whether there may be more."""
        with self._lock:
            dates = [heapq.heappop(self._dates) for _ in range(SWEEP_BATCH)
                     if self._dates and self._dates[0][0] <= now]
        for due, channel in dates:
            self._sweep_one(channel, due, now)
        return len(dates) == SWEEP_BATCH

    def _sweep_one(self, channel: str, due: float, now: float) -> None:
        found = self._channels.get(channel)
        if found is None:
            return
        with found.lock:
            if found.gone or found.due != due:
                return
            history = found.history
            before = history.size
            history.expire()
            self._count(found, before)
            if not len(history):
                self._free(channel, found)
                return
            with self._lock:
                self._expect(channel, found, max(history.due, now + RECHECK))

    def _drop_positions(self, now: float) -> None:
        """Drop positions that have long been unused."""
        if now >= self._turn_at:
            self._turn_at = now + KEEP_UNUSED
            self._turn()

    def _turn(self) -> int:
        """Drop the older half of all positions; return the bytes."""
        with self._lock:
            before = self._position_bytes
            dropped = [ended.turn() for ended in self._ended.values()]
            if any(dropped):
                self._generation += 1
            return before - self._position_bytes

    @property
    def _position_bytes(self) -> int:
        return sum(ended.bytes for ended in self._ended.values())

    @property
    def held_bytes(self) -> int:
        """See ``Broker.held_bytes``."""
        return self._bytes + self._position_bytes + self.presence.held_bytes

    def evict(self, size: int) -> int:
        """See ``Broker.evict``: of clients first, of whoever takes most; positions come last."""
        freed = 0
        for makers in (self._by_clients, self._by_site):
            while freed < size:
                one = self._evict_first(makers)
                if not one:
                    break
                freed += one
        for _ in range(HALVES):
            freed += self._turn() if freed < size else 0
        return freed

    def _evict_first(self, makers: Makers) -> int:
        """Free the history that goes first; return the bytes, 0 if there is none."""
        while True:
            with self._lock:
                first = makers.first()
                if first is None:
                    return 0
                channel, since = first
                found = self._channels[channel]
            with found.lock:
                if found.gone or self._makers(found.maker) is not makers:
                    continue
                used = found.history.used
                if used == since:
                    return self._free(channel, found)
                with self._lock:
                    self._makers(found.maker).used(found.maker, channel, used)


def _encoded(channel: str) -> bytes:
    return channel.encode("utf-8", "replace")


def _channel_cost(channel: str) -> int:
    return CHANNEL_OVERHEAD + sys.getsizeof(channel)


def _key_cost(name: tuple[str, str]) -> int:
    return KEY_OVERHEAD + sys.getsizeof(name[0]) + sys.getsizeof(name[1])
