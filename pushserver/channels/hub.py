"""Who is connected, by Id and by channel. No I/O happens here."""
from __future__ import annotations

import threading
from typing import Any, Callable, Generic, Iterable, NamedTuple, Protocol, TypeVar

from ..errors import HandshakeRefused
from .joining import Joining


class Member(Protocol):
    """What the hub needs to know of a connection."""

    Id: str
    channels: set[str] | None
    protocol: Any


M = TypeVar("M", bound=Member)

Groups = tuple[tuple[Any, tuple[M, ...]], ...]
"""Connections by the protocol that they speak, so that each message is encoded once for each."""


def grouped(members: tuple[M, ...]) -> Groups[M]:
    """Return connections by protocol; the tuple itself where all speak the same."""
    found: dict[Any, list[M]] = {}
    for member in members:
        found.setdefault(member.protocol, []).append(member)
    if len(found) == 1:
        return ((members[0].protocol, members),)
    return tuple((protocol, tuple(group)) for protocol, group in found.items())


class Audience(NamedTuple):
    """Who is to get a publication.

    Attributes:
        groups: those who are in the channel, by protocol.
        joining: subscriptions that are being made.
    """

    groups: Groups[Any]
    joining: tuple[Joining, ...]


_NOBODY = Audience((), ())


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
        self._everyone_grouped: Groups[M] | None = ()
        self._channels: dict[str, dict[M, None]] = {}
        self._joining: dict[str, dict[M, Joining]] = {}
        self._audiences: dict[str, Audience] = {}
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
            self._check_room(Id)
            self._reserved[Id] = self._reserved.get(Id, 0) + 1
            self._reserved_count += 1

    def _check_room(self, Id: str) -> None:
        """Refuse one connection more of an Id than it may have."""
        same = len(self._by_id.get(Id, ())) + self._reserved.get(Id, 0)
        if self._duplicates == "reject" and same:
            raise HandshakeRefused(429, "this Id is connected already: close that "
                                        "connection, or use another Id")
        if self._duplicates == "share" and same >= self._max_per_id:
            raise HandshakeRefused(429, f"this Id has its {self._max_per_id} connections: "
                                        "close one, or try again later")

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
            self._everyone = self._everyone_grouped = None
            for channel in channels:
                self._subscribe(member, channel)
            return older if self._duplicates == "replace" else ()

    def remove(self, member: M) -> bool:
        """Forget a connection; tell whether it was known."""
        with self._lock:
            if member not in self._members:
                return False
            del self._members[member]
            self._everyone = self._everyone_grouped = None
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
        if not self._enter(member, channel):
            return False
        self._channels.setdefault(channel, {})[member] = None
        self._changed(channel)
        return True

    @staticmethod
    def _enter(member: M, channel: str) -> bool:
        """Note the channel at the connection; False if it is noted already."""
        if member.channels is None:
            member.channels = set()
        if channel in member.channels:
            return False
        member.channels.add(channel)
        return True

    def _changed(self, channel: str) -> None:
        self._audiences.pop(channel, None)

    def join(self, member: M, channel: str, joining: Joining) -> bool:
        """Begin a subscription that live delivery has yet to catch up with.

        Returns:
            False if the connection has left, or is in the channel or on its way into it.
        """
        with self._lock:
            if member not in self._members or not self._enter(member, channel):
                return False
            self._joining.setdefault(channel, {})[member] = joining
            self._changed(channel)
            return True

    def arrive(self, arrived: Iterable[Joining], channel: str) -> None:
        """End what ``join`` began: these are in the channel like all others.

        One that was taken back meanwhile is passed over, also where its connection has begun
        another one.
        """
        with self._lock:
            joining = self._joining.get(channel, {})
            for one in arrived:
                if joining.get(one.member) is one:
                    del joining[one.member]
                    self._channels.setdefault(channel, {})[one.member] = None
            if not joining:
                self._joining.pop(channel, None)
            self._changed(channel)

    def withdraw(self, member: M, channel: str, joining: Joining) -> None:
        """Take back what ``join`` began, unless that is done, or another one has begun since."""
        with self._lock:
            if self._joining.get(channel, {}).get(member) is joining:
                self._unsubscribe(member, channel)

    def unsubscribe(self, member: M, channel: str) -> bool:
        """Take a connection out of a channel; tell whether it was in it."""
        with self._lock:
            return self._unsubscribe(member, channel)

    def _unsubscribe(self, member: M, channel: str) -> bool:
        if not member.channels or channel not in member.channels:
            return False
        member.channels.discard(channel)
        tables: tuple[dict[str, dict[M, Any]], ...] = (self._channels, self._joining)
        for table in tables:
            members = table.get(channel)
            if members is None or member not in members:
                continue
            joining = members.pop(member)
            if joining is not None:
                joining.cancel()
            if not members:
                del table[channel]
        self._changed(channel)
        return True

    def is_in(self, member: M, channel: str) -> bool:
        """Tell whether a connection is in a channel, or on its way into it."""
        with self._lock:
            return member in self._members and channel in (member.channels or ())

    def members(self, channel: str) -> tuple[M, ...]:
        """Return the connections that are in a channel or on their way into it."""
        with self._lock:
            return (*self._channels.get(channel, ()), *self._joining.get(channel, ()))

    def channels(self) -> dict[str, int]:
        """Return the channels that somebody is in, with how many they are."""
        with self._lock:
            found = {channel: len(members) for channel, members in self._channels.items()}
            for channel, joining in self._joining.items():
                found[channel] = found.get(channel, 0) + len(joining)
            return found

    def rename(self, member: M, Id: str) -> tuple[M, ...]:
        """Give a connection that came without one its Id; return those that it replaces.

        Raises:
            HandshakeRefused: 429: the Id has too many; the connection keeps its name.
        """
        with self._lock:
            if member not in self._members or member.Id == Id:
                return ()
            older = self._by_id.get(Id, ())
            self._check_room(Id)
            left = tuple(other for other in self._by_id[member.Id] if other is not member)
            if left:
                self._by_id[member.Id] = left
            else:
                del self._by_id[member.Id]
            member.Id = Id
            self._by_id[Id] = (*older, member)
            return older if self._duplicates == "replace" else ()

    def everyone(self) -> tuple[M, ...]:
        """Return all connections, the oldest first."""
        with self._lock:
            if self._everyone is None:
                self._everyone = tuple(self._members)
            return self._everyone

    def everyone_grouped(self) -> Groups[M]:
        """Return all connections by protocol."""
        everyone = self.everyone()
        with self._lock:
            if self._everyone is not everyone:  # somebody came since
                return grouped(everyone)
            if self._everyone_grouped is None:
                self._everyone_grouped = grouped(everyone)
            return self._everyone_grouped

    def admit(self, member: M, protocol: Any, queue: Callable[[], None]) -> bool:
        """Change what a connection speaks; False if it has left.

        Args:
            queue: queues its first frame, before anybody can see that it speaks so; with the lock
                held, so it must not do more.
        """
        with self._lock:
            if member not in self._members:
                return False
            queue()
            member.protocol = protocol
            self._everyone = self._everyone_grouped = None
            for channel in member.channels or ():
                self._changed(channel)
            return True

    def of_id(self, Id: str) -> tuple[M, ...]:
        """Return the connections of one Id, the oldest first."""
        with self._lock:  # not amid ``admit``: its frame may be out before its protocol is seen
            return self._by_id.get(Id, ())

    def audience(self, channel: str) -> Audience:
        """Return who is to get what is published to a channel."""
        with self._lock:
            found = self._audiences.get(channel)
            if found is not None:
                return found
            members = tuple(self._channels.get(channel, ()))
            joining = tuple(self._joining.get(channel, {}).values())
            if not members and not joining:
                return _NOBODY
            found = self._audiences[channel] = Audience(grouped(members), joining)
            return found

    def ids(self) -> list[str]:
        """Return the Ids that are connected."""
        with self._lock:
            return list(self._by_id)
