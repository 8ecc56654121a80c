"""Who is connected, by Id and by channel. No I/O happens here."""
from __future__ import annotations

import threading
from typing import Generic, Iterable, Protocol, TypeVar

from .errors import HandshakeRefused


class Member(Protocol):
    """What the hub needs to know of a connection."""

    Id: str
    channels: set[str] | None


M = TypeVar("M", bound=Member)


class Hub(Generic[M]):
    """Keep the connections by Id and by channel, and count those that are about to come.

    Every method may be called from any thread; each takes the one lock for what is more than one
    step, changes or copies state and returns what there is to do. What is returned is a tuple that
    nobody changes; as long as nobody comes or goes it is the same tuple, so that a caller can
    compare by identity.

    Args:
        max_connections: connections in all.
        max_per_id: connections of one Id.
        duplicates: "share", "replace" or "reject"; see ``Settings``.
    """

    def __init__(self, *, max_connections: int, max_per_id: int, duplicates: str) -> None:
        self._max = max_connections
        self._max_per_id = max_per_id
        self._duplicates = duplicates
        self._lock = threading.Lock()
        self._by_id: dict[str, tuple[M, ...]] = {}
        self._members: dict[M, None] = {}
        self._everyone: tuple[M, ...] | None = ()
        self._channels: dict[str, dict[M, None]] = {}
        self._subscribers: dict[str, tuple[M, ...]] = {}
        self._reserved: dict[str, int] = {}
        self._reserved_count = 0

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<Hub {len(self._members)} connections of {len(self._by_id)} Ids>"

    def reserve(self, Id: str) -> None:
        """Keep a place for a connection that is about to come.

        Either ``add`` or ``release`` has to follow.

        Raises:
            HandshakeRefused: 429 for the Id's limit, 503 for the server's.
        """
        with self._lock:
            if len(self._members) + self._reserved_count >= self._max:
                raise HandshakeRefused(503, f"the server has its {self._max} connections: "
                                            "try again later")
            same = len(self._by_id.get(Id, ())) + self._reserved.get(Id, 0)
            if self._duplicates == "reject" and same:
                raise HandshakeRefused(429, "this Id is connected already: close that "
                                            "connection, or use another Id")
            if self._duplicates == "share" and same >= self._max_per_id:
                raise HandshakeRefused(429, f"this Id has its {self._max_per_id} connections: "
                                            "close one, or try again later")
            self._reserved[Id] = self._reserved.get(Id, 0) + 1
            self._reserved_count += 1

    def release(self, Id: str) -> None:
        """Give back a reserved place."""
        with self._lock:
            self._release(Id)

    def _release(self, Id: str) -> None:
        self._reserved_count -= 1
        self._reserved[Id] -= 1
        if not self._reserved[Id]:
            del self._reserved[Id]

    def add(self, member: M, channels: Iterable[str] = ()) -> tuple[M, ...]:
        """Turn a reserved place into a connection; return those that it replaces."""
        with self._lock:
            self._release(member.Id)
            older = self._by_id.get(member.Id, ())
            self._by_id[member.Id] = (*older, member)
            self._members[member] = None
            self._everyone = None
            for channel in channels:
                self._subscribe(member, channel)
            return older if self._duplicates == "replace" else ()

    def remove(self, member: M) -> bool:
        """Forget a connection; tell whether it was known."""
        with self._lock:
            if member not in self._members:
                return False
            del self._members[member]
            self._everyone = None
            left = tuple(other for other in self._by_id[member.Id] if other is not member)
            if left:
                self._by_id[member.Id] = left
            else:
                del self._by_id[member.Id]
            for channel in tuple(member.channels or ()):
                self._unsubscribe(member, channel)
            return True

    def subscribe(self, member: M, channel: str) -> bool:
        """Add a connection to a channel; False if it has left or was in it already."""
        with self._lock:
            return member in self._members and self._subscribe(member, channel)

    def _subscribe(self, member: M, channel: str) -> bool:
        if member.channels is None:
            member.channels = set()
        if channel in member.channels:
            return False
        member.channels.add(channel)
        self._channels.setdefault(channel, {})[member] = None
        self._subscribers.pop(channel, None)
        return True

    def unsubscribe(self, member: M, channel: str) -> bool:
        """Take a connection out of a channel; tell whether it was in it."""
        with self._lock:
            return self._unsubscribe(member, channel)

    def _unsubscribe(self, member: M, channel: str) -> bool:
        if not member.channels or channel not in member.channels:
            return False
        member.channels.discard(channel)
        members = self._channels[channel]
        del members[member]
        if not members:
            del self._channels[channel]
        self._subscribers.pop(channel, None)
        return True

    def everyone(self) -> tuple[M, ...]:
        """Return all connections, the oldest first."""
        with self._lock:
            if self._everyone is None:
                self._everyone = tuple(self._members)
            return self._everyone

    def of_id(self, Id: str) -> tuple[M, ...]:
        """Return the connections of one Id, the oldest first."""
        return self._by_id.get(Id, ())  # one step, which needs no lock

    def of_channel(self, channel: str) -> tuple[M, ...]:
        """Return the connections in one channel."""
        with self._lock:
            found = self._subscribers.get(channel)
            if found is None:
                found = self._subscribers[channel] = tuple(self._channels.get(channel, ()))
                if not found:
                    del self._subscribers[channel]
            return found

    def ids(self) -> list[str]:
        """Return the Ids that are connected."""
        with self._lock:
            return list(self._by_id)
