"""The thread that stays connected."""
from __future__ import annotations

import logging
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Callable, Sequence

from pushserver.wire.disconnects import NORMAL, checked_disconnect
from pushserver.wire.payloads import encode_payload

from . import options
from .backoff import Backoff
from .centrifuge.calls import Calling
from .centrifuge.events import Gap, Presence, size_of
from .centrifuge.link import ChannelLink
from .centrifuge.wanted import Token, Wanted
from .errors import (ChannelLost, CommandFailed, ConnectFailed, ConnectionClosed, Disconnected,
                     NotConnected, PushError)
from .inbox import Inbox, Value
from .receiving import Receiving
from .websocket import url as address
from .websocket.connect import Resolver
from .websocket.connection import END_TIMEOUT
from .websocket.link import Link
from .websocket.proxy import ProxyOption, find_proxy
from .websocket.waker import Interrupted, Waker

logger = logging.getLogger("pushclient")

CONNECTING = "connecting"
OPEN = "open"
WAITING = "waiting"
CLOSED = "closed"

PROVED_AFTER = 5.0
"""Seconds after which an open connection has proved itself, even without a message."""

JOIN_MARGIN = 1.0
"""Seconds on top of what closing may take, for a busy machine."""


class PushClient(Receiving, Calling):
    """Receive what a server pushes, across lost connections, on a thread of its own.

    Iterate over the messages, which come as ``str`` or ``bytes``, or give ``on_message``. With
    ``channels`` they are ``Publication``s, and each channel goes on where it was lost. Every
    method is safe from any thread, callbacks included; callbacks run on the client's thread, one
    at a time, and what they raise is logged. While one blocks, or while the queue is full, nothing
    is read: TCP then slows the server down, which in the end may disconnect the client as slow.

    A connection that is lost is made again after a delay drawn from a window that grows from 0.5
    to 20 s. It stays closed after ``close()``, a final close code (``Disconnected``), an HTTP
    answer 4xx other than 408, 425 and 429 (``Refused``), ``max_attempts``, and, where no
    connection has ever been open, an answer that is not a WebSocket server's or a certificate
    that is not to be trusted. Iteration then raises that error; after ``close()`` and a normal
    close of the server (1000) it just ends.

    Args:
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket``.
        Id: who the client is, 1 to 128 characters; becomes ``?Id=`` of the URL.
        on_message: called with each message; nothing is queued then.
        on_state: called with each new state: "connecting", "open", "waiting", "closed".
        channels: names of channels to be in, or a mapping of them to what has been seen of each
            (offset and epoch), to the token of a private one, or to both as ``{"since": ...,
            "token": ...}``. The URL is one for Centrifugo's protocol then.
        token: with ``channels``, a JWT that says who the client is, or a function that returns one
            for each connection. Token functions run on threads of their own; those of channels
            are called with the channel's name. Before a token expires they are asked for another.
        on_gap: called with a ``Gap`` when publications of its ``channel`` may be lost for good.
        on_lost: called with a ``ChannelLost`` when the server refuses a channel or takes the
            client out of it; without it, that ends the client with this error.
        on_presence: called with a ``Presence`` when somebody comes into a channel, or leaves it.
        headers: further request headers, pairs or a mapping.
        origin: the ``Origin`` header, as a browser would send it; None for none.
        subprotocols: what to offer.
        ssl_context: in place of one that verifies against the system's certificates.
        proxy: a URL ``http://user:password@host:port``; True for the environment's, with
            ``no_proxy``; None for none.
        unix_socket: the path of a Unix socket to connect to in place of the URL's host.
        timeout: seconds for each step of connecting, for ``send`` to find an open connection, and
            for a write to make progress.
        close_timeout: seconds that the server has to answer a close frame.
        ping_interval: seconds without traffic after which the server is pinged. 0: never.
        pong_timeout: seconds that it has to answer; any traffic counts.
        max_message_size: bytes of one inbound message; past it the connection ends with 1009.
        max_queue: messages waiting to be iterated over, of large ones only as many as make up
            1 MiB; past it nothing more is read, unless a call waits for its answer: for that 16
            times as much is taken.
        max_attempts: attempts that may fail in a row; None: no limit.

    Attributes:
        error: why the last connection or attempt ended; once closed, the final error or None.
        delay: seconds that the client waits, in the state "waiting".

    Raises:
        InvalidSetting: an argument has a value that cannot work.
    """

    def __init__(self, url: str, *, Id: str | None = None,
                 on_message: Callable[[Value], object] | None = None,
                 on_state: Callable[[str], object] | None = None,
                 channels: Wanted | None = None, token: Token = None,
                 on_gap: Callable[[Gap], object] | None = None,
                 on_lost: Callable[[ChannelLost], object] | None = None,
                 on_presence: Callable[[Presence], object] | None = None,
                 headers: options.Headers | None = None, origin: str | None = None,
                 subprotocols: Sequence[str] = (), ssl_context: ssl.SSLContext | None = None,
                 proxy: ProxyOption = True, unix_socket: str | None = None,
                 timeout: float = options.TIMEOUT, close_timeout: float = options.CLOSE_TIMEOUT,
                 ping_interval: float = options.PING_INTERVAL,
                 pong_timeout: float = options.PONG_TIMEOUT,
                 max_message_size: int = options.MAX_MESSAGE_SIZE,
                 max_queue: int = options.MAX_QUEUE, max_attempts: int | None = None) -> None:
        where = address.parse_url(url)
        if Id is not None:
            where = where.with_id(Id)
        self._resource = where.resource
        self._label = f"Id {Id!r}" if Id is not None else f"{where.host}:{where.port}"
        self._url = url
        self._link_options = options.link_options(
            headers=headers, origin=origin, subprotocols=subprotocols, ssl_context=ssl_context,
            proxy=proxy, unix_socket=unix_socket, timeout=timeout, close_timeout=close_timeout,
            ping_interval=ping_interval, pong_timeout=pong_timeout,
            max_message_size=max_message_size)
        if not unix_socket:
            find_proxy(proxy, where)  # to say at once that a proxy cannot work
        self._speak(channels, token, on_gap, on_lost, on_presence)
        self._timeout = timeout
        self._join_timeout = close_timeout + END_TIMEOUT + JOIN_MARGIN
        self._max_attempts = None if max_attempts is None \
            else options.check_count("max_attempts", max_attempts)
        self._on_message = on_message
        self._on_state = on_state
        self._inbox = Inbox(options.check_count("max_queue", max_queue), self._wake,
                            size_of if self._has_channels else len)
        self._begin()

    def _begin(self) -> None:
        """Set up what changes while the client lives."""
        self.error: PushError | None = None
        self.delay = 0.0
        self.resolver = Resolver()
        self.waker: Waker
        self._backoff = Backoff()
        self._changed = threading.Condition()   # guards the next five
        self._state = CLOSED
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._closing = False
        self._was_open = False

    def __repr__(self) -> str:
        return f"<PushClient {self._label}: {self._state}, {len(self._inbox)} queued>"

    @property
    def state(self) -> str:
        """Return "connecting", "open", "waiting" or "closed"; a new client is closed."""
        return self._state

    @property
    def subprotocol(self) -> str | None:
        """Return the subprotocol that the server chose, None for none or while not open."""
        link = self._link
        return link.protocols[0] if link and self._state == OPEN and link.protocols else None

    # starting and closing

    def start(self) -> PushClient:
        """Start the client's thread and return at once; a second time does nothing.

        Raises:
            ConnectionClosed: the client was closed; make another.
        """
        with self._changed:
            if self._closing:
                raise ConnectionClosed("the client is closed: make another one")
            if self._thread is None:
                self.waker = Waker()
                self._state = CONNECTING
                self._thread = threading.Thread(target=self._run, name=f"pushclient {self._label}",
                                                daemon=True)
                self._thread.start()
        return self

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Close the connection in good order and end the thread; a second time does nothing.

        Returns when the thread is gone: at once, or when the server has answered, at the latest
        after ``close_timeout`` and two seconds. From a callback it returns at once and the thread
        ends behind that callback. What was received before stays to be iterated over.

        Args:
            code: 1000, 1001 or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        checked_disconnect(code, reason)
        with self._changed:
            self._closing = True
            link, thread = self._link, self._thread
        if thread is None:
            self._inbox.end()
            return
        if link is not None:
            link.close(code, reason)
        self._wake()
        if thread is not threading.current_thread():
            thread.join(self._join_timeout)
            if thread.is_alive():
                logger.warning("%s: a callback keeps the closed client's thread", self._label)

    def __enter__(self) -> PushClient:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    # sending; ``Receiving`` has its counterpart

    def send(self, data: Any, *, timeout: float | None = None) -> None:
        """Send one message, on the connection that is open or comes to be in time.

        Args:
            data: text, bytes-like for a binary message, or anything that JSON can hold.
            timeout: seconds to wait for an open connection; None for the client's ``timeout``. On
                the client's own thread there is no waiting.

        Raises:
            InvalidData: a message cannot hold this.
            NotConnected: no connection was open in time; the message was not sent.
            ConnectionClosed: the client is closed, or the connection was lost meanwhile; then the
                message may or may not have arrived.
        """
        opcode, payload = encode_payload({"send": {"data": data}} if self._has_channels else data)
        link = self._open_link(self._timeout if timeout is None else timeout)
        link.send_frame(opcode, payload)

    def _open_link(self, timeout: float) -> Link:
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._state != OPEN or self._link is None:
                left = deadline - time.monotonic()
                if self._closing or self._state == CLOSED:
                    raise ConnectionClosed("nothing was sent: the client is "
                                           + ("closed" if self._thread else "not started"))
                if left <= 0 or self._thread is threading.current_thread():
                    raise NotConnected(f"nothing was sent: the client is {self._state}")
                self._changed.wait(left)
            return self._link

    # the client's thread

    def _run(self) -> None:
        error: PushError | None = None
        try:
            while True:
                error = self._connect_once()
                if self._is_last(error):
                    break
                self._wait_after(error)
        except PushError as late:  # a setting that only shows when it is used
            error = late
        except Exception as unexpected:
            logger.exception("%s: the client's thread failed", self._label)
            error = PushError(f"the client's thread failed: {unexpected!r}")
        finally:
            self._end(error)

    def _connect_once(self) -> PushError | None:
        """Go through one connection; return how it ended."""
        self._set_state(CONNECTING)
        link = (ChannelLink if self._has_channels else Link)(self, self._url, **self._link_options)
        link.resource = self._resource
        with self._changed:
            self._link = link
            if self._closing:
                return None
        try:
            link.connect()
        except Interrupted:
            return None
        except ConnectFailed as error:
            self._backoff.failures += 1
            return error
        self._run_link(link)
        return link.failure or Disconnected(link.ended)

    def _run_link(self, link: Link) -> None:
        self._was_open = True
        since = time.monotonic()
        link.run()
        if link.has_received or time.monotonic() - since >= PROVED_AFTER:
            self._backoff.reset()
        else:
            self._backoff.failures += 1

    def _is_last(self, error: PushError | None) -> bool:
        if self._closing or error is None:
            return True
        if isinstance(error, CommandFailed) or isinstance(error, Disconnected) and error.is_final:
            return True
        if isinstance(error, ConnectFailed):
            if error.is_final or error.is_lasting and not self._was_open:
                return True
        return self._max_attempts is not None and self._backoff.failures >= self._max_attempts

    def _wait_after(self, error: PushError | None) -> None:
        self.delay = self._backoff.next_delay(retry_after=getattr(error, "retry_after", 0.0))
        logger.info("%s: %s; next attempt in %.1f s", self._label, error, self.delay)
        self.error = error
        until = time.monotonic() + self.delay
        self._set_state(WAITING)
        while not self._closing and time.monotonic() < until:
            self.waker.sleep(max(0.0, until - time.monotonic()))

    def _end(self, error: PushError | None) -> None:
        normal = isinstance(error, Disconnected) and error.code == NORMAL.code
        self.error = None if self._closing or normal else error
        self._closing = True
        self.waker.close()
        self._set_state(CLOSED)
        self._inbox.end()

    def _set_state(self, state: str) -> None:
        with self._changed:
            if state != OPEN:
                self._link = None
            self._state = state
            self._changed.notify_all()
        logger.debug("%s: %s", self._label, state)
        if self._on_state is not None:
            self._call(self._on_state, state)

    def _call(self, callback: Callable[[Any], object], argument: Any) -> None:
        try:
            callback(argument)
        except Exception:
            logger.exception("%s: %s failed", self._label,
                             getattr(callback, "__qualname__", callback))

    def _wake(self) -> None:
        self.waker.wake()

    # what the link tells; the client's thread

    def link_opened(self) -> None:
        """Take note that a connection is open."""
        self.error = None
        self._set_state(OPEN)
