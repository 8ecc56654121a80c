"""Who is in which channel, for a site that is one process."""
from __future__ import annotations

import heapq
import threading
import time
from typing import NamedTuple

from .presence import Info, Stats
from .publication import Clock


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
        self._of_user: dict[tuple[str, str], list[str]] = {}    # lingering clients, by user
        self._of_client: dict[str, dict[str, None]] = {}
        self._due: list[_Gone] = []
        self._count = 0

    def __repr__(self) -> str:
        return f"<MemoryPresence {len(self._channels)} channels, {len(self._lingering)} lingering>"

    def start(self) -> None:
        """See ``Presence.start``."""

    def stop(self) -> None:
        """See ``Presence.stop``; clients stay present until they leave."""

    def health(self) -> str:
        """See ``Presence.health``."""
        return ""

    def join(self, channel: str, info: Info) -> bool:
        """See ``Presence.join``."""
        with self._lock:
            members = self._channels.setdefault(channel, {})
            known = info.client in members
            self._stay(channel, info.client)
            members[info.client] = info
            self._of_client.setdefault(info.client, {})[channel] = None
            waiting = self._of_user.get((channel, info.user)) if not known else None
            if not waiting:
                return not known
            self._drop(channel, waiting[0])
            return False

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """See ``Presence.leave``."""
        with self._lock:
            info = self._channels.get(channel, {}).get(client)
            if info is None:
                return None
            if linger <= 0 or not info.user:
                self._drop(channel, client)
                return info
            if (channel, client) not in self._lingering:
                self._linger(channel, info, linger)
            return None

    def _linger(self, channel: str, info: Info, linger: float) -> None:
        self._count += 1
        gone = _Gone(self._clock() + linger, self._count, channel, info.client)
        self._lingering[channel, info.client] = gone
        self._of_user.setdefault((channel, info.user), []).append(info.client)
        heapq.heappush(self._due, gone)

    def _stay(self, channel: str, client: str) -> None:
        """End a client's lingering, if it lingers."""
        if self._lingering.pop((channel, client), None) is None:
            return
        name = channel, self._channels[channel][client].user
        self._of_user[name].remove(client)
        if not self._of_user[name]:
            del self._of_user[name]

    def lingers(self, channel: str, client: str) -> bool:
        """See ``Presence.lingers``."""
        with self._lock:
            return (channel, client) in self._lingering

    def _drop(self, channel: str, client: str) -> None:
        self._stay(channel, client)
        members = self._channels[channel]
        del members[client]
        if not members:
            del self._channels[channel]
        channels = self._of_client[client]
        del channels[channel]
        if not channels:
            del self._of_client[client]

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
