"""Who is in which channel, for a site that is one process."""
from __future__ import annotations

import heapq
import threading
import time
from typing import Collection, Hashable, NamedTuple, TypeVar

from .presence import Info, Stats
from .publication import Clock

CLIENT_OVERHEAD = 1300
"""Bytes counted for a client in a channel: about what Python needs, with short names."""

MAX_LINGERING = 100_000
"""The most clients that have vanished but count as present; any more leave at once."""

SPARE_DATES = 1000
"""Dates of departures that may be out of date, beside as many as there are clients that linger."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Gone(NamedTuple):
    """A client that has vanished but counts as present until a time."""

    until: float
    number: int
    channel: str
    client: str


class MemoryPresence:
    """Track who is in a channel in this process; see ``Presence``. It calls no other part.

    Args:
        clock: returns seconds that never go back.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: dict[str, dict[str, Info]] = {}
        self._lingering: dict[tuple[str, str], _Gone] = {}
        self._of_user: dict[tuple[str, str], dict[str, None]] = {}  # known users, by channel
        self._of_client: dict[str, dict[str, None]] = {}
        self._due: list[_Gone] = []
        self._count = 0
        self._entries = 0

    def __repr__(self) -> str:
        return f"<MemoryPresence {len(self._channels)} channels, {len(self._lingering)} lingering>"

    def start(self) -> None:
        """See ``Presence.start``."""

    def stop(self) -> None:
        """See ``Presence.stop``; clients stay present until they leave."""

    def health(self) -> str:
        """See ``Presence.health``."""
        return ""

    @property
    def held_bytes(self) -> int:
        """See ``Presence.held_bytes``."""
        return self._entries * CLIENT_OVERHEAD

    def join(self, channel: str, info: Info) -> bool:
        """See ``Presence.join``."""
        with self._lock:
            same = self._same(channel, info)
            is_new = not same and info.client not in self._channels.get(channel, ())
            self._drop(channel, info.client)
            self._entries += 1
            if len(same) == 1:
                other, = same
                if (channel, other) in self._lingering:     # then it is the user's only one
                    self._drop(channel, other)
            self._channels.setdefault(channel, {})[info.client] = info
            self._of_client.setdefault(info.client, {})[channel] = None
            if info.user:
                self._of_user.setdefault((channel, info.user), {})[info.client] = None
            return is_new

    def _same(self, channel: str, info: Info) -> Collection[str]:
        """Return the clients of the same user; of an unknown one, the client itself."""
        if info.user:
            return self._of_user.get((channel, info.user), ())
        return [info.client] if info.client in self._channels.get(channel, ()) else ()

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """See ``Presence.leave``."""
        with self._lock:
            info = self._channels.get(channel, {}).get(client)
            if info is None:
                return None
            is_last = len(self._same(channel, info)) == 1
            if (channel, client) in self._lingering and linger > 0:
                return None
            if is_last and linger > 0 and info.user and len(self._lingering) < MAX_LINGERING:
                self._linger(channel, client, linger)
                return None
            self._drop(channel, client)
            return info if is_last else None

    def _linger(self, channel: str, client: str, linger: float) -> None:
        self._count += 1
        gone = _Gone(self._clock() + linger, self._count, channel, client)
        self._lingering[channel, client] = gone
        heapq.heappush(self._due, gone)
        if len(self._due) > 2 * len(self._lingering) + SPARE_DATES:     # most have come back
            self._due = list(self._lingering.values())
            heapq.heapify(self._due)

    def lingers(self, channel: str, client: str) -> bool:
        """See ``Presence.lingers``."""
        with self._lock:
            return (channel, client) in self._lingering

    def still(self, channel: str, info: Info) -> Info | None:
        """See ``Presence.still``."""
        with self._lock:
            client = next(iter(self._same(channel, info)), None)
            return None if client is None else self._channels[channel][client]

    def _drop(self, channel: str, client: str) -> None:
        """Forget a client in a channel, if it is there."""
        info = self._channels.get(channel, {}).get(client)
        if info is None:
            return
        self._entries -= 1
        self._lingering.pop((channel, client), None)
        _discard(self._channels, channel, client)
        _discard(self._of_client, client, channel)
        if info.user:
            _discard(self._of_user, (channel, info.user), client)

    def due(self) -> list[tuple[str, Info]]:
        """See ``Presence.due``."""
        found = []
        with self._lock:
            now = self._clock()
            while self._due and self._due[0].until <= now:
                gone = heapq.heappop(self._due)
                if self._lingering.get((gone.channel, gone.client)) == gone:
                    found.append((gone.channel, self._channels[gone.channel][gone.client]))
                    self._drop(gone.channel, gone.client)
        return found

    def next_due(self) -> float | None:
        """See ``Presence.next_due``."""
        with self._lock:
            while self._due:
                gone = self._due[0]
                if self._lingering.get((gone.channel, gone.client)) == gone:
                    return max(0.0, gone.until - self._clock())
                heapq.heappop(self._due)
        return None

    def of(self, channel: str) -> dict[str, Info]:
        """See ``Presence.of``."""
        with self._lock:
            return dict(self._channels.get(channel, ()))

    def stats(self, channel: str) -> Stats:
        """See ``Presence.stats``."""
        with self._lock:
            members = self._channels.get(channel, {})
            return Stats(len(members), len({info.user for info in members.values()}))

    def channels(self, client: str) -> list[str]:
        """See ``Presence.channels``."""
        with self._lock:
            return list(self._of_client.get(client, ()))


def _discard(found: dict[K, dict[str, V]], key: K, name: str) -> None:
    """Remove a name from one of several dictionaries, and the dictionary with its last name."""
    del found[key][name]
    if not found[key]:
        del found[key]
