"""The push server without CherryPy: hub, loop, workers and broker wired together."""
from __future__ import annotations

import logging
import socket
import threading
import time
from functools import partial
from typing import Any, Callable, Collection, Hashable, Iterable

from .channels.publication import Publication
from .channels.hub import Groups, grouped
from .channels.rules import ChannelRule, checked_channel
from .connections.connection import Connection
from .connections.keepalive import HEARTBEAT
from .connections.link import Link
from .connections.publishing import Publishing, checked_id
from .errors import HandshakeRefused, InvalidSetting
from .runtime.loop import Loop
from .runtime.outbox import Head
from .runtime.runtime import Events, Home
from .runtime.sockets import lend, loop_socket
from .runtime.workers import Workers
from .settings import Settings
from .ticker import Ticker
from .tokens import Tokens
from .wire.disconnects import (ABNORMAL, BY_SITE, EXPIRED, NO_STATUS, NORMAL, REPLACED,
                               SHUTTING_DOWN, Disconnect, checked_disconnect, is_final)
from .wire.frames import Data, header

logger = logging.getLogger(__name__)

WORTH_A_HEAD = 64 * 1024
"""Bytes of a payload that are worth not being copied behind their header."""

LEAVE_SHARE = 0.8
"""The part of ``drain_timeout`` that clients have; the rest is for ``closed`` and the threads."""

LAST_CALLBACKS = 0.25
"""Seconds that workers have to end even when the HTTP server's stop took all of the time."""


class NoEvents:
    """Tell nobody; see ``Events``."""

    def opened(self, connection: Any) -> None:
        """See ``Events``."""

    def received(self, connection: Any, message: Any) -> None:
        """See ``Events``."""

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """See ``Events``."""


class _Telling:
    """Tell of connections as ``Events``, and note who has left its channels."""

    def __init__(self, events: Events, left: Callable[[Any, int], None]) -> None:
        self.opened = events.opened
        self.received = events.received
        self._closed = events.closed
        self._left = left

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """See ``Events``."""
        try:
            self._closed(connection, code, reason)
        finally:
            self._left(connection, code)


class PushServer(Publishing):
    """Push to connections, and run them.

    Every method may be called from any thread and returns at once; only ``stop`` waits, for at
    most ``drain_timeout``. One connection receives what one thread sent in the order in which it
    was sent. What is pushed before ``start`` or after ``stop`` reaches nobody and raises nothing.

    Args:
        settings: see ``Settings``.
        channels: what holds for which channel; see ``ChannelRule``. The first that matches holds.
        tokens: what checks the tokens that clients show; None: none are taken.
        events: who is told of connections, on worker threads.
        on_death: called, on the loop's thread, when that thread ends by an error.

    Attributes:
        failure: the error that ended the loop's thread, if one has.
    """

    def __init__(self, settings: Settings | None = None, *,
                 channels: Iterable[ChannelRule] = (), tokens: Tokens | None = None,
                 events: Events | None = None,
                 on_death: Callable[[BaseException], None] = lambda error: None) -> None:
        super().__init__(settings or Settings(), channels)
        if tokens is not None and not isinstance(tokens, Tokens):
            raise InvalidSetting(f"tokens is a {type(tokens).__name__}: use Tokens(secret=...)")
        self.tokens = tokens
        self.failure: BaseException | None = None
        self._events = _Telling(events or NoEvents(), self._left)
        self._on_death = on_death
        self._lock = threading.RLock()
        self._may_be_forgotten = True   # neither started nor said so
        self._draining = False
        self._deadline = 0.0
        self._emptied = threading.Event()
        self._tickers: list[Ticker] = []

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._hub)

    def __bool__(self) -> bool:
        """Be true: no connections is not nothing."""
        return True

    def __repr__(self) -> str:
        state = "stopped" if self._home is None else "draining" if self._draining else "running"
        return f"<{type(self).__name__} {state}, {len(self)} connections>"

    # Publishing

    def broadcast(self, data: Data) -> None:
        """Queue one message for every connection.

        Args:
            data: text, bytes-like, or anything that JSON can hold; at most ``max_outbox`` bytes.

        Raises:
            InvalidData: a message cannot hold this (a ``TypeError``); nobody was sent anything.
            MessageTooLarge: it has more bytes; nobody was sent anything.
        """
        made = self._publication(data)
        self._deliver_message(made, self._hub.everyone_grouped())

    def send(self, Id: str, data: Data) -> int:
        """Queue one message for every connection of one Id; return how many there are.

        Raises:
            InvalidSetting: ``Id`` is not text.
            InvalidData, MessageTooLarge: see ``broadcast``.
        """
        made = self._publication(data)
        found = self._hub.of_id(checked_id(Id))
        self._deliver_message(made, grouped(found))
        return len(found)

    def _deliver_message(self, made: Publication, groups: Groups[Link]) -> None:
        for protocol, links in groups:
            data = protocol.message(made)
            if data is not None:
                self._deliver(links, data)

    def every(self, seconds: float, make: Callable[[], Data],
              channel: str | None = None) -> Ticker:
        """Push what ``make`` returns at each whole multiple of an interval; return the ticker.

        It runs whenever the server does, until its ``stop`` is called.

        Args:
            seconds: the interval, by the wall clock.
            make: called just before the push, on a thread of its own.
            channel: None: broadcast.

        Raises:
            InvalidSetting: the interval is not more than 0, or the channel's name cannot be one.
        """
        push = self.broadcast if channel is None else partial(self.publish,
                                                              checked_channel(channel))
        ticker = Ticker(seconds, make, push, on_stop=self._forget_ticker)
        with self._lock:
            self._tickers.append(ticker)
            if self._home is not None and not self._draining:
                ticker.start()
        return ticker

    def _forget_ticker(self, ticker: Ticker) -> None:
        with self._lock:
            if ticker in self._tickers:
                self._tickers.remove(ticker)

    def _deliver(self, links: tuple[Link, ...], data: bytes) -> None:
        home = self._home
        if links and home is not None and self.failure is None:
            home.loop.deliver(links, data)

    def _left(self, connection: Any, code: int) -> None:
        if connection.has_client:
            vanished = code not in (NORMAL.code, NO_STATUS.code) and not is_final(code)
            self._exchange.left(connection.client, vanished=vanished)

    # Who is there

    def ids(self) -> list[str]:
        """Return the Ids that are connected, those that came first at the front."""
        return self._hub.ids()

    def connections(self, Id: str | None = None) -> list[Connection]:
        """Return the connections of one Id, or all, those that came first at the front."""
        links = self._hub.everyone() if Id is None else self._hub.of_id(checked_id(Id))
        return [link.connection for link in links]

    def disconnect(self, Id: str, code: int = BY_SITE.code, reason: str = BY_SITE.reason) -> int:
        """Begin to close every connection of one Id; return how many there were.

        Args:
            code: the close code; 3505 tells the client not to come back.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: the code or the reason cannot be sent, or ``Id`` is not text.
        """
        disconnect = checked_disconnect(code, reason)
        return sum(self._close(link, disconnect) for link in self._hub.of_id(checked_id(Id)))

    # For connections

    def deliver_frame(self, connection: Connection, opcode: int, payload: bytes) -> bool:
        """Queue one frame for one connection; False if it no longer takes any.

        Raises:
            MessageTooLarge: it has more than ``max_outbox`` bytes.
        """
        self.check_size(len(payload))
        head = header(opcode, len(payload))
        link, home = self._link(connection), self._home
        if link is None:
            return False
        if len(payload) < WORTH_A_HEAD:
            self._deliver((link,), head + payload)
        elif home is not None and self.failure is None:
            home.loop.call_for(link, link.write, Head(head), payload)
        return True

    def close_connection(self, connection: Connection, code: int, reason: str) -> bool:
        """Begin to close one connection; False if it is closing already."""
        link = self._link(connection)
        return link is not None and self._close(link, Disconnect(code, reason))

    def abort_connection(self, connection: Connection) -> None:
        """End one connection without a closing handshake."""
        link, home = self._link(connection), self._home
        if link is not None and home is not None:
            home.loop.call_for(link, link.end, ABNORMAL)

    def _close(self, link: Link, disconnect: Disconnect) -> bool:
        """Take a connection out of the hub at once, and close it behind what it was sent."""
        home = self._home
        if home is None or not self._hub.remove(link):
            return False
        code, reason = disconnect
        home.loop.call_for(link, link.close, Disconnect(code, reason or link.protocol.reason))
        return True

    def end_session(self, session: Hashable) -> int:
        """Begin to close the connections that ``bind_session`` has bound to a session.

        Args:
            session: what they were bound to; with CherryPy's sessions ``cherrypy.session.id``.

        Returns:
            how many there were.
        """
        found = [link for link in self._hub.everyone() if link.connection.session == session
                 and session is not None]
        return sum(self._close(link, BY_SITE) for link in found)

    def expire_connection(self, connection: Connection, seconds: float) -> None:
        """Close a connection when its token has expired, unless it has ended before."""
        chore = self.later(connection, seconds, lambda: connection.close(*EXPIRED))
        connection.keep(chore)

    # For the HTTP side

    def reserve(self, Id: str) -> None:
        """Keep a place for a connection to come; ``accept`` or ``release`` has to follow.

        Raises:
            HandshakeRefused: 429 or 503, with ``Retry-After``.
        """
        try:
            home = self._check_running()
            if len(home.links) >= self.settings.max_connections:  # with those that are closing
                raise HandshakeRefused(503, f"the server has its {len(home.links)} connections: "
                                            "try again later")
            self._hub.reserve(Id)
        except HandshakeRefused as refusal:
            refusal.headers["Retry-After"] = str(self.settings.retry_after)
            raise

    def release(self, Id: str) -> None:
        """Give a reserved place back."""
        self._hub.release(Id)

    def _check_running(self) -> Home[Link]:
        home = self._home
        if home is None and self._may_be_forgotten:
            self._may_be_forgotten = False
            logger.error("the push server was not started, so it takes no connections: call "
                         "push.subscribe() before the engine starts, or push.start()")
        if home is None or self._draining or self.failure is not None:
            raise HandshakeRefused(503, "the server is not taking connections now: "
                                        "try again later")
        return home

    def accept(self, connection: Connection, sock: socket.socket, *, channels: Collection[str],
               answer: bytes, early: bytes, heartbeat: float = 0) -> None:
        """Take over a socket whose handshake was found good, with the place reserved for it.

        From the moment in which the client can read the answer it is in the hub.

        Args:
            connection: attached to its Id.
            sock: connected; belongs to the loop from now on.
            channels: those that it is in from the start.
            answer: the handshake's answer, the first bytes to be written.
            early: what the client has sent behind its handshake already.
            heartbeat: seconds between empty messages, the first right behind the answer; 0: none.

        Raises:
            HandshakeRefused: 503: the server has begun to stop; the socket was not touched.
        """
        with self._lock:
            home = self._check_running()
            connection.sock = lend(sock)
            link = Link(connection, connection.Id, loop_socket(connection.sock),
                        answer + HEARTBEAT if heartbeat else answer, home)
            replaced = self._hub.add(link, channels)
            arrivals = self._exchange.enter(channels, lambda _: connection.presence_info())
            home.loop.call_for(link, link.open, early, heartbeat)
        self._exchange.announce(link, arrivals)
        for older in replaced:
            self._close(older, REPLACED)

    # Running

    def start(self) -> None:
        """Start the threads. Does nothing when they run."""
        with self._lock:
            if self._home is not None:
                return
            self.failure = None
            self._may_be_forgotten = False
            self._draining = False
            self._emptied.clear()
            loop, workers = Loop(self._died), Workers(self.settings.workers)
            self._home = Home(self.settings, self._hub, loop, workers, self._events)
            workers.start()
            loop.start()
            self._begin_chores(self._home)
            for ticker in self._tickers:
                ticker.start()

    def drain(self) -> None:
        """Take no more connections and begin to close all with 1001; ``stop`` has to follow."""
        self._begin_to_drain()

    def _begin_to_drain(self) -> Home[Link] | None:
        """Do so, unless it was done before, and return what is to be stopped."""
        with self._lock:
            home = self._home
            if home is None or self._draining:
                return home
            self._draining = True
            self._deadline = time.monotonic() + self.settings.drain_timeout
            tickers = list(self._tickers)
            home.loop.call(partial(self._close_all, home))
        for ticker in tickers:
            ticker.halt()
        return home

    def _close_all(self, home: Home[Link]) -> None:
        home.on_empty = self._emptied.set
        for link in tuple(home.links):
            home.loop.guarded(link, link.close, SHUTTING_DOWN)
        if not home.links:
            self._emptied.set()

    def stop(self) -> None:
        """Close all connections and end the threads, within ``drain_timeout``."""
        home = self._begin_to_drain()
        if home is None:
            return
        patience = self.settings.drain_timeout * LEAVE_SHARE
        if self.failure is None:
            started = self._deadline - self.settings.drain_timeout
            self._emptied.wait(max(0.0, started + patience - time.monotonic()))
            home.loop.call(partial(self._abort_all, home))
            home.loop.stop(max(LAST_CALLBACKS, self._deadline - time.monotonic()))
        else:
            home.loop.stop(self.settings.drain_timeout)
            self._abort_all(home)
        home.workers.stop(max(self._deadline, time.monotonic() + LAST_CALLBACKS))
        with self._lock:
            if self._home is home:  # another thread may have stopped it too, and started anew
                self._home = None

    @staticmethod
    def _abort_all(home: Home[Link]) -> None:
        for link in {*home.links, *home.hub.everyone()}:
            home.loop.guarded(link, link.abort)

    def _died(self, error: BaseException) -> None:
        self.failure = error
        self._on_death(error)
