"""Who is in which channel, and for how long a user that vanished is still held to be there."""
from __future__ import annotations

import heapq
import threading
import time
from typing import Any, NamedTuple

from .history import Clock


class Info(NamedTuple):
    """One client as others in a channel see it.

    Attributes:
        client: names the connection.
        user: its user, empty if that is not known.
        connection: what the site tells of the connection, for JSON; None: nothing.
        channel: what the site tells of it in this channel; None: nothing.
    """

    client: str
    user: str
    connection: Any = None
    channel: Any = None


class Stats(NamedTuple):
    """How many are in a channel.

    Attributes:
        clients: connections.
        users: different users among them; all whose user is not known count as one.
    """

    clients: int
    users: int


class _Gone(NamedTuple):
    """A client that has vanished and is still held to be there until a time."""

    until: float
    number: int
    channel: str
    client: str


class Presence:
    """Keep who is in a channel. Any thread may call it; it calls nobody.

    A client that vanishes is still there for a while, its linger. If a client of the same user
    comes meanwhile, it takes the place: nobody left and nobody joined.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: dict[str, dict[str, Info]] = {}
        self._lingering: dict[tuple[str, str], _Gone] = {}
        self._of_user: dict[tuple[str, str], list[str]] = {}    # clients that linger, by user
        self._of_client: dict[str, dict[str, None]] = {}
        self._due: list[_Gone] = []
        self._count = 0

    def __repr__(self) -> str:
        return f"<Presence {len(self._channels)} channels, {len(self._lingering)} lingering>"

    def join(self, channel: str, info: Info) -> bool:
        """Put a client into a channel; tell whether the others should hear of it."""
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

    def update(self, channel: str, info: Info) -> None:
        """Replace what is told of a client, if it is there."""
        with self._lock:
            if info.client in self._channels.get(channel, ()):
                self._channels[channel][info.client] = info

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """Take a client out of a channel, at once or after a while.

        Returns:
            the client, if the others should hear now that it has left. After a while ``due``
            returns it, unless somebody has taken its place.
        """
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
        """Let a client linger no more."""
        if self._lingering.pop((channel, client), None) is None:
            return
        name = channel, self._channels[channel][client].user
        self._of_user[name].remove(client)
        if not self._of_user[name]:
            del self._of_user[name]

    def lingers(self, channel: str, client: str) -> bool:
        """Tell whether a client has vanished and is still held to be there."""
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
        """Take out those whose time is over; return them with their channels."""
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
        """Return the seconds until ``due`` may find somebody, or None if nobody lingers."""
        with self._lock:
            while self._due:
                gone = self._due[0]
                if self._lingering.get((gone.channel, gone.client)) == gone:
                    return max(0.0, gone.until - self._clock())
                heapq.heappop(self._due)
        return None

    def of(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client."""
        with self._lock:
            return dict(self._channels.get(channel, ()))

    def stats(self, channel: str) -> Stats:
        """Return how many are in a channel."""
        with self._lock:
            members = self._channels.get(channel, {})
            return Stats(len(members), len({info.user for info in members.values()}))

    def channels(self, client: str) -> list[str]:
        """Return the channels that a client is in."""
        with self._lock:
            return list(self._of_client.get(client, ()))
