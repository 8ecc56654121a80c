"""The channels that one client is in: how it comes in, with what it has missed, and out again."""
from __future__ import annotations

import threading
from typing import Any, Callable, Iterable, Sequence

from ..channels.publication import Page, Position, Publication
from ..channels.node import Queue, Wanted
from ..channels.presence import Info
from ..tokens import Claims
from ..wire.frames import OPCODE_TEXT, encode_json, frame
from . import errors as codes
from . import json_codec as wire
from .errors import CloseConnection
from .expiry import at_end, checked, expiry
from .json_codec import CENTRIFUGE, Request
from .session import Session

MAX_CHANNELS = 128
"""Channels that one connection may be in."""


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


class Subscriptions:
    """Keep the channels of one client.

    Its commands change them on a worker thread, the site from any.
    """

    __slots__ = ("_session", "_known", "_at_start", "_gate")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Subscription] = {}
        self._at_start: dict[str, None] = {}
        self._gate = threading.Lock()   # held while the channels from the start are entered

    def __repr__(self) -> str:
        return f"<Subscriptions {', '.join(self._known)}>"

    def info(self, channel: str) -> Info:
        """Return what others in a channel see of the client."""
        found: Info = self._session.connection.presence_info()
        known = self._known.get(channel)
        return found if known is None else found._replace(channel=known.info)

    def cancel(self) -> None:
        """Take back what is to be done when tokens expire: the connection has ended."""
        for known in tuple(self._known.values()):
            if known.expiry is not None:
                known.expiry.cancel()

    # At the start

    def add_at_start(self, channels: Iterable[str]) -> bool | None:
        """Name channels that the client is to be in when it connects.

        Returns:
            True if any of them is new; None: it is connected already.
        """
        with self._gate:
            if self._session.connected:
                return None
            before = len(self._at_start)
            self._at_start.update(dict.fromkeys(channels))
            return len(self._at_start) > before

    def start(self, asked: Any, answer: Callable[[bytes], bytes]) -> None:
        """Enter the channels from the start, and queue the answer to ``connect``.

        Args:
            asked: what the client has seen of channels, by their names, as it sent it.
            answer: makes the frame of the results of the subscriptions.

        Raises:
            CloseConnection: what is asked for is malformed, or too many channels. 3010: there
                was a hole.
        """
        if not isinstance(asked, dict):
            raise CloseConnection(codes.BAD_REQUEST)
        session = self._session
        with self._gate:
            if len(self._at_start) > MAX_CHANNELS:
                raise CloseConnection(codes.BAD_REQUEST)
            wanted = [(channel, _asked_position(asked.get(channel)))
                      for channel in self._at_start]
            for channel, _ in wanted:
                self._known[channel] = Subscription()

            def prepare(pages: Sequence[Page]) -> Queue:
                data = answer(self._results(wanted, pages))
                return lambda newer: self._start(data, wanted, newer)

            if not session.server.join_connection(session.connection, wanted, self.info, prepare):
                raise CloseConnection(codes.INSUFFICIENT_STATE)

    def _results(self, wanted: Sequence[Wanted], pages: Sequence[Page]) -> bytes:
        room = self._session.room // max(1, len(wanted))
        return b",".join(encode_json(channel) + b":" + self._result(channel, page, since, room)
                         for (channel, since), page in zip(wanted, pages))

    def _start(self, data: bytes, wanted: Sequence[Wanted],
               newer: Sequence[Iterable[Publication]]) -> None:
        session = self._session
        session.connected = True
        session.server.admit_connection(session.connection, CENTRIFUGE, data)
        for (channel, _), publications in zip(wanted, newer):
            self._queue(channel, publications)

    # Commands

    def subscribe(self, number: int, request: Request) -> None:
        """Let the client into a channel, and answer it.

        Raises:
            CommandError, CloseConnection: see ``docs/protocol.md``.
        """
        session, channel = self._session, wire.channel_of(request)
        wire.check_plain(request)
        since = _asked_position(request)
        token = wire.text_of(request, "token")
        reject = bool(wire.whole(request, "flag", 0, wire.MAX_OFFSET) & wire.REJECT_UNRECOVERED)
        if channel in self._known:
            raise codes.already_subscribed()
        if len(self._known) >= MAX_CHANNELS:
            raise codes.limit_exceeded()
        claims = None
        if token:
            claims = self._claims(token, channel)
        else:
            session.check(session.connection.allows_subscribe, channel)

        def prepare(pages: Sequence[Page]) -> Queue:
            page, = pages
            result = self._result(channel, page, since, session.room, claims, reject)
            reply = wire.reply(number, "subscribe", result)
            return lambda newer: answer(reply, newer)

        def answer(reply: bytes, newer: Sequence[Iterable[Publication]]) -> None:
            session.reply(reply)
            session.flush()
            self._queue(channel, newer[0])

        joined = self._enter(channel, since, claims, prepare)
        if joined is None:
            raise CloseConnection(codes.INSUFFICIENT_STATE)
        if not joined:
            raise codes.already_subscribed()
        self._expect_expiry(channel, claims)

    def unsubscribe(self, request: Request) -> None:
        """Take the client out of a channel, as it asks for."""
        self._leave(wire.channel_of(request))

    def refresh(self, request: Request) -> bytes:
        """Take a newer token for a channel; return the result.

        Raises:
            CommandError, CloseConnection: see ``docs/protocol.md``.
        """
        channel = wire.channel_of(request)
        wire.check_plain(request)
        token = wire.text_of(request, "token")
        known = self._known.get(channel)
        if known is None:
            raise codes.permission_denied()
        if not known.from_token:
            raise CloseConnection(codes.BAD_REQUEST)
        if not token:
            raise codes.bad_request()
        claims = self._claims(token, channel)
        known.info = claims.info if claims.info is not None else known.info
        self._expect_expiry(channel, claims)
        return encode_json(expiry(self._session, claims))

    # On the site's demand

    def push(self, channel: str, since: Position | None, info: Any, data: Any) -> bool:
        """Put a connected client into a channel, and tell it so.

        Returns:
            False if it was in it, or has left.

        Raises:
            InvalidData: JSON cannot hold ``info`` or ``data``.
            MessageTooLarge: they are too large.
        """
        extra = None if data is None else encode_json(data)
        self._session.server.check_size(len(encode_json(info)) + len(extra or b""))

        def prepare(pages: Sequence[Page]) -> Queue:
            page, = pages
            missed = self._pushable(page)
            if missed and since is not None:  # they follow, each by itself
                page = page._replace(top=page.top._replace(offset=since.offset))
            told = self._result(channel, page._replace(publications=(), recovered=False), None, 0)
            if extra is not None:
                told = b'{"data":%s%s' % (extra, b"," + told[1:] if told != b"{}" else b"}")
            return lambda newer: tell(frame(OPCODE_TEXT, wire.push(channel, "subscribe", told)),
                                      missed, newer)

        def tell(subscribed: bytes, missed: Sequence[Publication],
                 newer: Sequence[Iterable[Publication]]) -> None:
            self._session.queue(subscribed)
            self._queue(channel, missed)
            self._queue(channel, newer[0])

        claims = Claims(self._session.connection.user_id, info=info)
        return bool(self._enter(channel, since, claims, prepare))

    def _pushable(self, page: Page) -> Sequence[Publication]:
        """Return what was missed, if it is all there and fits an outbox."""
        size = sum(len(wire.encoded_publication(one)) for one in page.publications)
        return page.publications if page.recovered and size <= self._session.room else ()

    def push_out(self, channel: str, why: tuple[int, str]) -> bool:
        """Take the client out of a channel and tell it so; False if it was not in it."""
        if not self._leave(channel):
            return False
        contents = encode_json({"code": why[0], "reason": why[1]})
        self._session.queue(frame(OPCODE_TEXT, wire.push(channel, "unsubscribe", contents)))
        return True

    # For all of these

    def _enter(self, channel: str, since: Position | None, claims: Claims | None,
               prepare: Callable[[Sequence[Page]], Queue]) -> bool | None:
        """Enter a channel; see ``Exchange.join``. False also if another thread was first."""
        mine = Subscription(claims)
        if self._known.setdefault(channel, mine) is not mine:
            return False
        joined: bool | None = False
        try:
            joined = self._session.server.join_connection(
                self._session.connection, [(channel, since)], self.info, prepare)
        finally:
            if not joined:
                self._known.pop(channel, None)
        return joined

    def _leave(self, channel: str) -> bool:
        known = self._known.pop(channel, None)
        if known is not None and known.expiry is not None:
            known.expiry.cancel()
        session = self._session
        left: bool = session.server.unsubscribe_connection(session.connection, channel)
        return left

    def _claims(self, token: str, channel: str) -> Claims:
        user = self._session.connection.user_id
        return checked(self._session, lambda tokens: tokens.subscription(token, channel, user),
                       codes.permission_denied())

    def _expect_expiry(self, channel: str, claims: Claims | None) -> None:
        """Take the client out some time after its token, unless it has shown a new one."""
        known = self._known.get(channel)
        if known is None:
            return
        if known.expiry is not None:
            known.expiry.cancel()
        known.expiry = at_end(self._session, claims,
                              lambda: self.push_out(channel, codes.SUBSCRIPTION_EXPIRED))

    def _remembers(self, channel: str) -> bool:
        return bool(self._session.server.rule(channel).history)

    def _result(self, channel: str, page: Page, since: Position | None, room: int,
                claims: Claims | None = None, reject: bool = False) -> bytes:
        """Return what a client is told of its place in a channel, with what it has missed.

        Args:
            room: bytes that this may take; what does not fit is told to be lost.
            reject: that is an error then.

        Raises:
            CommandError: 112: see ``reject``.
        """
        result: dict[str, Any] = expiry(self._session, claims)
        publications: list[bytes] = []
        if self._remembers(channel):
            recovered = page.recovered
            publications = [wire.encoded_publication(one) for one in page.publications]
            if sum(map(len, publications)) > room:
                recovered, publications = False, []
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

    def _queue(self, channel: str, publications: Iterable[Publication]) -> None:
        for publication in publications:
            self._session.queue(CENTRIFUGE.publication(channel, publication))


def _asked_position(request: Any) -> Position | None:
    if request is None:
        return None
    if not isinstance(request, dict):
        raise CloseConnection(codes.BAD_REQUEST)
    return wire.position_of(request) if wire.flag_of(request, "recover") else None
