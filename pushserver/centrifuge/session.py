"""What one client of the protocol is answered and sent, and what the site says to that."""
from __future__ import annotations

import logging
from typing import Any, Callable, Protocol

from ..channels.presence import Info
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
"""Bytes of replies that wait for the end of the message that asked for them; past it they are sent,
so that one message of commands cannot have the server hold any amount of them."""

REPLY_SHARE = 2
"""One reply takes at most this part of an outbox."""


class Client(Protocol):
    """What the site sees of a client, and decides for it; see ``CentrifugeConnection``."""

    Id: str
    anonymous: bool
    has_id: bool
    info: Any
    name: str
    url_claims: Claims | None
    user_id: str

    @property
    def client(self) -> str:
        """Return what names the connection."""

    def presence_info(self) -> Info:
        """Return what others in a channel see of it."""

    def keep(self, job: DelayedJob | None) -> None:
        """Keep what ends the connection later."""

    def connecting(self, data: Any) -> Any:
        """Return what the client is told when it connects."""

    def rpc(self, method: str, data: Any) -> Any:
        """Answer a call."""

    def message(self, data: Any) -> None:
        """Take what belongs to no channel."""

    def allows_subscribe(self, channel: str) -> bool:
        """Tell whether it may subscribe."""

    def allows_publish(self, channel: str, data: Any) -> bool:
        """Tell whether it may publish."""

    def allows_presence(self, channel: str) -> bool:
        """Tell whether it may ask who is there."""

    def allows_history(self, channel: str) -> bool:
        """Tell whether it may read what is remembered."""


class Session:
    """Queue what one client gets, and ask its site. For a worker thread, but for ``put``.

    Args:
        client: what the site sees of the client.
        codec: what it speaks.

    Attributes:
        client: the client.
        codec: what it speaks.
        connected: the client has sent ``connect``, and that was answered.
        ended: it is being disconnected, and nothing that still comes is run.
        refreshable: it came with a token that expires.
        room: bytes that one reply may take.
    """

    __slots__ = ("client", "codec", "connected", "ended", "refreshable", "room", "_handle",
                 "_replies", "_waiting")

    def __init__(self, client: Client, codec: ProtocolCodec) -> None:
        self.client = client
        self.codec = codec
        self.connected = False
        self.ended = False
        self.refreshable = False
        self.room = 0
        self._handle: Handle | None = None
        self._replies: list[bytes] = []
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Session of {self.client!r}>"

    def attach(self, handle: Handle) -> None:
        """Take what reaches the client's socket."""
        self._handle = handle
        self.room = handle.context.settings.max_outbox // REPLY_SHARE

    def detach(self) -> None:
        """Let go of it: the connection has ended."""
        self._handle = None

    @property
    def handle(self) -> Handle:
        """Return what reaches the client's socket.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        if self._handle is None:
            raise ConnectionClosed(f"connection of Id {self.client.Id!r} is closed")
        return self._handle

    # Replies

    def reply_error(self, number: int, error: CommandError) -> None:
        """Have an error wait as ``reply`` does; a command without a number gets none."""
        if not number:
            return
        try:
            reply = self.codec.error(number, error)
        except InvalidData:
            logger.error("Id %r: an error's message is not text that UTF-8 can hold: %a",
                         self.client.Id, error)
            reply = self.codec.error(number, errors.internal())
        self._wait(reply)

    def reply(self, number: int, result: Result, room: int | None = None) -> None:
        """Have a reply wait for others, unless there are enough for a message.

        Args:
            number: the command's.
            result: what it came to.
            room: bytes that the reply may take; None: any number.

        Raises:
            CommandError: 106: it takes more.
            ConnectionClosed: nobody will read it, nor the replies to what follows.
        """
        reply = self.codec.reply(number, result)
        if room is not None and len(reply) > room:
            raise errors.limit_exceeded()
        self._wait(reply)

    def _wait(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._waiting += len(reply)
        if self._waiting > REPLIES and not self.put_replies():
            raise ConnectionClosed("takes no more replies")

    def flush(self) -> None:
        """Send what waits. Not to be called with a lock held."""
        self.put_replies()
        self.wake()

    def wake(self) -> None:
        """Have what was put written. Not to be called with a lock held."""
        if self._handle is not None:
            self._handle.wake()

    def put_replies(self) -> bool:
        """Queue the replies that wait, as one message if they fit one; False: nobody takes them."""
        replies, self._replies, self._waiting = self._replies, [], 0
        if len(replies) > 1:
            together = self.codec.join(replies)
            if len(together) <= self.room * REPLY_SHARE:
                replies = [together]
        return all([self.put(one) for one in replies])

    def put(self, *contents: bytes) -> bool:
        """Queue messages; ``wake`` has to follow.

        Returns:
            False if the client no longer takes any.
        """
        handle = self._handle
        return handle is not None and all([handle.put(self.codec.is_binary, one)
                                           for one in contents])

    def end(self, disconnect: Disconnect) -> None:
        """Close the connection, and run nothing that still comes."""
        self.ended = True
        if self._handle is not None:
            self._handle.close(disconnect)

    # What the site says

    def call(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call the site; what it raises by mistake is error 100."""
        try:
            return hook(*args)
        except (CommandError, CloseConnection, ConnectionClosed):
            raise
        except Exception:
            logger.exception("Id %r: %s failed", self.client.Id, _name(hook))
            raise errors.internal() from None

    def check(self, allowed: Callable[..., bool], *args: Any) -> None:
        """Have the site allow something.

        Raises:
            CommandError: 103: it does not.
        """
        if not self.call(allowed, *args):
            raise errors.permission_denied()

    def ask(self, hook: Callable[..., Any], *args: Any) -> bytes | None:
        """Return what the site answers, as JSON; None: it answers nothing.

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
