"""What one client of the protocol is answered and sent, and what the site says to that."""
from __future__ import annotations

import logging
from typing import Any, Callable

from ..errors import ConnectionClosed, InvalidData
from ..wire.disconnects import Disconnect
from ..wire.frames import OPCODE_TEXT, encode_json, frame
from . import errors as codes
from .errors import CloseConnection, CommandError

logger = logging.getLogger(__name__)

REPLIES = 64 * 1024
"""Bytes of replies that wait for the end of the frame that asked for them; past it they are sent,
so that one frame of commands cannot have the server hold any amount of them."""

REPLY_SHARE = 2
"""One reply takes at most this part of an outbox."""


class Session:
    """Queue what one client gets, and ask its site. For a worker thread, but for ``queue``.

    Args:
        connection: what the site sees of the client.

    Attributes:
        connected: the client has sent ``connect``, and that was answered.
        ended: it is being disconnected, and nothing that still comes is run.
        refreshable: it came with a token that expires.
    """

    __slots__ = ("connection", "connected", "ended", "refreshable", "_replies", "_waiting")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.connected = False
        self.ended = False
        self.refreshable = False
        self._replies: list[bytes] = []
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Session of {self.connection!r}>"

    @property
    def server(self) -> Any:
        """Return the push server; see ``CentrifugeConnection.server``."""
        return self.connection.server

    @property
    def room(self) -> int:
        """Return the bytes that one reply may take."""
        most: int = self.server.settings.max_outbox
        return most // REPLY_SHARE

    # Replies

    def reply_error(self, number: int, error: CommandError) -> None:
        """Have an error wait as ``reply`` does; a command without a number gets none."""
        if not number:
            return
        try:
            contents = encode_json(error.as_json())
        except InvalidData:
            logger.error("Id %r: an error's message is none for UTF-8: %a", self.connection.Id,
                         error)
            contents = encode_json(codes.internal().as_json())
        self.reply(b'{"id":%d,"error":%s}' % (number, contents))

    def reply(self, reply: bytes) -> None:
        """Have a reply wait for others, unless there are enough for a frame.

        Raises:
            ConnectionClosed: nobody will read it, nor the replies to what follows.
        """
        self._replies.append(reply)
        self._waiting += len(reply)
        if self._waiting > REPLIES and not self.flush():
            raise ConnectionClosed("takes no more replies")

    def flush(self) -> bool:
        """Send the replies that wait, in one frame if they fit one; False: nobody takes them."""
        replies, self._replies, self._waiting = self._replies, [], 0
        if not replies:
            return True
        together = frame(OPCODE_TEXT, b"\n".join(replies))
        if len(replies) == 1 or len(together) <= self.server.settings.max_outbox:
            return self.queue(together)
        return all(self.queue(frame(OPCODE_TEXT, one)) for one in replies)

    def queue(self, data: bytes) -> bool:
        """Queue whole frames; False if the client no longer takes any."""
        try:
            queued: bool = self.server.deliver_frames(self.connection, data)
        except ConnectionClosed:
            return False
        return queued

    def end(self, disconnect: Disconnect) -> None:
        """Close the connection, and run nothing that still comes."""
        self.ended = True
        self.connection.close(*disconnect)

    # What the site says

    def call(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call the site; what it raises by mistake is error 100."""
        try:
            return hook(*args)
        except (CommandError, CloseConnection, ConnectionClosed):
            raise
        except Exception:
            logger.exception("Id %r: %s failed", self.connection.Id, _name(hook))
            raise codes.internal() from None

    def check(self, allowed: Callable[..., bool], *args: Any) -> None:
        """Have the site allow something.

        Raises:
            CommandError: 103: it does not.
        """
        if not self.call(allowed, *args):
            raise codes.permission_denied()

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
            logger.error("Id %r: %s returned what JSON cannot hold", self.connection.Id,
                         _name(hook))
            raise codes.internal() from None
        if len(found) > self.room:
            logger.error("Id %r: %s returned %d bytes: return at most %d, or raise max_outbox",
                         self.connection.Id, _name(hook), len(found), self.room)
            raise codes.limit_exceeded()
        return found


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__name__", "a hook")
