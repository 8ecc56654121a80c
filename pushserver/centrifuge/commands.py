"""The protocol's commands, but for ``connect``: what each does, and what it answers."""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Iterable, Sequence

from ..channels import checked_channel
from ..errors import InvalidData, InvalidSetting
from ..frames import OPCODE_TEXT, encode_json, frame
from ..history import Page, Position, Publication
from ..presence import Info
from ..tokens import Claims, TokenExpired, TokenInvalid
from . import codes, wire
from .codes import CloseConnection
from .wire import CENTRIFUGE, Request

logger = logging.getLogger(__name__)

MAX_CHANNELS = 128
"""Channels that one connection may be in."""

REPLY_SHARE = 2
"""History in one reply takes at most this part of an outbox."""

SHORTEST_CLIENT = 60
"""Bytes that each client takes at least in a reply to ``presence``."""


class Subscription:
    """What is known of one channel that a client is in.

    Attributes:
        info: what others are told of the client in this channel.
        expiry: what ends it when its token has, or None.
        from_token: it was made with a token, and can be refreshed.
    """

    __slots__ = ("info", "expiry", "from_token")

    def __init__(self, claims: Claims | None = None) -> None:
        self.info = claims.info if claims else None
        self.from_token = claims is not None and claims.expires is not None
        self.expiry: Any = None


class Commands:
    """Run the commands of one client, on a worker thread; see ``CentrifugeConnection``."""

    server: Any
    connected: bool
    client: str
    user_id: str
    info: Any
    Id: str
    start_channels: tuple[str, ...]
    _call: Callable[..., Any]
    _check: Callable[..., None]
    _flush: Callable[[], bool]
    _queue: Callable[[bytes], bool]
    _publish: Callable[[str, Any], None]
    _end: Callable[..., None]
    keep: Callable[[Any], None]
    _checked_claims: Callable[..., Claims]
    _connect_result: Callable[..., bytes]
    _replies: list[bytes]
    message: Callable[[Any], None]
    rpc: Callable[[str, Any], Any]
    allows_subscribe: Callable[[str], bool]
    allows_publish: Callable[[str, Any], bool]
    allows_presence: Callable[[str], bool]
    allows_history: Callable[[str], bool]

    def _begin(self) -> None:
        self._subscriptions: dict[str, Subscription] = {}
        self._refreshable = False
        self._gate = threading.Lock()   # held while the channels from the start are entered

    @staticmethod
    def _channel_of(request: Request) -> str:
        """Return the channel that a command is about."""
        channel = wire.text_of(request, "channel")
        if not channel:
            raise CloseConnection(codes.BAD_REQUEST)
        try:
            return checked_channel(channel)
        except InvalidSetting:
            raise codes.bad_request() from None

    def _channel_info(self, channel: str) -> Info:
        known = self._subscriptions.get(channel)
        return Info(self.client, self.user_id, self.info, known.info if known else None)

    # Subscriptions

    def _subscribe_at_start(self, number: int, request: Request, claims: Claims | None,
                            extra: bytes | None) -> None:
        """Answer ``connect``, with the channels that the client is in from the start."""
        asked = request.get("subs") or {}
        if not isinstance(asked, dict) or len(self.start_channels) > MAX_CHANNELS:
            raise CloseConnection(codes.BAD_REQUEST)
        with self._gate:
            wanted = [(channel, self._asked_position(asked.get(channel)))
                      for channel in self.start_channels]
            self._join_at_start(number, wanted, claims, extra)
        self._expect_expiry(claims)

    def _join_at_start(self, number: int, wanted: list[tuple[str, Position | None]],
                       claims: Claims | None, extra: bytes | None) -> None:
        """Enter channels and queue the answer to ``connect``. Needs ``_gate``."""
        for channel, _ in wanted:
            self._subscriptions[channel] = Subscription()

        def answer(found: Sequence[tuple[Page, Iterable[Publication]]]) -> None:
            share = REPLY_SHARE * max(1, len(wanted))
            parts = [encode_json(channel) + b":"
                     + self._subscribe_result(channel, page, since, share=share)
                     for (channel, since), (page, _) in zip(wanted, found)]
            result = self._connect_result(claims, extra, b",".join(parts))
            data = frame(OPCODE_TEXT, wire.reply(number, "connect", result))
            self.connected = True
            self.server.admit_connection(self, CENTRIFUGE, data)
            for (channel, _), (_, newer) in zip(wanted, found):
                self._queue_publications(channel, newer)

        if not self.server.join_connection(self, wanted, answer, self._channel_info):
            raise CloseConnection(codes.INSUFFICIENT_STATE)

    def _begin_subscription(self, channel: str, claims: Claims | None = None) -> bool:
        """Note a subscription; False if another thread was first."""
        mine = Subscription(claims)
        return self._subscriptions.setdefault(channel, mine) is mine

    @staticmethod
    def _asked_position(request: Any) -> Position | None:
        if request is None:
            return None
        if not isinstance(request, dict):
            raise CloseConnection(codes.BAD_REQUEST)
        return wire.position_of(request) if wire.flag_of(request, "recover") else None

    def _queue_publications(self, channel: str, publications: Iterable[Publication]) -> None:
        for publication in publications:
            self._queue(CENTRIFUGE.publication(channel, publication))

    def _do_subscribe(self, number: int, request: Request) -> None:
        channel = self._channel_of(request)
        since = self._asked_position(request)
        token = wire.text_of(request, "token")
        reject = bool(wire.whole(request, "flag", 0, wire.MAX_OFFSET) & wire.REJECT_UNRECOVERED)
        if channel in self._subscriptions:
            raise codes.already_subscribed()
        if len(self._subscriptions) >= MAX_CHANNELS:
            raise codes.limit_exceeded()
        claims = None
        if token:
            claims = self._subscription_claims(token, channel)
        else:
            self._check(self.allows_subscribe, channel)
        if not self._begin_subscription(channel, claims):
            raise codes.already_subscribed()

        def answer(found: Sequence[tuple[Page, Iterable[Publication]]]) -> None:
            (page, newer), = found
            result = self._subscribe_result(channel, page, since, claims, reject=reject)
            self._replies.append(wire.reply(number, "subscribe", result))
            self._flush()
            self._queue_publications(channel, newer)

        try:
            joined = self.server.join_connection(self, [(channel, since)], answer,
                                                 self._channel_info)
        except BaseException:
            self._subscriptions.pop(channel, None)
            raise
        if joined is None:
            raise CloseConnection(codes.INSUFFICIENT_STATE)
        if not joined:
            self._subscriptions.pop(channel, None)
            raise codes.already_subscribed()
        self._expect_subscription_expiry(channel, claims)

    def _subscription_claims(self, token: str, channel: str) -> Claims:
        tokens = self.server.tokens
        try:
            if tokens is None:
                raise TokenInvalid("the site takes no tokens: give PushPlugin(tokens=...)")
            claims: Claims = tokens.subscription(token, channel, self.user_id)
            return claims
        except TokenExpired:
            raise codes.token_expired() from None
        except TokenInvalid as error:
            logger.debug("Id %r: token for a channel refused: %s", self.Id, error)
            raise codes.permission_denied() from None

    def _subscribe_result(self, channel: str, page: Page, since: Position | None,
                          claims: Claims | None = None, share: int = REPLY_SHARE,
                          reject: bool = False) -> bytes:
        """Return what a client is told of its place in a channel, with what it has missed.

        Raises:
            CommandError: 112: that is lost, and ``reject`` asks for an error then.
        """
        result: dict[str, Any] = self._expiry(claims)
        remembers = bool(self.server.rule(channel).history)
        publications: list[bytes] = []
        recovered = page.recovered
        if remembers:
            publications = [wire.encoded_publication(one) for one in page.publications]
            if sum(map(len, publications)) > self.server.settings.max_outbox // share:
                recovered, publications = False, []  # told so: it could not be sent in one
            if reject and since is not None and not recovered:
                raise codes.unrecoverable()
            offset = since.offset if recovered and since is not None else page.top.offset
            result.update(recoverable=True, positioned=True, epoch=page.top.epoch)
            if offset:
                result["offset"] = offset
            if recovered:
                result["recovered"] = True
        if since is not None:
            result["was_recovering"] = True
        found = encode_json(result)
        if not publications:
            return found
        return found[:-1] + b',"publications":[' + b",".join(publications) + b"]}"

    def _do_unsubscribe(self, number: int, request: Request) -> bytes:
        self._leave(self._channel_of(request))
        return b"{}"

    def _leave(self, channel: str) -> bool:
        known = self._subscriptions.pop(channel, None)
        if known is not None and known.expiry is not None:
            known.expiry.cancel()
        left: bool = self.server.unsubscribe_connection(self, channel)
        return left

    def _push_subscription(self, channel: str, since: Position | None = None, info: Any = None,
                           data: Any = None) -> bool:
        """Put a connected client into a channel, on the site's demand."""
        if not self._begin_subscription(channel, Claims(self.user_id, info=info)):
            return False

        def tell(found: Sequence[tuple[Page, Iterable[Publication]]]) -> None:
            (page, newer), = found
            missed = self._pushable(page)
            if missed and since is not None:  # they follow, each by itself
                page = page._replace(top=page.top._replace(offset=since.offset))
            result = self._subscribe_result(channel, page._replace(publications=(),
                                                                   recovered=False), None)
            if data is not None:
                result = b'{"data":%s,%s' % (encode_json(data), result[1:]) \
                    if result != b"{}" else b'{"data":%s}' % encode_json(data)
            self._queue(frame(OPCODE_TEXT, wire.push(channel, "subscribe", result)))
            self._queue_publications(channel, missed)
            self._queue_publications(channel, newer)

        joined = self.server.join_connection(self, [(channel, since)], tell, self._channel_info)
        if not joined:
            self._subscriptions.pop(channel, None)
        return bool(joined)

    def _pushable(self, page: Page) -> Sequence[Publication]:
        """Return what was missed, if it is all there and fits an outbox."""
        room = self.server.settings.max_outbox // REPLY_SHARE
        if not page.recovered or sum(one.cost for one in page.publications) > room:
            return ()
        return page.publications

    def _push_unsubscription(self, channel: str, why: tuple[int, str]) -> bool:
        if not self._leave(channel):
            return False
        contents = encode_json({"code": why[0], "reason": why[1]})
        self._queue(frame(OPCODE_TEXT, wire.push(channel, "unsubscribe", contents)))
        return True

    # Tokens on live connections

    def _expiry(self, claims: Claims | None) -> dict[str, Any]:
        ttl = self._ttl(claims)
        return {} if ttl is None else {"expires": True, "ttl": max(1, int(ttl))}

    def _ttl(self, claims: Claims | None) -> float | None:
        return None if claims is None else claims.ttl(self.server.tokens.clock())

    def _expect_expiry(self, claims: Claims | None) -> None:
        """End the connection some time after its token, unless a new one has been shown."""
        ttl = self._ttl(claims)
        self.keep(None if ttl is None else self.server.later(
            self, max(0.0, ttl) + self.server.tokens.grace, lambda: self._end(codes.EXPIRED)))
        self._refreshable = self._refreshable or ttl is not None

    def _expect_subscription_expiry(self, channel: str, claims: Claims | None) -> None:
        known = self._subscriptions.get(channel)
        if known is None:
            return
        if known.expiry is not None:
            known.expiry.cancel()
            known.expiry = None
        ttl = self._ttl(claims)
        if ttl is not None:
            known.expiry = self.server.later(
                self, max(0.0, ttl) + self.server.tokens.grace,
                lambda: self._push_unsubscription(channel, codes.SUBSCRIPTION_EXPIRED))

    def _do_refresh(self, number: int, request: Request) -> bytes:
        token = wire.text_of(request, "token")
        if not token or not self._refreshable:
            raise CloseConnection(codes.BAD_REQUEST)
        claims = self._checked_claims(lambda tokens: tokens.connection(token))
        if claims.user != self.user_id:
            raise CloseConnection(codes.INVALID_TOKEN)
        self.info = claims.info if claims.info is not None else self.info
        self._expect_expiry(claims)
        return encode_json({"client": self.client, **self._expiry(claims)})

    def _do_sub_refresh(self, number: int, request: Request) -> bytes:
        channel = self._channel_of(request)
        token = wire.text_of(request, "token")
        known = self._subscriptions.get(channel)
        if known is None:
            raise codes.permission_denied()
        if not known.from_token:
            raise CloseConnection(codes.BAD_REQUEST)
        if not token:
            raise codes.bad_request()
        claims = self._subscription_claims(token, channel)
        known.info = claims.info if claims.info is not None else known.info
        self._expect_subscription_expiry(channel, claims)
        return encode_json(self._expiry(claims))

    # What is asked of a channel

    def _do_publish(self, number: int, request: Request) -> bytes:
        channel = self._channel_of(request)
        if request.get("data") is None:
            raise codes.bad_request()
        self._check(self.allows_publish, channel, request["data"])
        self._publish(channel, request["data"])
        return b"{}"

    def _do_presence(self, number: int, request: Request) -> bytes:
        channel = self._asked_presence(request)
        found = self.server.presence(channel)
        room = self.server.settings.max_outbox // REPLY_SHARE
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
        stats = self.server.presence_stats(self._asked_presence(request))
        return encode_json({"num_clients": stats.clients, "num_users": stats.users})

    def _asked_presence(self, request: Request) -> str:
        channel = self._channel_of(request)
        self._check(self.allows_presence, channel)
        if not self.server.rule(channel).keeps_presence:
            raise codes.not_available()
        return channel

    def _do_history(self, number: int, request: Request) -> bytes:
        channel = self._channel_of(request)
        limit = wire.whole(request, "limit", -(1 << 31), (1 << 31) - 1)
        reverse = wire.flag_of(request, "reverse")
        asked = request.get("since")
        if asked is not None and not isinstance(asked, dict):
            raise CloseConnection(codes.BAD_REQUEST)
        since = None if asked is None else wire.position_of(asked)
        self._check(self.allows_history, channel)
        if not self.server.rule(channel).history:
            raise codes.not_available()
        page = self.server.history(channel, None if limit < 0 else limit, since, reverse)
        if since is not None and not page.recovered:
            raise codes.unrecoverable()
        return self._history_result(page)

    def _history_result(self, page: Page) -> bytes:
        """Return a page, or as much of its beginning as fits a reply: the client asks on.

        Raises:
            CommandError: 106: not even the first publication fits.
        """
        room = self.server.settings.max_outbox // REPLY_SHARE
        parts: list[bytes] = []
        for publication in page.publications:
            parts.append(wire.encoded_publication(publication))
            room -= len(parts[-1])
            if room < 0:
                del parts[-1]
                break
        if page.publications and not parts:
            raise codes.limit_exceeded()
        top = encode_json({"offset": page.top.offset, "epoch": page.top.epoch})
        return b'{"publications":[' + b",".join(parts) + b"]," + top[1:]

    # What belongs to no channel

    def _do_ping(self, number: int, request: Request) -> bytes:
        raise codes.not_available()

    def _do_rpc(self, number: int, request: Request) -> bytes:
        method = wire.text_of(request, "method")
        answer = self._call(self.rpc, method, request.get("data"))
        try:
            result = b"{}" if answer is None else b'{"data":%s}' % encode_json(answer)
        except InvalidData:
            logger.error("Id %r: rpc returned what JSON cannot hold", self.Id)
            raise codes.internal() from None
        if len(result) > self.server.settings.max_outbox // REPLY_SHARE:
            raise codes.limit_exceeded()
        return result

    def _do_send(self, number: int, request: Request) -> None:
        self._call(self.message, request.get("data"))
