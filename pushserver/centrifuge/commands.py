"""The protocol's commands: what each does, and how it is answered."""
from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import Any, Callable, Iterator

from ..channels.publication import Publication
from ..connections.handle import Handle
from ..errors import ConnectionClosed, HandshakeRefused, InvalidData, MessageTooLarge
from ..tokens import Claims
from ..version import __version__
from ..wire.handshake import admitted_id
from . import errors, values
from .errors import CloseConnection, CommandError
from .expiry import checked_claims, expect_expiry, ttl
from .json_codec import encoded_info
from .session import PUBLISHED_FOR_A_UNIT, Session
from .spread import Spread
from .subscriptions import Subscriptions
from .values import Command, Result, SubscribeResult

logger = logging.getLogger(__name__)

GIVE_WAY = 0.002
GIVE_WAY_UNITS = 100
"""Seconds that commands of one message run before other connections get the worker, and units that
they may cause: what reaches many costs the loop more time than it takes here."""

SHORTEST_CLIENT = 60
"""The fewest bytes that each client takes in a reply to ``presence``."""


class Commands:
    """Run the commands of one client in order, on a worker thread.

    Args:
        session: queues the answers.
        subscriptions: the channels that the client is in.
    """

    __slots__ = ("_session", "_client", "_subscriptions", "_spread")

    def __init__(self, session: Session, subscriptions: Subscriptions) -> None:
        self._session = session
        self._client = session.client
        self._subscriptions = subscriptions
        self._spread: Spread | None = None      # most clients publish nothing

    def __repr__(self) -> str:
        return f"<Commands of {self._client!r}>"

    @property
    def _handle(self) -> Handle:
        return self._session.handle

    # Messages

    def receive(self, message: Any) -> None:
        """Run the commands of one message."""
        self._run_all(self._commands(message))

    def _commands(self, message: Any) -> Iterator[Command]:
        codec = self._session.codec
        if message.is_binary != codec.is_binary:
            raise CloseConnection(errors.INAPPROPRIATE_PROTOCOL)
        yield from codec.commands(message.data)

    def _run_all(self, commands: Iterator[Command]) -> None:
        """Run commands for a while, or until the client has much to read; go on after that."""
        session, until = self._session, time.monotonic() + GIVE_WAY
        most = session.caused + GIVE_WAY_UNITS
        try:
            if session.unwritten:   # a reply that had to wait for room
                session.flush()
            while True:
                session.check_rights()
                if session.is_ahead:
                    session.hold(partial(self._run_all, commands))
                    return
                command = next(commands, None)
                if command is None:
                    break
                self._run(command)
                if session.caused > most or time.monotonic() > until:
                    session.give_way(partial(self._run_all, commands))
                    return
        except CloseConnection as closing:
            session.flush()
            session.end(closing.disconnect)
        except ConnectionClosed:
            pass
        if session.unwritten:
            session.flush()

    def _run(self, command: Command) -> None:
        number, request = command
        self._session.charge()
        kind, connected = type(request), self._session.connected
        if kind is values.Pong and connected:
            return  # the answer to a ping; its arrival has already been noted
        needs_number = kind is not values.SendRequest
        if (kind is values.ConnectRequest) == connected or needs_number and not number:
            raise CloseConnection(errors.MALFORMED)
        try:
            if isinstance(request, CommandError):
                raise request
            result = _RUN[kind](self, number, request)
            if result is not None:
                self._session.reply(number, result)
        except CommandError as error:
            self._session.reply_error(number, error)
            if kind is values.ConnectRequest:
                self._session.flush()
                raise ConnectionClosed("not connected: further commands are ignored") from None

    # Who the client is

    def _connect(self, number: int, request: values.ConnectRequest) -> None:
        self._client.name = request.name
        claims = self._claims(request.token)
        self._identify(claims)
        data = self._session.ask(self._client.connecting, request.data)
        interval = self._handle.context.settings.ping_interval
        result = values.ConnectResult(
            self._client.client, f"pushserver {__version__}",
            None if claims is None else ttl(self._session, claims), math.ceil(interval), data, {})

        def reply(subs: dict[str, SubscribeResult]) -> bytes:
            return self._session.codec.reply(number, result._replace(subs=subs))

        expect_expiry(self._session, claims)    # first: the histories may take their time
        self._subscriptions.start(request.subs, reply)

    def _claims(self, token: str) -> Claims | None:
        """Return the claims of a client's token, or of the one in its URL; None without a token."""
        if token:
            return self._checked(token)
        client = self._client
        if client.url_claims is None and not client.has_id and not client.anonymous:
            logger.info("a client was refused: it sent neither a token nor an Id")
            raise CloseConnection(errors.NO_TOKEN)
        return client.url_claims

    def _checked(self, token: str) -> Claims:
        refusal = errors.INVALID_TOKEN if self._handle.context.tokens else errors.NO_TOKENS_HERE
        return checked_claims(self._session, lambda tokens: tokens.connection(token),
                              CloseConnection(refusal))

    def _identify(self, claims: Claims | None) -> None:
        """Take the user from the token, or from the URL; if both name one, they must agree."""
        client, user = self._client, claims.user if claims else ""
        if client.has_id:
            if user and user != client.Id:
                logger.info("Id %r: a token was refused: its sub is not the Id", client.Id)
                raise CloseConnection(errors.INVALID_TOKEN)
            client.user_id = client.Id
        elif user:
            self._rename(user)
            client.user_id = user
        if claims is not None:
            self._take_info(claims)
            self._subscriptions.add_at_start(claims.channels)

    def _rename(self, user: str) -> None:
        try:
            admitted_id(user)
        except HandshakeRefused:
            raise CloseConnection(errors.INVALID_TOKEN) from None
        try:
            self._handle.rename(user)
        except HandshakeRefused:
            raise CloseConnection(errors.TOO_MANY) from None

    def _take_info(self, claims: Claims) -> None:
        if claims.info is not None:
            self._client.info = claims.info

    def _refresh(self, number: int, request: values.RefreshRequest) -> Result:
        if not request.token or not self._session.refreshable:
            raise CloseConnection(errors.MALFORMED)
        claims = self._checked(request.token)
        if claims.user != self._client.user_id:
            raise CloseConnection(errors.INVALID_TOKEN)
        self._take_info(claims)
        expect_expiry(self._session, claims)
        return values.RefreshResult(self._client.client, ttl(self._session, claims))

    # Channels

    def _subscribe(self, number: int, request: values.SubscribeRequest) -> None:
        self._subscriptions.subscribe(number, request)

    def _unsubscribe(self, number: int, request: values.UnsubscribeRequest) -> Result:
        self._subscriptions.leave(request.channel)
        self._subscriptions.charge_announcing(request.channel)
        return values.UnsubscribeResult()

    def _sub_refresh(self, number: int, request: values.SubRefreshRequest) -> Result:
        return self._subscriptions.refresh(request)

    def _publish(self, number: int, request: values.PublishRequest) -> Result:
        channel, handle = request.channel, self._handle
        self._session.check(self._client.allows_publish, channel, request.data)
        info = encoded_info(self._subscriptions.info(channel))     # always JSON
        try:
            made = Publication.of(request.data, info=info)
            handle.check_size(made.size)
        except (InvalidData, MessageTooLarge):
            raise errors.bad_request() from None
        if handle.node.rule(channel).history:
            self._spread = self._spread or Spread()
            self._spread.add(channel, handle.context.settings.max_channels_per_connection)
        handle.node.publish(channel, made, maker=self._maker)
        self._session.charge_reaching(channel, PUBLISHED_FOR_A_UNIT)
        return values.PublishResult()

    @property
    def _maker(self) -> str:
        """Return who answers for the channels that the client makes, also after it reconnects."""
        client = self._client
        return client.user_id or (client.environ or {}).get("REMOTE_ADDR") or client.client

    def _presence(self, number: int, request: values.PresenceRequest) -> None:
        self._check_presence(request.channel)
        node, session = self._handle.node, self._session
        found = node.broker.presence.of(request.channel)
        if len(found) * SHORTEST_CLIENT > session.room:
            raise errors.limit_exceeded()
        made = node.made_of_presence.of(request.channel, found, session.codec.clients)
        session.reply(number, values.PresenceResult(made), session.room)

    def _presence_stats(self, number: int, request: values.PresenceStatsRequest) -> Result:
        self._check_presence(request.channel)
        return values.PresenceStatsResult(
            *self._handle.node.broker.presence.stats(request.channel))

    def _check_presence(self, channel: str) -> None:
        self._session.check(self._client.allows_presence, channel)
        if not self._handle.node.rule(channel).keeps_presence:
            raise errors.not_available()

    def _history(self, number: int, request: values.HistoryRequest) -> Result:
        channel, limit, since, reverse = request
        node = self._handle.node
        self._session.check(self._client.allows_history, channel)
        if not node.rule(channel).history:
            raise errors.not_available()
        page = node.history(channel, limit, since, reverse)
        if since is not None and not page.recovered:
            raise errors.unrecoverable()
        # the client asks for the rest; the first has fitted an outbox before
        fitting = self._session.fitting(page.publications, self._session.room) \
            or self._session.codec.encoded(page.publications[:1])
        return values.HistoryResult(fitting, page.top)

    # What belongs to no channel

    def _ping(self, number: int, request: values.PingRequest) -> None:
        raise errors.not_available()

    def _rpc(self, number: int, request: values.RpcRequest) -> Result:
        return values.RpcResult(self._session.ask(self._client.rpc, *request))

    def _send(self, number: int, request: values.SendRequest) -> None:
        self._session.call(self._client.message, request.data)


_RUN: dict[type, Callable[[Commands, int, Any], Result | None]] = {
    values.ConnectRequest: Commands._connect, values.RefreshRequest: Commands._refresh,
    values.SubscribeRequest: Commands._subscribe, values.UnsubscribeRequest: Commands._unsubscribe,
    values.SubRefreshRequest: Commands._sub_refresh, values.PublishRequest: Commands._publish,
    values.PresenceRequest: Commands._presence,
    values.PresenceStatsRequest: Commands._presence_stats,
    values.HistoryRequest: Commands._history, values.PingRequest: Commands._ping,
    values.RpcRequest: Commands._rpc, values.SendRequest: Commands._send}
