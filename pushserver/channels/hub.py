"""Who is connected, by Id and by channel. No I/O happens here."""
from __future__ import annotations

import threading
from typing import Any, Callable, Generic, Iterable, NamedTuple, Protocol, TypeVar

from ..errors import HandshakeRefused
from .encoding import Encoding
from .feed import Feed
from .joining import Joining


class Member(Protocol):
    """What the hub and the node need to know about a connection."""

    Id: str
    channels: set[str] | None

    @property
    def encoding(self) -> Encoding:
        """Return what encodes messages for it."""

    def lost(self, channel: str) -> None:
        """Note that it was removed from a channel because publications were lost.

        This only queues and returns. It is called with no lock held.
        """


M = TypeVar("M", bound=Member)

Groups = tuple[tuple[Encoding, tuple[M, ...]], ...]
"""Connections by encoding, so that a message is encoded only once for each encoding."""


def grouped(members: tuple[M, ...]) -> Groups[M]:
    """Return connections by encoding; the same tuple if they all share one."""
    if len(members) == 1:
        return ((members[0].encoding, members),)
    found: dict[Encoding, list[M]] = {}
    for member in members:
        found.setdefault(member.encoding, []).append(member)
    if len(found) == 1:
        return ((members[0].encoding, members),)
    return tuple((encoding, tuple(group)) for encoding, group in found.items())


class Audience(NamedTuple):
    """The recipients of a publication.

    Attributes:
        groups: the connections in the channel, by encoding.
        joining: subscriptions in progress.
        feed: how far delivery has got; None if there are no recipients.
    """

    groups: Groups[Any]
    joining: tuple[Joining, ...]
    feed: Feed | None


NOBODY = Audience((), (), None)


class _Room(Generic[M]):
    """The connections that are in one channel or joining it; removed with the last of them."""

    __slots__ = ("members", "joining", "feed", "audience")

    def __init__(self) -> None:
        self.members: dict[M, None] = {}
        self.joining: dict[M, Joining] = {}
        self.feed: Feed | None = None       # from the first delivery on
        self.audience: Audience | None = None   # until a connection joins or leaves

    def __len__(self) -> int:
        return len(self.members) + len(self.joining)


class _Sharers(Generic[M]):
    """The connections of one Id, the oldest first, once it has had several."""

    __slots__ = ("members", "_all")

    def __init__(self, *members: M) -> None:
        self.members = dict.fromkeys(members)
        self._all: tuple[M, ...] | None = None      # until one joins or leaves

    def __len__(self) -> int:
        return len(self.members)

    def all(self) -> tuple[M, ...]:
        """Return them, as the same tuple as long as they are the same."""
        if self._all is None:
            self._all = tuple(self.members)
        return self._all

    def add(self, member: M) -> None:
        """Add the newest."""
        self.members[member] = None
        self._all = None

    def remove(self, member: M) -> None:
        """Remove one, without a search."""
        del self.members[member]
        self._all = None


class Hub(Generic[M]):
    """Keep the connections by Id and by channel, and count the places reserved for new ones.

    Any thread may call any method. Each takes the one lock for anything that needs more than one
    step, changes or copies state, and returns what remains to be done. The tuples returned never
    change; until a connection joins or leaves, the same tuple is returned, so a caller can compare
    by identity.

    Args:
        max_connections: the most connections in total.
        max_per_id: the most connections of one Id.
        duplicates: "share", "replace" or "reject"; see ``Settings``.

    Attributes:
        has: tells whether a connection is known, neither closing nor closed.
        has_channel: tells whether any connection is in a channel or joining it.
    """

    def __init__(self, *, max_connections: int, max_per_id: int, duplicates: str) -> None:
        self._max = max_connections
        self._max_per_id = max_per_id
        self._duplicates = duplicates
        self._lock = threading.Lock()
        self._by_id: dict[str, tuple[M] | _Sharers[M]] = {}  # most Ids have one connection
        self._members: dict[M, None] = {}
        self._leaving: dict[M, None] = {}
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

    def abandon(self, stand_in: Any) -> tuple[M, ...]:
        """Put something in the lock's place, in a forked process; return the connections.

        A thread that is not in this process may hold the lock, so it is not taken.
        """
        self._lock = self.has = self.has_channel = stand_in
        return *self._members, *self._leaving

    def reserve(self, Id: str) -> None:
        """Reserve a place for a new connection.

        Either ``add`` or ``release`` must follow.

        Raises:
            HandshakeRefused: 429 for the Id's limit, 503 for the server's.
        """
        with self._lock:
            if len(self._members) + self._reserved_count >= self._max:
                raise HandshakeRefused(503, "the server has reached its limit of "
                                            f"{self._max} connections: try again later")
            self._check_room(Id)
            self._reserved[Id] = self._reserved.get(Id, 0) + 1
            self._reserved_count += 1

    def _check_room(self, Id: str) -> None:
        """Refuse a connection of an Id that has reached its limit."""
        same = len(self._by_id.get(Id, ())) + self._reserved.get(Id, 0)
        if self._duplicates == "reject" and same:
            raise HandshakeRefused(429, "this Id is already connected: close that "
                                        "connection, or use another Id")
        if self._duplicates == "share" and same >= self._max_per_id:
            raise HandshakeRefused(429, "this Id has reached its limit of "
                                        f"{self._max_per_id} connections: close one, or try "
                                        "again later")

    def release(self, Id: str) -> None:
        """Release a reserved place."""
        with self._lock:
            self._release(Id)

    def _release(self, Id: str) -> None:
        self._reserved_count -= 1
        self._reserved[Id] -= 1
        if not self._reserved[Id]:
            del self._reserved[Id]

    def add(self, member: M, channels: Iterable[str] = ()) -> tuple[M, ...]:
        """Turn a reserved place into a connection; return the connections that it replaces."""
        with self._lock:
            self._release(member.Id)
            older = self._replaced(member.Id)
            self._name(member)
            self._members[member] = None
            self._everyone = self._everyone_grouped = None
            for channel in channels:
                self._subscribe(member, channel)
            return older

    def _of_id(self, Id: str) -> tuple[M, ...]:
        same = self._by_id.get(Id, ())
        return same.all() if isinstance(same, _Sharers) else same

    def _replaced(self, Id: str) -> tuple[M, ...]:
        """Return the connections that a new one of an Id replaces."""
        return self._of_id(Id) if self._duplicates == "replace" else ()

    def _name(self, member: M) -> None:
        """Let a connection be found by its Id."""
        same = self._by_id.get(member.Id)
        if same is None:
            self._by_id[member.Id] = (member,)
        elif isinstance(same, _Sharers):
            same.add(member)
        else:
            self._by_id[member.Id] = _Sharers(*same, member)

    def _unname(self, member: M) -> None:
        same = self._by_id[member.Id]
        if isinstance(same, _Sharers) and len(same) > 1:
            same.remove(member)
        else:
            del self._by_id[member.Id]

    def remove(self, member: M) -> bool:
        """Take out a connection that begins to leave; tell whether it was there.

        ``forget`` must follow, once nothing that it has sent is left to be handled.
        """
        with self._lock:
            if member not in self._members:
                return False
            del self._members[member]
            self._leaving[member] = None
            self._everyone = self._everyone_grouped = None
            self._unname(member)
            for channel in tuple(member.channels or ()):
                self._unsubscribe(member, channel)
            return True

    def forget(self, member: M) -> None:
        """Complete what ``remove`` began."""
        with self._lock:
            self._leaving.pop(member, None)

    def leaving(self) -> tuple[M, ...]:
        """Return the connections that were taken out and are not yet forgotten."""
        with self._lock:
            return tuple(self._leaving)

    def subscribe(self, member: M, channel: str) -> bool:
        """Add a connection to a channel; False if it has left or was already in it."""
        with self._lock:
            return member in self._members and self._subscribe(member, channel)

    def _subscribe(self, member: M, channel: str) -> bool:
        if not self._enter(member, channel):
            return False
        self._room(channel).members[member] = None
        return True

    def _room(self, channel: str) -> _Room[M]:
        """Return a channel's room, which is about to change. Requires the lock."""
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = _Room()
        room.audience = None
        return room

    @staticmethod
    def _enter(member: M, channel: str) -> bool:
        """Note the channel on the connection; False if it was already noted."""
        if member.channels is None:
            member.channels = set()
        if channel in member.channels:
            return False
        member.channels.add(channel)
        return True

    def join(self, member: M, channel: str, joining: Joining) -> bool:
        """Begin a subscription that live delivery has yet to catch up with.

        Returns:
            False if the connection has left, or is already in the channel or joining it.
        """
        with self._lock:
            if member not in self._members or not self._enter(member, channel):
                return False
            self._room(channel).joining[member] = joining
            return True

    def joining(self, member: M, channel: str) -> Joining | None:
        """Return a connection's subscription in progress; None: it has left, or has arrived."""
        with self._lock:
            room = self._rooms.get(channel)
            return None if room is None else room.joining.get(member)

    def arrive(self, arrived: Iterable[Joining], channel: str) -> None:
        """Complete what ``join`` began: these are now in the channel like all others.

        One that has since been withdrawn is skipped, even if its connection has begun another.
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
        """Undo what ``join`` began, unless it is complete or another has since begun."""
        with self._lock:
            room = self._rooms.get(channel)
            if room is not None and room.joining.get(member) is joining:
                self._unsubscribe(member, channel)

    def unsubscribe(self, member: M, channel: str) -> bool:
        """Remove a connection from a channel; tell whether it was in it."""
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
        """Return the channels whose last connection has left since the previous call."""
        if not self._deserted:
            return ()
        with self._lock:
            found, self._deserted = self._deserted, set()
            return found

    @property
    def channel_count(self) -> int:
        """Return how many channels are in use."""
        return len(self._rooms)

    def is_in(self, member: M, channel: str) -> bool:
        """Tell whether a connection is in a channel or joining it."""
        with self._lock:
            return member in self._members and channel in (member.channels or ())

    def members(self, channel: str) -> tuple[M, ...]:
        """Return the connections that are in a channel or joining it."""
        with self._lock:
            room = self._rooms.get(channel)
            return (*room.members, *room.joining) if room is not None else ()

    def count(self, channel: str) -> int:
        """Return how many connections are in a channel or joining it."""
        room = self._rooms.get(channel)
        return 0 if room is None else len(room)

    def channels(self) -> dict[str, int]:
        """Return each channel in use with its number of connections."""
        with self._lock:
            return {channel: len(room) for channel, room in self._rooms.items()}

    def rename(self, member: M, Id: str) -> tuple[M, ...]:
        """Give a connection that came without an Id one; return the connections it replaces.

        Raises:
            HandshakeRefused: 429: the Id has too many; the connection keeps its old one.
        """
        with self._lock:
            if member not in self._members or member.Id == Id:
                return ()
            self._check_room(Id)
            older = self._replaced(Id)
            self._unname(member)
            member.Id = Id
            self._name(member)
            return older

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
            if self._everyone is not everyone:  # changed since
                return grouped(everyone)
            if self._everyone_grouped is None:
                self._everyone_grouped = grouped(everyone)
            return self._everyone_grouped

    def admit(self, member: M, switch: Callable[[], None]) -> bool:
        """Change a connection's encoding; False if it has left.

        Args:
            switch: queues the first bytes in the new encoding, then changes to it. It is called
                with the lock held, so it must do nothing else.
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
        with self._lock:  # not during ``admit``: its frame may go out before its encoding is seen
            return self._of_id(Id)

    def audience(self, channel: str) -> Audience:
        """Return the recipients of what is published to a channel."""
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
        """Return the connected Ids."""
        with self._lock:
            return list(self._by_id)
