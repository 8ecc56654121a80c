"""The push server without CherryPy: what a site pushes with."""
from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from typing import Any, Callable, Hashable, Iterable, Mapping, cast

from .channels.broker import Broker
from .channels.control import (Broadcast, DisconnectId, EndSession, RenameSession, SendToId,
                               SubscribeId, UnsubscribeId)
from .channels.delivery import Delivery
from .channels.hub import Hub
from .channels.made_once import Make
from .channels.memory_broker import MemoryBroker
from .channels.node import Node
from .channels.presence import Info, Stats
from .channels.publication import Page, Position, Publication
from .channels.rules import ChannelRule, checked_channel
from .connections.acceptor import Acceptor
from .connections.backpressure import CHANNEL, ID, TO_EVERYONE, Backpressure, To
from .connections.connection import Connection
from .connections.context import Events
from .connections.endings import Endings
from .connections.handle import check_size
from .connections.housekeeping import Housekeeping
from .connections.lifecycle import Lifecycle
from .connections.link import Link
from .connections.local import LocalConnections
from .connections.memory_limit import HISTORIES, QUEUED, MemoryLimit
from .errors import InvalidSetting
from .forks import ELSEWHERE, Unstarted
from .runtime.account import Account
from .runtime.runtime import Runtime
from .runtime.workers import Mailbox
from .settings import Settings
from .ticker import Ticker
from .tokens import Tokens
from .wire.disconnects import BY_SITE, NO_STATUS, NORMAL, checked_disconnect, is_final
from .wire.payloads import Data, encode_payload

MAX_KEY = 255
"""Characters of an idempotency key."""


class NoEvents:
    """Ignore all events; see ``Events``."""

    def opened(self, connection: Any) -> None:
        """See ``Events``."""

    def received(self, connection: Any, message: Any) -> None:
        """See ``Events``."""

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """See ``Events``."""


class EventRelay:
    """Pass events on, and tell the node which clients have left its channels."""

    def __init__(self, events: Events, node: Node[Link]) -> None:
        self.opened = events.opened
        self.received = events.received
        self._closed = events.closed
        self._node = node

    def closed(self, connection: Connection, code: int, reason: str) -> None:
        """See ``Events``."""
        try:
            self._closed(connection, code, reason)
        finally:
            vanished = code not in (NORMAL.code, NO_STATUS.code) and not is_final(code)
            self._node.left(connection.client if connection.has_client else None,
                            vanished=vanished)


class PushServer:
    """Push to connections, and run them.

    Any thread may call any method. Each returns at once, except ``stop``, which waits for at most
    ``drain_timeout``, and ``broadcast``, ``send`` and ``publish`` on a thread of the site's that
    is faster than clients read: they wait for at most ``publish_timeout``. One connection receives
    what one thread sent in the order in which it was sent. What is pushed before ``start`` or after
    ``stop`` reaches no one and raises nothing.

    A process that is forked while the server runs, as by ``multiprocessing``, has no connections.
    What needs them raises ``ForkedProcess`` there, until ``start`` starts a server of its own.

    Args:
        settings: see ``Settings``.
        channels: the channels' rules; see ``ChannelRule``. The first that matches applies.
        tokens: checks clients' tokens; None: no tokens are accepted.
        broker: keeps histories and connects this server with others; see ``Broker``. None: in
            memory, the only server.
        events: told about connections, on worker threads.
        on_death: called, on the loop's thread, if an error ends that thread.
    """

    def __init__(self, settings: Settings | None = None, *,
                 channels: Iterable[ChannelRule] = (), tokens: Tokens | None = None,
                 broker: Broker | None = None, events: Events | None = None,
                 on_death: Callable[[BaseException], None] = lambda error: None) -> None:
        if tokens is not None and not isinstance(tokens, Tokens):
            raise InvalidSetting(f"tokens is a {type(tokens).__name__}: use Tokens(secret=...)")
        self.settings = settings = settings or Settings()
        self.tokens = tokens
        self._rules = tuple(channels)
        self._own_broker = broker
        self._events = events or NoEvents()
        self._on_death = on_death
        self._lock = threading.Lock()   # for the tickers
        self._tickers: list[Ticker] = []
        self._build()
        self._expect_start()
        _servers.add(self)

    def _build(self) -> None:
        """Put the parts together."""
        settings = self.settings
        self._is_elsewhere = False      # the connections are another process's
        self._hub: Hub[Link] = Hub(max_connections=settings.max_connections,
                                   max_per_id=settings.max_connections_per_id,
                                   duplicates=settings.duplicates)
        self._delivery = Delivery()
        self._broker: Broker = self._own_broker \
            or MemoryBroker(max_made=settings.max_channels, max_bytes=settings.max_memory)
        self._housekeeping = Housekeeping()
        self._node = Node(self._hub, self._rules, self._broker, self._delivery,
                          self._housekeeping.expect_departures)
        endings = Endings()
        self._local = LocalConnections(self._hub, self._delivery, endings)
        self._lifecycle = Lifecycle(settings, self._hub, self._died)
        account = Account()
        self._memory = MemoryLimit(settings, account, self._hub)
        self._memory.hold(HISTORIES, self._broker)
        self._backpressure = Backpressure(settings)
        self._acceptor = Acceptor(settings, self.tokens, self._hub, self._node, account,
                                  self._backpressure, self._lifecycle, endings,
                                  EventRelay(self._events, self._node), self)

    def _expect_start(self) -> None:
        """Have pushes noticed that come before a start."""
        self._node = cast(Any, Unstarted(_started(self._node)))
        self._broker = cast(Any, Unstarted(_started(self._broker)))

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._hub)

    def __bool__(self) -> bool:
        """Be true: a server without connections is not nothing."""
        return True

    def __repr__(self) -> str:
        if self._is_elsewhere:
            return f"<{type(self).__name__} of another process>"
        return f"<{type(self).__name__} {self._lifecycle.state}, {len(self)} connections>"

    @property
    def failure(self) -> BaseException | None:
        """Return the error that ended the loop's thread, if one has."""
        return self._lifecycle.failure

    # Pushing

    def broadcast(self, data: Data) -> None:
        """Queue one message for every connection.

        Args:
            data: text, bytes-like, or anything that JSON can hold; at most ``max_outbox`` bytes.

        Raises:
            InvalidData: a message cannot hold this (a ``TypeError``); nothing was sent.
            MessageTooLarge: it has more bytes; nothing was sent.
            Overloaded: clients had no room for it within ``publish_timeout``; nothing was sent.
        """
        made = self._publication(data)
        reserved = self._backpressure.enter(TO_EVERYONE, made)
        try:
            self._broker.control.tell(Broadcast(made))
        finally:
            self._backpressure.leave(reserved)

    def send(self, Id: str, data: Data) -> int:
        """Queue one message for every connection of one Id; return how many there are.

        Raises:
            InvalidSetting: ``Id`` is not text.
            InvalidData, MessageTooLarge, Overloaded: see ``broadcast``.
        """
        made = self._publication(data)
        reserved = self._backpressure.enter(To(ID, checked_id(Id)), made)
        try:
            return self._broker.control.tell(SendToId(Id, made))
        finally:
            self._backpressure.leave(reserved)

    def publish(self, channel: str, data: Data, *, key: str | None = None,
                tags: Mapping[str, str] | None = None, remember: bool = True) -> Position:
        """Append one publication to a channel and queue it for every connection in it.

        Args:
            channel: 1 to 255 characters.
            data: see ``broadcast``.
            key: an idempotency key, at most 255 characters: a second publication to the channel
                under the same key within five minutes is not made.
            tags: names and values that clients of Centrifugo's protocol get with it.
            remember: False: only queue it, as in a channel without history.

        Returns:
            The publication's position (offset from 1, epoch), or that of the first one with this
            key. ``(0, "")`` in a channel without history.

        Raises:
            InvalidSetting: the channel's name, the key or the tags are invalid.
            InvalidData, MessageTooLarge, Overloaded: see ``broadcast``.
        """
        checked_channel(channel)
        if key is not None and (not isinstance(key, str) or not 0 < len(key) <= MAX_KEY):
            raise InvalidSetting(f"key is {key!r:.80}: use text of 1 to {MAX_KEY} characters")
        made = self._publication(data, tags=_encoded_tags(tags))
        reserved = self._backpressure.enter(To(CHANNEL, channel), made)
        try:
            return self._node.publish(channel, made, key, remember)
        finally:
            self._backpressure.leave(reserved)

    def _publication(self, data: Data, *, tags: bytes | None = None) -> Publication:
        """Encode what is pushed, once for all connections, and check it."""
        made = Publication.of(data, tags=tags)
        size = len(made.payload) + (len(tags) if tags else 0)
        if size > self.settings.max_outbox:
            check_size(size, self.settings.max_outbox)
        return made

    def every(self, seconds: float, make: Callable[[], Data],
              channel: str | None = None) -> Ticker:
        """Push what ``make`` returns at each whole multiple of an interval; return the ticker.

        It runs whenever the server does, until its ``stop`` is called.

        Args:
            seconds: the interval, by the wall clock.
            make: called just before the push, on a thread of its own.
            channel: where to publish; None: broadcast.

        Raises:
            InvalidSetting: the interval is not more than 0, or the channel's name is invalid.
        """
        push = self.broadcast if channel is None else partial(self.publish,
                                                              checked_channel(channel))
        ticker = Ticker(seconds, make, push, on_stop=self._forget_ticker)
        with self._lock:
            self._tickers.append(ticker)
        if self._lifecycle.is_running:
            ticker.start()
            if not self._lifecycle.is_running:  # it has just begun to stop
                ticker.halt()
        return ticker

    def _forget_ticker(self, ticker: Ticker) -> None:
        with self._lock:
            if ticker in self._tickers:
                self._tickers.remove(ticker)

    # What a channel remembers

    def rule(self, channel: str) -> ChannelRule:
        """Return the rule that applies to a channel."""
        return self._node.rule(checked_channel(channel))

    def history(self, channel: str, limit: int | None = None, since: Position | None = None,
                reverse: bool = False) -> Page:
        """Return a channel's history, the oldest publication first.

        Args:
            channel: its name.
            limit: the most publications; 0: none, only ``top``; None: all.
            since: only those after this position, or before it if reversed.
            reverse: the newest first.

        Returns:
            A page: ``publications`` (each with ``data``, ``offset``, ``time``), ``top``, the
            position of the newest, and ``recovered``, whether ``since`` was known and nothing
            between it and the publications is lost.

        Raises:
            InvalidSetting: the channel's name is invalid.
        """
        return self._node.history(checked_channel(channel), limit, since, reverse)

    def remove_history(self, channel: str) -> None:
        """Remove a channel's history; its offsets continue.

        Raises:
            InvalidSetting: the channel's name is invalid.
        """
        self._broker.remove_history(checked_channel(channel))

    # Who is there

    def ids(self) -> list[str]:
        """Return the connected Ids, the oldest first."""
        return self._hub.ids()

    def connections(self, Id: str | None = None) -> list[Connection]:
        """Return the connections of one Id, or all, the oldest first."""
        return self._local.everyone() if Id is None else self._local.of_id(checked_id(Id))

    def channels(self) -> dict[str, int]:
        """Return each channel in use with its number of connections."""
        return self._hub.channels()

    def presence(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client: ``client``, ``user``, ``connection``, ``channel``.

        If the channel's rule keeps presence, clients that vanished are included until their linger
        is over. If not, those that are connected are returned.

        Raises:
            InvalidSetting: the channel's name is invalid.
        """
        if self.rule(channel).keeps_presence:
            return dict(self._broker.presence.of(channel))
        return {info.client: info for info in self._local.infos(channel)}

    def presence_stats(self, channel: str) -> Stats:
        """Return how many ``clients`` and ``users`` are in a channel; see ``presence``."""
        if self.rule(channel).keeps_presence:
            return self._broker.presence.stats(channel)
        found = self.presence(channel).values()
        return Stats(len(found), len({info.user for info in found}))

    def stats(self) -> dict[str, Any]:
        """Return what this process has, as a dict that JSON can hold.

        Returns:
            ``connections`` and ``channels``: how many. ``memory``, in bytes: ``max``, which is
            ``max_memory``; ``held``, the sum of the others; ``outboxes``, what waits for clients;
            ``inboxes``, what they have sent and is not handled; ``histories``, all that a broker
            keeps in this process; ``heads``, the headers of requests, and what a front holds;
            ``queued``, what publishers have queued.
        """
        held = self._memory.held()
        return {"connections": len(self._hub), "channels": len(self._hub.channels()),
                "memory": {"max": self.settings.max_memory, "held": sum(held.values()), **held}}

    def disconnect(self, Id: str, code: int = BY_SITE.code, reason: str = BY_SITE.reason) -> int:
        """End the rights of every connection of one Id; return how many there were.

        From now on nothing is queued for them, and nothing that they have sent is handled. What was
        queued before goes out if the client takes it at once; then they are closed. A handshake of
        this Id that is in progress is refused.

        Args:
            code: the close code; 3505 tells the client not to reconnect.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: the code or the reason is invalid, or ``Id`` is not text.
        """
        disconnect = checked_disconnect(code, reason)
        return self._broker.control.tell(DisconnectId(checked_id(Id), *disconnect))

    def end_session(self, session: Hashable) -> int:
        """End the rights of the connections that ``bind_session`` has bound to a session.

        See ``disconnect``.

        Args:
            session: the session; with CherryPy's sessions, ``cherrypy.session.id``.

        Returns:
            How many there were.
        """
        return 0 if session is None else self._broker.control.tell(EndSession(session))

    def _rename_session(self, old: Hashable, new: Hashable) -> None:
        """Have ``end_session`` find a session's connections under its new id."""
        self._broker.control.tell(RenameSession(old, new))

    def subscribe_id(self, Id: str, channel: str) -> int:
        """Subscribe every connection of one Id to a channel; return how many were not in it before.

        Raises:
            InvalidSetting: ``Id`` is not text, or the channel's name is invalid.
        """
        checked_channel(channel)
        return self._broker.control.tell(SubscribeId(checked_id(Id), channel))

    def unsubscribe_id(self, Id: str, channel: str) -> int:
        """Unsubscribe every connection of one Id from a channel; return how many were in it.

        Raises:
            InvalidSetting: ``Id`` is not text, or the channel's name is invalid.
        """
        checked_channel(channel)
        return self._broker.control.tell(UnsubscribeId(checked_id(Id), channel))

    # Running

    def start(self) -> None:
        """Start the threads. Does nothing if they already run."""
        if self._is_elsewhere:
            self._build()
        self._node, self._broker = _started(self._node), _started(self._broker)
        if self._lifecycle.start(self._begin):
            for ticker in self._all_tickers():
                ticker.start()

    def _begin(self, runtime: Runtime) -> None:
        self._delivery.begin(runtime.loop.put, runtime.loop.wake,
                             partial(runtime.run, Mailbox()))
        try:
            self._broker.control.start(self._local.obey)
            self._node.start()
        except BaseException:
            self._end()
            raise
        self._housekeeping.begin(runtime, self._node)
        self._memory.hold(QUEUED, runtime.loop)
        self._memory.begin(runtime)
        self._backpressure.begin(runtime)

    def drain(self) -> None:
        """Accept no more connections and begin to close all with 1001; ``stop`` must follow."""
        self._lifecycle.drain()
        self._backpressure.end()
        for ticker in self._all_tickers():
            ticker.halt()

    def _all_tickers(self) -> tuple[Ticker, ...]:
        with self._lock:
            return tuple(self._tickers)

    def stop(self) -> None:
        """Close all connections and end the threads, within ``drain_timeout``."""
        self.drain()
        self._lifecycle.stop(self._end)

    def _end(self) -> None:
        self._node.stop()
        self._broker.control.stop()
        self._delivery.end()

    def _died(self, error: BaseException) -> None:
        self._delivery.end()
        self._backpressure.end()
        self._on_death(error)

    def _abandon(self) -> None:
        """Leave the connections to the parent, in a process that was forked from it.

        Only the thread that forked is there. Others may have held any lock, so none is taken.
        """
        if self._lifecycle.is_stopped:
            self._expect_start()
            return
        links = self._hub.abandon(ELSEWHERE)
        self._lifecycle.abandon(links)
        self._lock = threading.Lock()
        for ticker in self._tickers:
            ticker.abandon()
        self._build()   # a stop finds nothing to stop
        self._is_elsewhere = True
        self._hub = self._broker = self._node = self._local = self._acceptor = ELSEWHERE
        self._memory = ELSEWHERE


_servers: weakref.WeakSet[PushServer] = weakref.WeakSet()


def _abandon_all() -> None:
    for server in tuple(_servers):
        server._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def acceptor_of(server: PushServer) -> Acceptor:
    """Return a server's acceptor, for the HTTP side of this package."""
    return server._acceptor


def made_of_presence(server: PushServer, channel: str, make: Make) -> bytes:
    """Return what is made of a channel's presence, for the API; made once until that changes."""
    if not server.rule(channel).keeps_presence:
        return make(server.presence(channel))
    node = server._node
    return node.made_of_presence.of(channel, node.broker.presence.of(channel), make)


def checked_id(Id: str) -> str:
    """Return an Id that a site has passed; a number, say, would silently match no one.

    Raises:
        InvalidSetting: it is not text.
    """
    if not isinstance(Id, str):
        raise InvalidSetting(f"Id is {Id!r:.80}: use text, as in the URL")
    return Id


def _started(part: Any) -> Any:
    return part.part if isinstance(part, Unstarted) else part


def _encoded_tags(tags: Mapping[str, str] | None) -> bytes | None:
    if not tags:
        return None
    if not isinstance(tags, Mapping) or not all(
            isinstance(text, str) for item in tags.items() for text in item):
        raise InvalidSetting(f"tags are {tags!r:.80}: use a dict of text to text")
    return encode_payload(dict(tags))[1]
