"""Who is connected, by Id and by channel. No I/O happens here."""
from __future__ import annotations

import threading
from typing import Any, Callable, Generic, Iterable, NamedTuple, Protocol, TypeVar

from ..errors import HandshakeRefused
from .encoding import Encoding
from .feed import Feed
from .joining import Joining


class Member(Protocol):
    """What the hub and the node need to know of a connection."""

    Id: str
    channels: set[str] | None

    @property
    def encoding(self) -> Encoding:
        """Return what makes bytes for it."""

    def lost(self, channel: str) -> None:
        """Take note that it was taken out of a channel of which publications are lost.

        It queues and returns; a lock may be held.
        """


M = TypeVar("M", bound=Member)

Groups = tuple[tuple[Encoding, tuple[M, ...]], ...]
"""Connections by their encoding, so that each message is encoded once for each."""


def grouped(members: tuple[M, ...]) -> Groups[M]:
    """Return connections by encoding; the tuple itself where all share one."""
    if len(members) == 1:
        return ((members[0].encoding, members),)
    found: dict[Encoding, list[M]] = {}
    for member in members:
        found.setdefault(member.encoding, []).append(member)
    if len(found) == 1:
        return ((members[0].encoding, members),)
    return tuple((encoding, tuple(group)) for encoding, group in found.items())


class Audience(NamedTuple):
    """Who is to get a publication.

    Attributes:
        groups: those who are in the channel, by encoding.
        joining: subscriptions that are being made.
        feed: how far delivery has come; None where nobody is.
    """

    groups: Groups[Any]
    joining: tuple[Joining, ...]
    feed: Feed | None


NOBODY = Audience((), (), None)


class _Room(Generic[M]):
    """Those who are in one channel or on their way into it; it ends with the last of them."""

    __slots__ = ("members", "joining", "feed", "audience")

    def __init__(self) -> None:
        self.members: dict[M, None] = {}
        self.joining: dict[M, Joining] = {}
        self.feed: Feed | None = None       # from the first delivery on
        self.audience: Audience | None = None   # as long as nobody comes or goes

    def __len__(self) -> int:
        return len(self.members) + len(self.joining)


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

    Attributes:
        has: tells whether a connection is there, neither closing nor closed.
        has_channel: tells whether anybody is in a channel, or on the way into it.
    """

    def __init__(self, *, max_connections: int, max_per_id: int, duplicates: str) -> None:
        self._max = max_connections
        self._max_per_id = max_per_id
        self._duplicates = duplicates
        self._lock = threading.Lock()
        self._by_id: dict[str, tuple[M, ...]] = {}
        self._members: dict[M, None] = {}
        self.has: Callable[[M], bool] = self._members.__contains__
        self._everyone: tuple[M, ...] | None = ()
        self._everyone_grouped: Groups[M] | None = ()
        self._rooms: dict[str, _Room[M]] = {}
        self.has_channel: Callable[[str], bool] = self._rooms.__contains__
        self._deserted: set[str] = set()
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
        self._room(channel).members[member] = None
        return True

    def _room(self, channel: str) -> _Room[M]:
        """Return a channel's room, which is about to change. Needs the lock."""
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = _Room()
        room.audience = None
        return room

    @staticmethod
    def _enter(member: M, channel: str) -> bool:
        """Note the channel at the connection; False if it is noted already."""
        if member.channels is None:
            member.channels = set()
        if channel in member.channels:
            return False
        member.channels.add(channel)
        return True

    def join(self, member: M, channel: str, joining: Joining) -> bool:
        """Begin a subscription that live delivery has yet to catch up with.

        Returns:
            False if the connection has left, or is in the channel or on its way into it.
        """
        with self._lock:
            if member not in self._members or not self._enter(member, channel):
                return False
            self._room(channel).joining[member] = joining
            return True

    def arrive(self, arrived: Iterable[Joining], channel: str) -> None:
        """End what ``join`` began: these are in the channel like all others.

        One that was taken back meanwhile is passed over, also where its connection has begun
        another one.
        """
        with self._lock:
            room = self._rooms.get(channel)
            if room is None:
                return
            for one in arrived:
                if room.joining.get(one.member) is one:
                    del room.joining[one.member]
                    room.members[one.member] = None
                    room.audience = None

    def withdraw(self, member: M, channel: str, joining: Joining) -> None:
        """Take back what ``join`` began, unless that is done, or another one has begun since."""
        with self._lock:
            room = self._rooms.get(channel)
            if room is not None and room.joining.get(member) is joining:
                self._unsubscribe(member, channel)

    def unsubscribe(self, member: M, channel: str) -> bool:
        """Take a connection out of a channel; tell whether it was in it."""
        with self._lock:
            return self._unsubscribe(member, channel)

    def _unsubscribe(self, member: M, channel: str) -> bool:
        if not member.channels or channel not in member.channels:
            return False
        member.channels.discard(channel)
        room = self._room(channel)
        room.members.pop(member, None)
        joining = room.joining.pop(member, None)
        if joining is not None:
            joining.cancel()
        if not room:
            del self._rooms[channel]
            self._deserted.add(channel)
        return True

    def take_deserted(self) -> Iterable[str]:
        """Return the channels that the last connection has left since the last call."""
        if not self._deserted:
            return ()
        with self._lock:
            found, self._deserted = self._deserted, set()
            return found

    def is_in(self, member: M, channel: str) -> bool:
        """Tell whether a connection is in a channel, or on its way into it."""
        with self._lock:
            return member in self._members and channel in (member.channels or ())

    def members(self, channel: str) -> tuple[M, ...]:
        """Return the connections that are in a channel or on their way into it."""
        with self._lock:
            room = self._rooms.get(channel)
            return (*room.members, *room.joining) if room is not None else ()

    def channels(self) -> dict[str, int]:
        """Return the channels that somebody is in, with how many they are."""
        with self._lock:
            return {channel: len(room) for channel, room in self._rooms.items()}

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
        """Return all connections by encoding."""
        everyone = self.everyone()
        with self._lock:
            if self._everyone is not everyone:  # somebody came since
                return grouped(everyone)
            if self._everyone_grouped is None:
                self._everyone_grouped = grouped(everyone)
            return self._everyone_grouped

    def admit(self, member: M, switch: Callable[[], None]) -> bool:
        """Change a connection's encoding; False if it has left.

        Args:
            switch: queues the first bytes in it, then changes it; with the lock held, so it must
                not do more.
        """
        with self._lock:
            if member not in self._members:
                return False
            switch()
            self._everyone = self._everyone_grouped = None
            for channel in member.channels or ():
                self._rooms[channel].audience = None
            return True

    def of_id(self, Id: str) -> tuple[M, ...]:
        """Return the connections of one Id, the oldest first."""
        with self._lock:  # not amid ``admit``: its frame may be out before its protocol is seen
            return self._by_id.get(Id, ())

    def audience(self, channel: str) -> Audience:
        """Return who is to get what is published to a channel."""
        with self._lock:
            room = self._rooms.get(channel)
            if room is None:
                return NOBODY
            if room.audience is None:
                room.feed = room.feed or Feed()
                room.audience = Audience(grouped(tuple(room.members)),
                                         tuple(room.joining.values()), room.feed)
            return room.audience

    def ids(self) -> list[str]:
        """Return the Ids that are connected."""
        with self._lock:
            return list(self._by_id)
