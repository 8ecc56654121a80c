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


class _Gone(NamedTuple):
    """A client that has vanished but counts as present until a time."""

    until: float
    number: int
    channel: str
    client: str


class _Channel:
    """Who is in one channel; removed with the last of them.

    Attributes:
        clients: all, by name.
        users: known users.
        unknown: clients whose user is unknown.
        copy: what ``of`` has returned, until something changes.
    """

    __slots__ = ("clients", "users", "unknown", "copy")

    def __init__(self) -> None:
        self.clients: dict[str, Info] = {}
        self.users = 0
        self.unknown = 0
        self.copy: dict[str, Info] | None = None


class MemoryPresence:
    """Track who is in a channel in this process; see ``Presence``. It calls no other part.

    Args:
        clock: returns seconds that never go back.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
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
            is_new = not same and self._info(channel, info.client) is None
            self._drop(channel, info.client)
            self._entries += 1
            if len(same) == 1:
                other, = same
                if (channel, other) in self._lingering:     # then it is the user's only one
                    self._drop(channel, other)
            self._add(channel, info)
            return is_new

    def _add(self, channel: str, info: Info) -> None:
        found = self._channels.get(channel)
        if found is None:
            found = self._channels[channel] = _Channel()
        found.clients[info.client] = info
        found.copy = None
        self._of_client.setdefault(info.client, {})[channel] = None
        if not info.user:
            found.unknown += 1
            return
        same = self._of_user.setdefault((channel, info.user), {})
        found.users += not same
        same[info.client] = None

    def _info(self, channel: str, client: str) -> Info | None:
        found = self._channels.get(channel)
        return None if found is None else found.clients.get(client)

    def _same(self, channel: str, info: Info) -> Collection[str]:
        """Return the clients of the same user; of an unknown one, the client itself."""
        if info.user:
            return self._of_user.get((channel, info.user), ())
        return [info.client] if self._info(channel, info.client) is not None else ()

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """See ``Presence.leave``."""
        with self._lock:
            info = self._info(channel, client)
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
            return None if client is None else self._info(channel, client)

    def _drop(self, channel: str, client: str) -> None:
        """Forget a client in a channel, if it is there."""
        info = self._info(channel, client)
        if info is None:
            return
        self._entries -= 1
        self._lingering.pop((channel, client), None)
        _discard(self._of_client, client, channel)
        found = self._channels[channel]
        del found.clients[client]
        found.copy = None
        if not info.user:
            found.unknown -= 1
        elif _discard(self._of_user, (channel, info.user), client):
            found.users -= 1
        if not found.clients:
            del self._channels[channel]

    def due(self) -> list[tuple[str, Info]]:
        """See ``Presence.due``."""
        found = []
        with self._lock:
            now = self._clock()
            while self._due and self._due[0].until <= now:
                gone = heapq.heappop(self._due)
                if self._lingering.get((gone.channel, gone.client)) == gone:
                    found.append((gone.channel, self._channels[gone.channel].clients[gone.client]))
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
            found = self._channels.get(channel)
            if found is None:
                return {}
            if found.copy is None:
                found.copy = dict(found.clients)
            return found.copy

    def stats(self, channel: str) -> Stats:
        """See ``Presence.stats``."""
        with self._lock:
            found = self._channels.get(channel)
            return Stats(0, 0) if found is None \
                else Stats(len(found.clients), found.users + (found.unknown > 0))

    def channels(self, client: str) -> list[str]:
        """See ``Presence.channels``."""
        with self._lock:
            return list(self._of_client.get(client, ()))


def _discard(found: dict[K, dict[str, None]], key: K, name: str) -> bool:
    """Remove a name from one of several dictionaries; tell whether that went with its last one."""
    del found[key][name]
    if found[key]:
        return False
    del found[key]
    return True
