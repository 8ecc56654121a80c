"""One client's conversation: frames of commands in, replies and pushes out."""
from __future__ import annotations

import logging
from typing import Any, Callable

from ..errors import ConnectionClosed, InvalidData
from ..disconnects import Disconnect
from ..frames import OPCODE_TEXT, encode_json, frame
from ..presence import Info
from . import codes, wire
from .codes import CloseConnection, CommandError
from .subscriptions import Subscriptions
from .wire import Request

logger = logging.getLogger(__name__)

REPLIES = 64 * 1024
"""Bytes of replies that wait for the end of the frame that asked for them; past it they are sent,
so that one frame of commands cannot have the server hold any amount of them."""

REPLY_SHARE = 2
"""One reply takes at most this part of an outbox."""

Command = Callable[["Session", int, Request], "bytes | None"]
"""Does what a command asks for; returns its result as JSON, or None if that is queued already."""


class Session:
    """Run the commands of one client in their order, on a worker thread.

    Args:
        connection: what the site sees of the client.
        commands: by their names.

    Attributes:
        connected: the client has sent ``connect``, and that was answered.
        subscriptions: the channels that it is in.
        refreshable: it came with a token that expires.
    """

    __slots__ = ("connection", "subscriptions", "connected", "refreshable", "_commands", "_ended",
                 "_replies", "_waiting")

    def __init__(self, connection: Any, commands: dict[str, Command]) -> None:
        self.connection = connection
        self.subscriptions = Subscriptions(self)
        self.connected = False
        self.refreshable = False
        self._commands = commands
        self._ended = False
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

    def info(self, channel: str) -> Info:
        """Return what others in a channel see of the client."""
        known: Info = self.connection.presence_info()
        return known._replace(channel=self.subscriptions.info(channel))

    # Frames

    def receive(self, message: Any) -> None:
        """Run the commands of one frame."""
        if self._ended:
            return
        try:
            if message.is_binary:
                raise CloseConnection(codes.INAPPROPRIATE_PROTOCOL)
            for command in wire.commands(str(message)):
                self._run(command)
        except CloseConnection as closing:
            self.flush()
            self.end(closing.disconnect)
        except ConnectionClosed:
            pass
        finally:
            self.flush()

    def _run(self, command: Request) -> None:
        if not command:
            if not self.connected:
                raise CloseConnection(codes.BAD_REQUEST)
            return  # the answer to a ping; that something came has been noted
        name, request = wire.method_of(command)
        number = wire.number_of(command)
        if (name == "connect") == self.connected or not number and name != "send":
            raise CloseConnection(codes.BAD_REQUEST)
        try:
            result = self._commands[name](self, number, request)
            if result is not None:
                self.reply(wire.reply(number, name, result))
        except CommandError as error:
            self._reply_error(number, error)
            if name == "connect":
                self.flush()
                raise ConnectionClosed("not connected: what follows is not read") from None

    def _reply_error(self, number: int, error: CommandError) -> None:
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
        if len(replies) == 1 or len(together) <= self.room * REPLY_SHARE:
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
        self._ended = True
        self.connection.close(*disconnect)

    # What the site says

    def call(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call the site; what it raises by mistake is error 100."""
        try:
            return hook(*args)
        except (CommandError, CloseConnection, ConnectionClosed):
            raise
        except Exception:
            logger.exception("Id %r: %s failed", self.connection.Id,
                             getattr(hook, "__name__", "a hook"))
            raise codes.internal() from None

    def check(self, allowed: Callable[..., bool], *args: Any) -> None:
        """Have the site allow something.

        Raises:
            CommandError: 103: it does not.
        """
        if not self.call(allowed, *args):
            raise codes.permission_denied()

    def encoded(self, hook: str, answer: Any) -> bytes | None:
        """Return as JSON what a hook of the site has returned; None: it returned nothing.

        Raises:
            CommandError: 100: JSON cannot hold it. 106: it does not fit a reply.
        """
        if answer is None:
            return None
        try:
            found = encode_json(answer)
        except InvalidData:
            logger.error("Id %r: %s returned what JSON cannot hold", self.connection.Id, hook)
            raise codes.internal() from None
        if len(found) > self.room:
            raise codes.limit_exceeded()
        return found
