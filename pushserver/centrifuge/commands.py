"""The protocol's commands: what each does, and what it answers."""
from __future__ import annotations

import logging
import math
from typing import Any

from ..channels.publication import Page
from ..errors import (ConnectionClosed, HandshakeRefused, InvalidData, InvalidSetting,
                      MessageTooLarge)
from ..tokens import Claims
from ..version import __version__
from ..wire.frames import OPCODE_TEXT, encode_json, frame
from ..wire.handshake import admitted_id
from . import errors as codes
from . import json_codec as wire
from .errors import CloseConnection, CommandError
from .expiry import checked, expect_expiry, expiry
from .json_codec import Request
from .session import Session
from .subscriptions import Subscriptions

logger = logging.getLogger(__name__)

SHORTEST_CLIENT = 60
"""Bytes that each client takes at least in a reply to ``presence``."""


class Commands:
    """Run the commands of one client in their order, on a worker thread.

    Args:
        session: queues the answers.
        subscriptions: the channels that the client is in.
    """

    __slots__ = ("_session", "_connection", "_subscriptions")

    def __init__(self, session: Session, subscriptions: Subscriptions) -> None:
        self._session = session
        self._connection = session.connection
        self._subscriptions = subscriptions

    def __repr__(self) -> str:
        return f"<Commands of {self._connection!r}>"

    @property
    def _server(self) -> Any:
        return self._session.server

    # Frames

    def receive(self, message: Any) -> None:
        """Run the commands of one frame."""
        if self._session.ended:
            return
        try:
            if message.is_binary:
                raise CloseConnection(codes.INAPPROPRIATE_PROTOCOL)
            for command in wire.commands(str(message)):
                self._run(command)
        except CloseConnection as closing:
            self._session.flush()
            self._session.end(closing.disconnect)
        except ConnectionClosed:
            pass
        finally:
            self._session.flush()

    def _run(self, command: Request) -> None:
        if not command:
            if not self._session.connected:
                raise CloseConnection(codes.BAD_REQUEST)
            return  # the answer to a ping; that something came has been noted
        name, request = wire.method_of(command)
        number = wire.number_of(command)
        if (name == "connect") == self._session.connected or not number and name != "send":
            raise CloseConnection(codes.BAD_REQUEST)
        try:
            result = getattr(self, f"_do_{name}")(number, request)
            if result is not None:
                self._session.reply(wire.reply(number, name, result))
        except CommandError as error:
            self._session.reply_error(number, error)
            if name == "connect":
                self._session.flush()
                raise ConnectionClosed("not connected: what follows is not read") from None

    # Who the client is

    def _do_connect(self, number: int, request: Request) -> None:
        token = wire.text_of(request, "token")
        self._connection.name = wire.text_of(request, "name")
        claims = self._claims(token)
        self._identify(claims)
        extra = self._session.ask(self._connection.connecting, request.get("data"))
        result = self._connected(claims, extra)

        def answer(subscriptions: bytes) -> bytes:
            subs = b',"subs":{' + subscriptions + b"}" if subscriptions else b""
            return frame(OPCODE_TEXT, wire.reply(number, "connect", result[:-1] + subs + b"}"))

        asked = request.get("subs")
        self._subscriptions.start({} if asked is None else asked, answer)
        expect_expiry(self._session, claims)

    def _claims(self, token: str) -> Claims | None:
        """Return what a client's token says, or the one in its URL; None if there is none."""
        if token:
            return self._checked(token)
        if self._connection.url_claims is None and not self._connection.has_id \
                and not self._connection.anonymous:
            logger.info("a client was refused: it showed neither a token nor an Id")
            raise CloseConnection(codes.NO_TOKEN)
        found: Claims | None = self._connection.url_claims
        return found

    def _checked(self, token: str) -> Claims:
        refusal = codes.INVALID_TOKEN if self._server.tokens else codes.NO_TOKENS_HERE
        return checked(self._session, lambda tokens: tokens.connection(token),
                       CloseConnection(refusal))

    def _identify(self, claims: Claims | None) -> None:
        """Take the user from the token, or from the URL; they must not say different things."""
        user = claims.user if claims else ""
        if self._connection.has_id:
            if user and user != self._connection.Id:
                raise CloseConnection(codes.INVALID_TOKEN)
            self._connection.user_id = self._connection.Id
        elif user:
            self._rename(user)
            self._connection.user_id = user
        if claims is not None:
            self._take_info(claims)
            self._subscriptions.add_at_start(claims.channels)

    def _rename(self, user: str) -> None:
        try:
            admitted_id(user)
        except HandshakeRefused:
            raise CloseConnection(codes.INVALID_TOKEN) from None
        try:
            self._server.rename_connection(self._connection, user)
        except HandshakeRefused:
            raise CloseConnection(codes.TOO_MANY) from None

    def _take_info(self, claims: Claims) -> None:
        if claims.info is not None:
            self._connection.info = claims.info

    def _connected(self, claims: Claims | None, extra: bytes | None) -> bytes:
        """Return what a client that has connected is told, but for its channels."""
        result = {"client": self._connection.client, "version": f"pushserver {__version__}",
                  **expiry(self._session, claims)}
        interval = self._server.settings.ping_interval
        if interval:
            result.update(ping=math.ceil(interval), pong=True)
        found = encode_json(result)
        return found if extra is None else found[:-1] + b',"data":' + extra + b"}"

    def _do_refresh(self, number: int, request: Request) -> bytes:
        token = wire.text_of(request, "token")
        if not token or not self._session.refreshable:
            raise CloseConnection(codes.BAD_REQUEST)
        claims = self._checked(token)
        if claims.user != self._connection.user_id:
            raise CloseConnection(codes.INVALID_TOKEN)
        self._take_info(claims)
        expect_expiry(self._session, claims)
        return encode_json({"client": self._connection.client, **expiry(self._session, claims)})

    # Channels

    def _do_subscribe(self, number: int, request: Request) -> None:
        self._subscriptions.subscribe(number, request)

    def _do_unsubscribe(self, number: int, request: Request) -> bytes:
        self._subscriptions.unsubscribe(request)
        return b"{}"

    def _do_sub_refresh(self, number: int, request: Request) -> bytes:
        return self._subscriptions.refresh(request)

    def _do_publish(self, number: int, request: Request) -> bytes:
        channel, data = wire.channel_of(request), request.get("data")
        wire.check_plain(request)
        if data is None:
            raise codes.bad_request()
        self._session.check(self._connection.allows_publish, channel, data)
        info = wire.encoded_info(self._subscriptions.info(channel))
        try:
            self._server.publish_from(channel, data, info=info)
        except (InvalidData, MessageTooLarge, InvalidSetting):
            raise codes.bad_request() from None
        return b"{}"

    def _do_presence(self, number: int, request: Request) -> bytes:
        found = self._server.presence(self._asked_presence(request))
        room = self._session.room
        if len(found) * SHORTEST_CLIENT > room:
            raise codes.limit_exceeded()
        parts = []
        for client, info in found.items():
            parts.append(encode_json(client) + b":" + wire.encoded_info(info))
            room -= len(parts[-1]) + 1
            if room < 0:
                raise codes.limit_exceeded()
        return b'{"presence":{' + b",".join(parts) + b"}}"

    def _do_presence_stats(self, number: int, request: Request) -> bytes:
        stats = self._server.presence_stats(self._asked_presence(request))
        return encode_json({"num_clients": stats.clients, "num_users": stats.users})

    def _asked_presence(self, request: Request) -> str:
        channel = wire.channel_of(request)
        self._session.check(self._connection.allows_presence, channel)
        if not self._server.rule(channel).keeps_presence:
            raise codes.not_available()
        return channel

    def _do_history(self, number: int, request: Request) -> bytes:
        channel = wire.channel_of(request)
        limit = wire.whole(request, "limit", -(1 << 31), (1 << 31) - 1)
        reverse = wire.flag_of(request, "reverse")
        asked = request.get("since")
        if asked is not None and not isinstance(asked, dict):
            raise CloseConnection(codes.BAD_REQUEST)
        since = None if asked is None else wire.position_of(asked)
        self._session.check(self._connection.allows_history, channel)
        if not self._server.rule(channel).history:
            raise codes.not_available()
        page = self._server.history(channel, None if limit < 0 else limit, since, reverse)
        if since is not None and not page.recovered:
            raise codes.unrecoverable()
        return self._history_result(page, self._session.room)

    @staticmethod
    def _history_result(page: Page, room: int) -> bytes:
        """Return a page, or as much of its beginning as fits a reply: the client asks on.

        The first publication is there whatever its size: it has fitted an outbox before.
        """
        parts: list[bytes] = []
        for publication in page.publications:
            encoded = wire.encoded_publication(publication)
            room -= len(encoded)
            if room < 0 and parts:
                break
            parts.append(encoded)
        top = encode_json({"offset": page.top.offset, "epoch": page.top.epoch})
        return b'{"publications":[' + b",".join(parts) + b"]," + top[1:]

    # What belongs to no channel

    def _do_ping(self, number: int, request: Request) -> bytes:
        raise codes.not_available()

    def _do_rpc(self, number: int, request: Request) -> bytes:
        method = wire.text_of(request, "method")
        answer = self._session.ask(self._connection.rpc, method, request.get("data"))
        return b"{}" if answer is None else b'{"data":%s}' % answer

    def _do_send(self, number: int, request: Request) -> None:
        self._session.call(self._connection.message, request.get("data"))
