"""What one client of the protocol is sent, and how its site is asked."""
from __future__ import annotations

import logging
from functools import partial
from typing import Any, Callable, Iterable, Mapping, Protocol

from ..channels.presence import Info
from ..channels.publication import Publication
from ..connections.handle import Handle
from ..errors import ConnectionClosed, InvalidData
from ..runtime.runtime import DelayedJob
from ..tokens import Claims
from ..wire.disconnects import Disconnect
from ..wire.payloads import encode_json
from . import errors
from .codec import ProtocolCodec
from .errors import CloseConnection, CommandError
from .values import Result

logger = logging.getLogger(__name__)

REPLIES = 64 * 1024
"""Bytes of replies that wait for the end of the message that asked for them; beyond that they are
sent, so that one message of commands cannot make the server hold any amount of them."""

PUBLISHED_FOR_A_UNIT = 25
ANNOUNCED_FOR_A_UNIT = 3
REPLY_FOR_A_UNIT = 1024
"""Connections that get a client's publication, connections that are told that it has come or gone,
and bytes of a reply, which count as much as a command does; see ``runtime/shares``."""

REPLY_SHARE = 2
"""One reply takes at most ``max_outbox`` divided by this."""


class Client(Protocol):
    """What the site sees of a client, and decides for it; see ``CentrifugeConnection``."""

    Id: str
    anonymous: bool
    environ: Mapping[str, Any] | None
    has_id: bool
    info: Any
    name: str
    url_claims: Claims | None
    user_id: str

    @property
    def client(self) -> str:
        """Return the connection's name."""

    def presence_info(self) -> Info:
        """Return what others in a channel see of it."""

    def keep(self, job: DelayedJob | None) -> None:
        """Keep the job that closes the connection later."""

    def connecting(self, data: Any) -> Any:
        """Handle a client that connects; return data for it."""

    def rpc(self, method: str, data: Any) -> Any:
        """Answer a call."""

    def message(self, data: Any) -> None:
        """Handle what belongs to no channel."""

    def allows_subscribe(self, channel: str) -> bool:
        """Tell whether it may subscribe."""

    def allows_publish(self, channel: str, data: Any) -> bool:
        """Tell whether it may publish."""

    def allows_presence(self, channel: str) -> bool:
        """Tell whether it may ask who is in a channel."""

    def allows_history(self, channel: str) -> bool:
        """Tell whether it may read a channel's history."""


class Session:
    """Queue what one client gets, and ask its site. For a worker thread, except ``put``,
    ``tell`` and ``end``.

    Args:
        client: what the site sees of the client.
        codec: what it speaks.

    Attributes:
        client: the client.
        codec: what it speaks.
        connected: the client's ``connect`` has been answered.
        refreshable: it came with a token that expires.
        room: bytes that one reply may take.
        unwritten: replies wait, or were put without waking the loop; see ``flush``.
    """

    __slots__ = ("client", "codec", "connected", "refreshable", "room", "unwritten", "_handle",
                 "_replies", "_waiting")

    def __init__(self, client: Client, codec: ProtocolCodec) -> None:
        self.client = client
        self.codec = codec
        self.connected = False
        self.refreshable = False
        self.room = 0
        self.unwritten = False
        self._handle: Handle | None = None
        self._replies: list[bytes] = []
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Session of {self.client!r}>"

    def attach(self, handle: Handle) -> None:
        """Set the handle of the client's connection."""
        self._handle = handle
        self.room = handle.context.settings.max_outbox // REPLY_SHARE

    def detach(self) -> None:
        """Release the handle: the connection has ended."""
        self._handle = None

    @property
    def handle(self) -> Handle:
        """Return the handle of the client's connection.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        if self._handle is None:
            raise ConnectionClosed(f"connection of Id {self.client.Id!r} is closed")
        return self._handle

    def check_rights(self) -> None:
        """Raise ``ConnectionClosed`` if the client's rights have ended: it can do nothing more."""
        if self.handle.is_shut:
            raise ConnectionClosed(f"the rights of Id {self.client.Id!r} have ended")

    # Replies

    def reply_error(self, number: int, error: CommandError) -> None:
        """Queue an error like ``reply``; a command without a number gets none."""
        if not number:
            return
        try:
            reply = self.codec.error(number, error)
        except InvalidData:
            logger.error("Id %r: an error's message is not text that UTF-8 can hold: %a",
                         self.client.Id, error)
            reply = self.codec.error(number, errors.internal())
        self._wait(reply)

    def reply(self, number: int, result: Result, room: int | None = None, *,
              now: bool = False) -> None:
        """Let a reply wait for others, unless there are enough for a message.

        Args:
            number: the command's.
            result: the command's.
            room: bytes that the reply may take; None: any number.
            now: put it, with those that wait; ``wake`` must follow. A lock may be held.

        Raises:
            CommandError: 106: it takes more.
            ConnectionClosed: the client will read neither it nor any later reply.
        """
        reply = self.codec.reply(number, result)
        if room is not None and len(reply) > room:
            raise errors.limit_exceeded()
        self._wait(reply, now)

    def _wait(self, reply: bytes, now: bool = False) -> None:
        self._replies.append(reply)
        self._waiting += len(reply)
        self.charge(len(reply) // REPLY_FOR_A_UNIT)
        if now:
            self._put_replies()
            return
        self.unwritten = True
        if REPLIES < self._waiting <= self.room:
            if not self._put_replies():
                raise ConnectionClosed("the client takes no more replies")
            self.wake()     # so that a client that takes no more is noticed

    def flush(self) -> None:
        """Send what waits. Must not be called with a lock held."""
        self._put_replies()
        self.wake()

    def wake(self) -> None:
        """Start writing what was put. Must not be called with a lock held."""
        self.unwritten = bool(self._replies)
        if self._handle is not None:
            self._handle.wake()

    @property
    def is_ahead(self) -> bool:
        """Tell whether the client has much to read before another command should be run."""
        return self._handle is not None and self._handle.link.inbox.is_ahead(self._waiting)

    def hold(self, job: Callable[[], object], room: int = 0) -> None:
        """Do nothing for the client until it has read enough, and then this first.

        Replies that are too long to be sent now wait too; ``flush`` must come first in the job.

        Args:
            job: what to go on with.
            room: bytes that it must be able to send.
        """
        if self._waiting <= self.room:
            self.flush()
        if self._handle is not None:
            inbox = self._handle.link.inbox
            inbox.unsent = self._waiting
            inbox.hold(partial(inbox.run, job), max(room, self._waiting))

    def give_way(self, job: Callable[[], object]) -> None:
        """Let others have the worker; go on with this once the client may cause more.

        Replies that the client has yet to make room for wait too, as in ``hold``.
        """
        if self.is_ahead:   # what waits may find no room
            job = partial(self.hold, job)
        else:
            self.flush()
        if self._handle is not None:
            inbox = self._handle.link.inbox
            inbox.give_way(partial(inbox.run, job))

    @property
    def caused(self) -> int:
        """Return the units that commands have caused so far."""
        return 0 if self._handle is None else self._handle.link.inbox.caused

    def charge(self, units: int = 1) -> None:
        """Count a command, or more, against what the client may cause. A lock may be held."""
        if self._handle is not None:
            self._handle.link.inbox.caused += units

    def charge_reaching(self, channel: str, for_a_unit: int) -> None:
        """Count that all in a channel get something because of a command."""
        if self._handle is not None:
            self.charge(self._handle.context.hub.count(channel) // for_a_unit)

    def fitting(self, publications: Iterable[Publication], room: int) -> list[bytes]:
        """Return as many of the first publications as fit, as results hold them."""
        found: list[bytes] = []
        for publication in publications:
            encoded, = self.codec.encoded([publication])
            room -= len(encoded)
            if room < 0:
                break
            found.append(encoded)
        return found

    def _put_replies(self) -> bool:
        """Queue the waiting replies as one message; False if the client takes none."""
        replies, self._replies, self._waiting = self._replies, [], 0
        if self._handle is not None:
            self._handle.link.inbox.unsent = 0
        return not replies or self.put(self.codec.join(replies))

    def put(self, *contents: bytes) -> bool:
        """Queue messages; ``wake`` must follow.

        Returns:
            False if the client no longer takes any.
        """
        handle = self._handle
        return handle is not None and all([handle.put(self.codec.is_binary, one)
                                           for one in contents])

    def tell(self, content: bytes) -> None:
        """Send one message at once. Any thread may call it, with no lock held."""
        handle = self._handle
        if handle is not None and handle.put(self.codec.is_binary, content):
            handle.wake()

    def end(self, disconnect: Disconnect) -> None:
        """End the client's rights: close the connection, and run no further command."""
        if self._handle is not None:
            self._handle.end(disconnect)

    # What the site says

    def call(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call the site; an unexpected exception becomes error 100.

        Raises:
            ConnectionClosed: the client's rights have ended meanwhile.
        """
        try:
            found = hook(*args)
        except (CommandError, CloseConnection, ConnectionClosed):
            raise
        except Exception:
            logger.exception("Id %r: %s failed", self.client.Id, _name(hook))
            raise errors.internal() from None
        self.check_rights()
        return found

    def check(self, allowed: Callable[..., bool], *args: Any) -> None:
        """Ask the site whether it allows something.

        Raises:
            CommandError: 103: it does not.
        """
        if not self.call(allowed, *args):
            raise errors.permission_denied()

    def ask(self, hook: Callable[..., Any], *args: Any) -> bytes | None:
        """Return the site's answer, as JSON; None if it has none.

        Raises:
            CommandError: the site's; or 100: JSON cannot hold it, 106: it does not fit a reply.
        """
        answer = self.call(hook, *args)
        if answer is None:
            return None
        try:
            found = encode_json(answer)
        except InvalidData:
            logger.error("Id %r: %s returned what JSON cannot hold", self.client.Id, _name(hook))
            raise errors.internal() from None
        if len(found) > self.room:
            logger.error("Id %r: %s returned %d bytes: return at most %d, or raise max_outbox",
                         self.client.Id, _name(hook), len(found), self.room)
            raise errors.limit_exceeded()
        return found


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__name__", "a hook")
