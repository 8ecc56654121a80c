"""One client of Centrifugo's protocol: what a site subclasses."""
from __future__ import annotations

import logging
import math
from typing import Any, Callable, Iterable

from ws4py.messaging import Message

from ..channels import Who, checked_channel
from ..connection import Connection
from ..disconnects import Disconnect
from ..errors import (ConnectionClosed, HandshakeRefused, InvalidData, InvalidSetting,
                      MessageTooLarge)
from ..frames import OPCODE_TEXT, Data, encode_json, frame
from ..handshake import checked_id
from ..history import Position, Publication
from ..presence import Info
from ..tokens import Claims, TokenExpired, TokenInvalid
from ..version import __version__
from . import codes, wire
from .codes import CloseConnection, CommandError
from .commands import Commands
from .wire import CENTRIFUGE, NOT_CONNECTED, Request

logger = logging.getLogger(__name__)

REPLIES = 64 * 1024
"""Bytes of replies that wait for the end of the frame that asked for them; past it they are sent,
so that one frame of commands cannot have the server hold any amount of them."""


class CentrifugeConnection(Commands, Connection):
    """One client that speaks Centrifugo's JSON protocol: subclass it, and give the class to the
    tool as ``handler_cls`` with ``protocol="centrifuge"``.

    Commands run on a worker thread, one at a time and in order, as do the methods below that a
    site may define: ``connecting``, ``rpc``, ``message`` and the ``allows_`` ones. They may raise
    ``CommandError`` to answer with an error of the site's own, or ``CloseConnection``. What else
    they raise is logged and answered with error 100.

    Attributes:
        anonymous: let clients connect that show neither token nor ``?Id=``.
        user_id: who the user is: the token's ``sub`` or the Id; empty: anonymous.
        name: what the client calls itself.
        connected: it has sent ``connect``, and that was answered.
    """

    protocol = NOT_CONNECTED
    has_heartbeats = False
    needs_id = False
    expires_itself = True
    anonymous = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user_id = ""
        self.name = ""
        self.connected = False
        self.start_channels: tuple[str, ...] = ()
        self._ended = False
        self._replies: list[bytes] = []
        self._waiting = 0
        self._begin()

    # For sites

    def connecting(self, data: Any) -> Any:
        """Do what the site does when a client connects; return what it is to get, or None.

        ``self.subscribe(channel)`` here puts it into a channel from the start, and ``self.info``
        is what others are told of it.

        Args:
            data: what the client sent along.
        """

    def rpc(self, method: str, data: Any) -> Any:
        """Answer a call; what is returned goes to the client as JSON. For subclasses."""
        raise codes.not_available()

    def message(self, data: Any) -> None:
        """Do what the site does with what a client sends without a channel. For subclasses."""
        raise CloseConnection(codes.NOT_AVAILABLE)

    def allows_subscribe(self, channel: str) -> bool:
        """Tell whether the client may subscribe without a token. The channel's rule says."""
        return self.is_among(self.server.rule(channel).subscribe, channel)

    def allows_publish(self, channel: str, data: Any) -> bool:
        """Tell whether the client may publish. The channel's rule says."""
        return self.is_among(self.server.rule(channel).publish, channel)

    def allows_presence(self, channel: str) -> bool:
        """Tell whether the client may ask who is in a channel. The channel's rule says."""
        return self.is_among(self.server.rule(channel).see_presence, channel)

    def allows_history(self, channel: str) -> bool:
        """Tell whether the client may read what a channel remembers. The channel's rule says."""
        return self.is_among(self.server.rule(channel).see_history, channel)

    def is_among(self, who: Who, channel: str) -> bool:
        """Tell whether this client is one of those that a rule names."""
        if callable(who):
            return bool(who(self, channel))
        if who == "subscribers":
            return bool(self.server.is_subscribed(self, channel))
        return who == "anyone" or who == "users" and bool(self.user_id)

    # What a ``Connection`` has

    @property
    def server(self) -> Any:
        """Return the push server.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        server = self._push_server
        if server is None:
            raise ConnectionClosed(f"connection of Id {self.Id!r} is closed")
        return server

    def presence_info(self) -> Info:
        """See ``Connection``."""
        return Info(self.client, self.user_id, self.info)

    def send(self, payload: Data, binary: bool = False) -> None:
        """Queue one message that belongs to no channel; see ``Connection``."""
        if isinstance(payload, Message):
            payload = bytes(payload.data).decode("utf-8", "replace")
        data = CENTRIFUGE.message(Publication.of(payload))
        if not self.connected or not self._queue(data or b""):
            raise ConnectionClosed(f"connection of Id {self.Id!r} is not open: nothing was sent")

    def subscribe(self, channel: str, *, since: Position | None = None, info: Any = None,
                  data: Any = None) -> bool:
        """Put the client into a channel: it is told so, and receives what is published there.

        The rest is for a client that is connected already.

        Args:
            channel: 1 to 255 characters.
            since: what it has seen; it gets what has come since, if that is remembered.
            info: what others in the channel are told of it.
            data: what the client is told along with it.

        Raises:
            InvalidSetting: this cannot be a channel's name.
            InvalidData: JSON cannot hold ``info`` or ``data``.
        """
        checked_channel(channel)
        with self._gate:
            if not self.connected:
                new = channel not in self.start_channels
                self.start_channels = tuple(dict.fromkeys((*self.start_channels, channel)))
                return new
        encode_json([info, data])  # raises what it raises before anything is done
        return self._push_subscription(channel, since, info, data)

    def unsubscribe(self, channel: str) -> bool:
        """Take the client out of a channel, for good; it is told so."""
        return self._push_unsubscription(checked_channel(channel), codes.UNSUBSCRIBED_BY_SERVER)

    def opened(self) -> None:
        """Give the client its time to connect. A subclass that has its own calls this one."""
        self.keep(self.server.later(self, self.server.settings.connect_timeout,
                                    lambda: self._end(codes.STALE)))

    def detach(self) -> None:
        """See ``Connection``."""
        super().detach()
        for one in self._subscriptions.values():
            if one.expiry is not None:
                one.expiry.cancel()

    # Frames

    def received_message(self, message: Any) -> None:
        """Run the commands of one frame; see ``rpc`` and the others for what a site may define."""
        if self._ended:
            return
        try:
            if message.is_binary:
                raise CloseConnection(codes.INAPPROPRIATE_PROTOCOL)
            for command in wire.commands(str(message)):
                self._run_command(command)
        except CloseConnection as closing:
            self._flush()
            self._end(closing.disconnect)
        except ConnectionClosed:
            pass
        finally:
            self._flush()

    def _run_command(self, command: Request) -> None:
        if not command:
            if not self.connected:
                raise CloseConnection(codes.BAD_REQUEST)
            return  # the answer to a ping; that something came has been noted
        name, request = wire.method_of(command)
        number = wire.number_of(command)
        if (name == "connect") == self.connected or not number and name != "send":
            raise CloseConnection(codes.BAD_REQUEST)
        try:
            self._answer(number, name, getattr(self, f"_do_{name}")(number, request))
        except CommandError as error:
            self._answer_error(number, error)
            if name == "connect":
                self._flush()
                raise ConnectionClosed("not connected: what follows is not read") from None

    def _answer(self, number: int, name: str, result: bytes | None) -> None:
        if result is not None:
            self._reply(wire.reply(number, name, result))

    def _answer_error(self, number: int, error: CommandError) -> None:
        if not number:
            return
        try:
            contents = encode_json(error.as_json())
        except InvalidData:
            logger.error("Id %r: an error's message is none for UTF-8: %a", self.Id, error)
            contents = encode_json(codes.internal().as_json())
        self._reply(b'{"id":%d,"error":%s}' % (number, contents))

    def _reply(self, reply: bytes) -> None:
        """Have a reply wait for others, unless there are enough for a frame.

        Raises:
            ConnectionClosed: nobody will read it, nor the replies to what follows.
        """
        self._replies.append(reply)
        self._waiting += len(reply)
        if self._waiting > REPLIES and not self._flush():
            raise ConnectionClosed(f"connection of Id {self.Id!r} takes no more replies")

    def _flush(self) -> bool:
        """Send the replies that wait, in one frame if they fit one; False: nobody takes them."""
        replies, self._replies, self._waiting = self._replies, [], 0
        if not replies:
            return True
        try:
            return self._queue(frame(OPCODE_TEXT, b"\n".join(replies)))
        except MessageTooLarge:
            return all(self._queue(frame(OPCODE_TEXT, one)) for one in replies)

    def _queue(self, data: bytes) -> bool:
        server = self._push_server
        return server is not None and server.deliver_frames(self, data)

    def _end(self, disconnect: Disconnect) -> None:
        self._ended = True
        self.close(*disconnect)

    def _call(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call the site; what it raises by mistake is error 100."""
        try:
            return hook(*args)
        except (CommandError, CloseConnection, ConnectionClosed):
            raise
        except Exception:
            logger.exception("Id %r: %s failed", self.Id, getattr(hook, "__name__", "a hook"))
            raise codes.internal() from None

    def _check(self, allowed: Callable[..., bool], *args: Any) -> None:
        if not self._call(allowed, *args):
            raise codes.permission_denied()

    # Connecting

    def starts_in(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Keep the channels that the tool names for when the client has connected."""
        self.start_channels = tuple(dict.fromkeys(channels))
        return ()

    def _do_connect(self, number: int, request: Request) -> None:
        token = wire.text_of(request, "token")
        self.name = wire.text_of(request, "name")
        claims = self._claims(token)
        self._identify(claims)
        answer = self._call(self.connecting, request.get("data"))
        try:
            extra = None if answer is None else encode_json(answer)
        except InvalidData:
            logger.error("Id %r: connecting returned what JSON cannot hold", self.Id)
            raise codes.internal() from None
        self._subscribe_at_start(number, request, claims, extra)

    def _claims(self, token: str) -> Claims | None:
        """Return what a connection's token says, or the one in its URL; None if there is none."""
        if not token and self.url_claims is not None:
            return self.url_claims
        if not token:
            if not self.has_id and not self.anonymous:
                raise CloseConnection(codes.INVALID_TOKEN)
            return None
        return self._checked_claims(lambda tokens: tokens.connection(token))

    def _checked_claims(self, check: Callable[[Any], Claims]) -> Claims:
        tokens = self.server.tokens
        try:
            if tokens is None:
                raise TokenInvalid("the site takes no tokens: give PushPlugin(tokens=...)")
            return check(tokens)
        except TokenExpired:
            raise codes.token_expired() from None
        except TokenInvalid as error:
            logger.debug("Id %r: token refused: %s", self.Id, error)
            raise CloseConnection(codes.INVALID_TOKEN) from None

    def _identify(self, claims: Claims | None) -> None:
        """Take the user from the token, or from the URL; they must not say different things."""
        user = claims.user if claims else ""
        if self.has_id:
            if user and user != self.Id:
                raise CloseConnection(codes.INVALID_TOKEN)
            self.user_id = self.Id
        elif user:
            self._rename(user)
        if claims is not None:
            self.info = claims.info if claims.info is not None else self.info
            self.start_channels = tuple(dict.fromkeys((*self.start_channels, *claims.channels)))

    def _rename(self, user: str) -> None:
        try:
            checked_id(user)
        except HandshakeRefused:
            raise CloseConnection(codes.INVALID_TOKEN) from None
        try:
            self.server.rename_connection(self, user)
        except HandshakeRefused:
            raise CloseConnection(codes.CONNECTION_LIMIT) from None
        self.user_id = user

    def _connect_result(self, claims: Claims | None, extra: bytes | None,
                        subscriptions: bytes) -> bytes:
        result: dict[str, Any] = {"client": self.client, "version": f"pushserver {__version__}"}
        result.update(self._expiry(claims))
        interval = self.server.settings.ping_interval
        if interval:
            result.update(ping=math.ceil(interval), pong=True)
        found = encode_json(result)[:-1]
        if extra is not None:
            found += b',"data":' + extra
        if subscriptions:
            found += b',"subs":{' + subscriptions + b"}"
        return found + b"}"

    def _published_by(self, channel: str) -> bytes:
        return wire.encoded_info(self._channel_info(channel))

    def _publish(self, channel: str, data: Any) -> None:
        try:
            self.server.publish_from(channel, data, info=self._published_by(channel))
        except (InvalidData, MessageTooLarge, InvalidSetting):
            raise codes.bad_request() from None
