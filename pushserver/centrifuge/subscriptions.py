"""The channels that one client is in: how it joins them, with what it has missed, and leaves."""
from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ..channels.node import Queue, JoinRequest
from ..channels.presence import Info
from ..channels.publication import Page, Position, Publication
from ..channels.rules import RESUMING
from ..errors import ConnectionClosed
from ..runtime.runtime import DelayedJob
from ..tokens import Claims
from ..wire.payloads import encode_json
from . import errors
from .errors import CloseConnection, CommandError
from .expiry import at_end, checked_claims, ttl
from .session import ANNOUNCED_FOR_A_UNIT, Session
from .values import SubRefreshRequest, SubRefreshResult, SubscribeRequest, SubscribeResult

SMALL_NUMBER = 8
"""Channels that each connection may be in, even if all together are in too many."""

UNCONNECTED, CONNECTING, CONNECTED = range(3)
"""States: no ``connect`` yet; its answer is in progress; the client has the answer."""


class Subscription:
    """What is known of one channel that a client is in.

    Attributes:
        info: what others in this channel see of the client.
        expiry: the job that ends it some time after its token expires, or None.
        from_token: it was made with a token that expires, and can be refreshed.
        is_behind: the client is yet to get some of what it has missed.
        over: why the client is no longer in the channel, or None.
    """

    __slots__ = ("info", "expiry", "from_token", "is_behind", "over")

    def __init__(self, claims: Claims | None = None) -> None:
        self.info = claims.info if claims else None
        self.from_token = claims is not None and claims.expires is not None
        self.expiry: DelayedJob | None = None
        self.is_behind = False
        self.over: CommandError | None = None


class Demand(NamedTuple):
    """A channel that the site subscribes a client to; see ``CentrifugeConnection.subscribe``."""

    channel: str
    since: Position | None
    info: Any
    data: bytes | None


class Subscriptions:
    """Keep the channels of one client.

    Its commands change them on a worker thread, the site from any.
    """

    __slots__ = ("_session", "_known", "_lock", "_state", "_at_start", "_late")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Subscription] = {}
        self._lock = threading.Lock()           # for the next three
        self._state = UNCONNECTED
        self._at_start: dict[str, None] = {}
        self._late: dict[str, Demand] = {}      # made while connecting; done after it

    def __repr__(self) -> str:
        return f"<Subscriptions {', '.join(self._known)}>"

    def info(self, channel: str) -> Info:
        """Return what others in a channel see of the client."""
        found = self._session.client.presence_info()
        known = self._known.get(channel)
        return found if known is None else found._replace(channel=known.info)

    def cancel(self) -> None:
        """Cancel what would happen when tokens expire: the connection has ended."""
        for known in tuple(self._known.values()):
            if known.expiry is not None:
                known.expiry.cancel()

    # At the start

    def add_at_start(self, channels: Iterable[str]) -> None:
        """Add channels that the client joins when it connects."""
        with self._lock:
            self._at_start.update(dict.fromkeys(channels))

    def start(self, asked: Mapping[str, Position | None],
              reply: Callable[[dict[str, SubscribeResult]], bytes]) -> None:
        """Enter the channels that the client is in from the start, and answer ``connect``.

        Args:
            asked: the last position that the client has seen of each channel, by name.
            reply: makes the answer from the results of the subscriptions.

        Raises:
            CloseConnection: 3501: there are too many channels. 3010: there was a hole.
        """
        with self._lock:
            self._state, channels = CONNECTING, tuple(self._at_start)
        if len(channels) > self._most:
            raise CloseConnection(errors.MALFORMED)
        requests = [JoinRequest(channel, asked.get(channel)) for channel in channels]
        mine = {channel: Subscription() for channel in channels}
        self._known.update(mine)

        def prepare(pages: Sequence[Page]) -> tuple[Queue, Sequence[Position | None]]:
            results, reached = self._results(requests, pages)
            for channel, position in zip(channels, reached):
                mine[channel].is_behind = position is not None
            answer = reply(results)
            return lambda *newer: self._start(answer, channels, newer), reached

        handle = self._session.handle
        if not handle.node.join(handle.link, requests, self.info, prepare):
            raise CloseConnection(errors.INSUFFICIENT_STATE)
        with self._lock:
            self._state, late = CONNECTED, self._late
        for channel, subscription in mine.items():
            self._follow(channel, subscription)
        for demand in late.values():
            self._push(demand)

    def _results(self, requests: Sequence[JoinRequest], pages: Sequence[Page]
                 ) -> tuple[dict[str, SubscribeResult], list[Position | None]]:
        room = self._session.room
        results, reached = {}, []
        for (channel, since), page in zip(requests, pages):
            results[channel], position = self._result(channel, self._shown(channel, page), since,
                                                      room)
            room -= sum(map(len, results[channel].publications))
            reached.append(position)
        return results, reached

    def _start(self, answer: bytes, channels: Sequence[str],
               newer: Sequence[Iterable[Publication]]) -> None:
        session = self._session
        session.connected = True
        codec = session.codec
        session.handle.admit(codec.connected, codec.is_binary, answer)
        for channel, publications in zip(channels, newer):
            self._put(channel, publications)

    # Commands

    def subscribe(self, number: int, request: SubscribeRequest) -> None:
        """Subscribe the client to a channel, and answer it.

        Raises:
            CommandError, CloseConnection: see ``docs/protocol.md``.
        """
        session, channel, since = self._session, request.channel, request.since
        if channel in self._known:
            raise errors.already_subscribed()
        self._check_room(channel)
        claims = self._claims(request.token, channel) if request.token else None
        if claims is None:
            session.check(session.client.allows_subscribe, channel)

        def prepare(page: Page) -> tuple[Queue, Position | None]:
            result, reached = self._result(channel, self._shown(channel, page), since, session.room,
                                           claims, must_recover=request.must_recover)
            return lambda newer: answer(result, newer), reached

        def answer(result: SubscribeResult, newer: Iterable[Publication]) -> None:
            session.reply(number, result, now=True)
            self._put(channel, newer)

        mine = Subscription(claims)
        joined = self._enter(channel, since, mine, prepare, claims)
        if mine.over is not None and not joined:    # its right has ended meanwhile
            raise mine.over
        if joined is None:
            raise CloseConnection(errors.INSUFFICIENT_STATE)
        if not joined:
            raise errors.already_subscribed()
        self.charge_announcing(channel)

    def charge_announcing(self, channel: str) -> None:
        """Count that the others were told, if they are, that the client has come or gone."""
        if self._session.handle.node.rule(channel).join_leave:
            self._session.charge_reaching(channel, ANNOUNCED_FOR_A_UNIT)

    @property
    def _most(self) -> int:
        return self._session.handle.context.settings.max_channels_per_connection

    def _check_room(self, channel: str) -> None:
        """Refuse a channel if this client, or all together, are in too many."""
        context, count = self._session.handle.context, len(self._known)
        if count >= self._most:
            raise errors.limit_exceeded()
        hub = context.hub
        if count >= SMALL_NUMBER and hub.channel_count >= context.settings.max_channels \
                and not hub.has_channel(channel):
            raise errors.limit_exceeded()

    def leave(self, channel: str) -> bool:
        """Remove the client from a channel; tell whether it was in it."""
        self._forget(channel)
        session = self._session
        return session.handle.unsubscribe(channel, session.client.client)

    def refresh(self, request: SubRefreshRequest) -> SubRefreshResult:
        """Accept a new token for a channel.

        Raises:
            CommandError, CloseConnection: see ``docs/protocol.md``.
        """
        known = self._known.get(request.channel)
        if known is None:
            raise errors.permission_denied()
        if not known.from_token:
            raise CloseConnection(errors.MALFORMED)
        if not request.token:
            raise errors.bad_request()
        claims = self._claims(request.token, request.channel)
        known.info = claims.info if claims.info is not None else known.info
        self._expect_expiry(request.channel, known, claims)
        if known.over is not None:
            raise known.over
        return SubRefreshResult(ttl(self._session, claims))

    # On the site's demand

    def demand(self, channel: str, since: Position | None, info: Any, data: Any) -> bool:
        """Subscribe the client to a channel: from the start, or now if it is connected.

        Returns:
            False if it was already in it, or has left.

        Raises:
            InvalidData: JSON cannot hold ``info`` or ``data``.
            MessageTooLarge: they are too large.
            ConnectionClosed: the connection has ended.
        """
        extra = None if data is None else encode_json(data)
        self._session.handle.check_size(len(encode_json(info)) + len(extra or b""))
        demand = Demand(channel, since, info, extra)
        with self._lock:
            if self._state != CONNECTED:
                is_new = channel not in self._at_start and channel not in self._late
                if is_new and self._state == UNCONNECTED:
                    self._at_start[channel] = None
                elif is_new:
                    self._late[channel] = demand
                return is_new
        return self._push(demand)

    def _push(self, demand: Demand) -> bool:
        """Subscribe a connected client to a channel, and tell it so."""
        session = self._session
        channel, since, info, data = demand

        def prepare(page: Page) -> tuple[Queue, Position | None]:
            result, start = self._result(channel, page, since, 0)   # what was missed follows
            told = session.codec.subscribed(channel, result._replace(
                recovered=False, was_recovering=False, data=data))
            missed, reached = self._pushes(channel, page, start, session.room // 2) \
                if start and not session.is_ahead else ([], start)
            return lambda newer: tell(told, missed, newer), reached

        def tell(told: bytes, missed: Iterable[bytes], newer: Iterable[Publication]) -> None:
            session.put(told, *missed)
            self._put(channel, newer)

        mine = Subscription(Claims(session.client.user_id, info=info))
        return bool(self._enter(channel, since, mine, prepare))

    def push_out(self, channel: str, code: int, reason: str) -> bool:
        """Remove the client from a channel and tell it so; False if it was not in it."""
        with self._lock:
            if self._state == UNCONNECTED:
                return self._at_start.pop(channel, self) is None
        if not self.leave(channel):
            return False
        self._tell_out(channel, code, reason)
        return True

    def lost(self, channel: str) -> None:
        """Tell the client to subscribe again: it was removed because publications were lost."""
        session = self._session
        if session.handle.is_in(channel):
            return      # it has left and come back before this
        is_told = channel in self._known    # else it has left by itself
        self._forget(channel)
        session.handle.node.left_channel(channel, session.client.client, vanished=is_told)
        if is_told:
            self._tell_out(channel, *errors.INSUFFICIENT_STATE_IN_CHANNEL)

    def _tell_out(self, channel: str, code: int, reason: str) -> None:
        self._session.tell(self._session.codec.unsubscribed(channel, code, reason))

    # For all of these

    def _enter(self, channel: str, since: Position | None, mine: Subscription,
               prepare: Callable[[Page], tuple[Queue, Position | None]],
               claims: Claims | None = None) -> bool | None:
        """Enter a channel; see ``Node.join``. Also False if another thread was first."""
        def answer(pages: Sequence[Page]) -> tuple[Queue, Sequence[Position | None]]:
            queue, reached = prepare(pages[0])
            mine.is_behind = reached is not None
            return queue, [reached]

        if self._known.setdefault(channel, mine) is not mine:
            return False
        joined: bool | None = False
        try:
            if claims is not None:  # first: the history may take its time
                self._expect_expiry(channel, mine, claims)
            handle = self._session.handle
            requests = [JoinRequest(channel, since)]
            joined = handle.node.join(handle.link, requests, self.info, answer)
        finally:
            if not joined and self._known.get(channel) is mine:
                self._forget(channel, None)
        if joined:
            self._follow(channel, mine)
        return joined

    # What was missed and did not fit the reply

    def _follow(self, channel: str, known: Subscription) -> None:
        """Push the rest of what the client has missed, as it reads."""
        if known.is_behind:
            self._session.handle.soon(partial(self._catch_up, channel, known))

    def _catch_up(self, channel: str, known: Subscription, room: int = 0) -> None:
        """Push some of what the client has missed, unless it has much to read; then go on.

        Args:
            channel: its name.
            known: to see whether the client has left meanwhile.
            room: the outbox has so much for a publication that takes more than others.
        """
        session, needed = self._session, 0
        if self._known.get(channel) is not known:
            return
        if session.is_ahead:
            session.hold(partial(self._catch_up, channel, known))
            return

        def prepare(pages: Sequence[Page]) -> tuple[Queue, Sequence[Position | None]]:
            nonlocal needed
            page, = pages
            start = Position(page.top.offset - len(page.publications), page.top.epoch)
            missed, reached = self._pushes(channel, page, start, session.room // 2)
            needed = sum(map(len, missed))
            if needed > max(session.room, room):
                missed, reached = [], start
            known.is_behind = reached is not None
            return lambda newer: push(missed, newer), [reached]

        def push(missed: Iterable[bytes], newer: Iterable[Publication]) -> None:
            session.put(*missed)
            self._put(channel, newer)

        if session.handle.node.catch_up(session.handle.link, channel, prepare) is None:
            self.lost(channel)
        elif needed > max(session.room, room):
            session.hold(partial(self._catch_up, channel, known, needed), needed)
        else:
            self._follow(channel, known)

    def _pushes(self, channel: str, page: Page, start: Position,
                room: int) -> tuple[list[bytes], Position | None]:
        """Return the pushes of the first publications that fit, but at least of one.

        Returns:
            Them, and the position that they reach if that is not the page's end.
        """
        found: list[bytes] = []
        for publication in page.publications:
            push = self._session.codec.publication(channel, publication)[1]
            room -= len(push)
            if room < 0 and found:
                return found, start._replace(offset=start.offset + len(found))
            found.append(push)
        return found, None

    def _forget(self, channel: str,
                why: Callable[[], CommandError] | None = errors.permission_denied) -> None:
        known = self._known.pop(channel, None)
        if known is not None:
            known.over = why and why()
            if known.expiry is not None:
                known.expiry.cancel()

    def _claims(self, token: str, channel: str) -> Claims:
        user = self._session.client.user_id
        return checked_claims(self._session,
                              lambda tokens: tokens.subscription(token, channel, user),
                              errors.permission_denied())

    def _expect_expiry(self, channel: str, known: Subscription, claims: Claims) -> None:
        """Remove the client some time after its token expires, unless it has sent a new one."""
        if known.expiry is not None:
            known.expiry.cancel()
        known.expiry = at_end(self._session, claims, lambda: self._expire(channel, known))

    def _expire(self, channel: str, known: Subscription) -> None:
        """Remove the client because its token has expired: at once, on the loop's thread."""
        if self._known.get(channel) is not known:
            return
        self._forget(channel, errors.token_expired)
        with suppress(ConnectionClosed):    # it is ending at this moment
            handle = self._session.handle
            handle.cut(channel)
            self._tell_out(channel, *errors.SUBSCRIPTION_EXPIRED)
            handle.soon(lambda: self._left(channel))

    def _left(self, channel: str) -> None:
        """Let the others know, unless the client has come back before this."""
        session = self._session
        if not session.handle.is_in(channel):
            session.handle.node.left_channel(channel, session.client.client, vanished=False)

    def _result(self, channel: str, page: Page, since: Position | None, room: int,
                claims: Claims | None = None, *, must_recover: bool = False
                ) -> tuple[SubscribeResult, Position | None]:
        """Return the result of a subscription, with the first of what the client has missed.

        Args:
            channel: its name.
            page: what the history returned.
            since: the last position the client has seen.
            room: bytes that the missed publications may take.
            claims: of the channel's token.
            must_recover: missed publications that are lost are an error.

        Returns:
            The result, and the position that it reaches if more was missed than fits.

        Raises:
            CommandError: 112: see ``must_recover``.
        """
        session = self._session
        result = SubscribeResult(None if claims is None else ttl(session, claims),
                                 was_recovering=since is not None)
        if not page.top.epoch:      # the channel has no history
            return result, None
        if must_recover and since is not None and not page.recovered:
            raise errors.unrecoverable()
        missed = session.fitting(page.publications, room)
        position = Position(page.top.offset - len(page.publications), page.top.epoch)
        left = len(missed) < len(page.publications)
        return result._replace(position=position, recovered=page.recovered, publications=missed), \
            position._replace(offset=position.offset + len(missed)) if left else None

    def _shown(self, channel: str, page: Page) -> Page:
        """Return what a client that resumes may see of what it has missed: all, or nothing."""
        session = self._session
        if not page.publications or session.handle.node.rule(channel).see_history == RESUMING \
                or session.call(session.client.allows_history, channel):
            return page
        return page._replace(publications=(), recovered=False)

    def _put(self, channel: str, publications: Iterable[Publication]) -> None:
        """Queue publications for the client."""
        session = self._session
        for publication in publications:
            session.handle.put(*session.codec.publication(channel, publication))
