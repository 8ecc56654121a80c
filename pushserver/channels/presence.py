"""Who is in which channel, and for how long a user that vanished still counts as present."""
from __future__ import annotations

import heapq
import threading
import time
from typing import Any, NamedTuple

from .history import Clock


class Info(NamedTuple):
    """One client as others in a channel see it.

    Attributes:
        client: the connection's name.
        user: its user; empty if unknown.
        connection: what the site tells others about the connection, as JSON data; None: nothing.
        channel: what it tells them in this channel; None: nothing.
    """

    client: str
    user: str
    connection: Any = None
    channel: Any = None


class Stats(NamedTuple):
    """How many clients and users are in a channel.

    Attributes:
        clients: connections.
        users: distinct users; all clients whose user is unknown count as one.
    """

    clients: int
    users: int


class _Gone(NamedTuple):
    """A client that has vanished but counts as present until a time."""

    until: float
    number: int
    channel: str
    client: str


class Presence:
    """Keep track of who is in each channel. Safe from any thread; it calls no other code.

    A client that vanishes stays present for a while: it lingers. If a client of the same user
    joins meanwhile, it takes over: nobody is said to have left or joined.

    Args:
        clock: returns seconds that never go back.
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
        """Add a client to a channel; tell whether to announce it to the others."""
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
        """Replace what others are told about a client, if it is in the channel."""
        with self._lock:
            if info.client in self._channels.get(channel, ()):
                self._channels[channel][info.client] = info

    def leave(self, channel: str, client: str, linger: float = 0.0) -> Info | None:
        """Remove a client from a channel, at once or after a while.

        Args:
            channel: the channel's name.
            client: the connection's name.
            linger: seconds for which it stays present, if its user is known.

        Returns:
            The client, if the others should be told now that it has left. If it lingers, ``due``
            returns it later, unless another client takes over.
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
        """End a client's lingering, if it lingers."""
        if self._lingering.pop((channel, client), None) is None:
            return
        name = channel, self._channels[channel][client].user
        self._of_user[name].remove(client)
        if not self._of_user[name]:
            del self._of_user[name]

    def lingers(self, channel: str, client: str) -> bool:
        """Tell whether a client has vanished but still counts as present."""
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
        """Remove the clients whose time is over and return them, each with its channel."""
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
        """Return the seconds until ``due`` may find a client, or None if none lingers."""
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
        """Return how many clients and users are in a channel."""
        with self._lock:
            members = self._channels.get(channel, {})
            return Stats(len(members), len({info.user for info in members.values()}))

    def channels(self, client: str) -> list[str]:
        """Return the channels that a client is in."""
        with self._lock:
            return list(self._of_client.get(client, ()))
