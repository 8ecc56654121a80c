"""The thread that stays connected: it goes from one connection to the next."""
from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import Callable, Generic, Protocol, TypeVar

from pushserver.wire.disconnects import NORMAL, Disconnect

from .backoff import Backoff
from .callbacks import Callbacks
from .errors import (CommandFailed, ConnectFailed, ConnectionClosed, Disconnected, NotConnected,
                     PushError)
from .websocket.connection import END_TIMEOUT, Connection
from .websocket.handshake import new_key
from .websocket.request import Request
from .websocket.resolver import Resolver
from .websocket.waker import Interrupted, Waker

logger = logging.getLogger("pushclient")

CONNECTING = "connecting"
OPEN = "open"
WAITING = "waiting"
CLOSED = "closed"

PROVED_AFTER = 5.0
"""Seconds open after which a connection has proved itself, even without a message."""

JOIN_MARGIN = 1.0
"""Seconds added to what closing may take, for a busy machine."""


class ClientLink(Protocol):
    """One of a client's connections in turn, with what handles it."""

    @property
    def connection(self) -> Connection:
        """Return the connection."""

    @property
    def has_received(self) -> bool:
        """Tell whether a message has come."""

    @property
    def failure(self) -> PushError | None:
        """Return an error that says more about the end than the close code does, or None."""


L = TypeVar("L", bound=ClientLink, covariant=True)


class Reconnector(Generic[L]):
    """Connect, again and again, until there is a reason to stop. For any thread.

    Args:
        request: what each connection asks for.
        make_link: returns the link for the next connection; its argument is called once that is
            open.
        callbacks: are told of each new state.
        on_end: called when there will be no more connections.
        close_timeout: seconds that the server has to answer a close.
        max_attempts: attempts that may fail in a row; None: no limit.

    Attributes:
        error: why the last connection or attempt ended; in the end, the final error or None.
        delay: seconds until the next attempt, in the state "waiting".
        state: "connecting", "open", "waiting" or "closed".
        link: the current link, open or not yet; None: there is none.
        is_closing: ``close`` was called, or the client has ended.
    """

    def __init__(self, request: Request, make_link: Callable[[Callable[[], None]], L],
                 callbacks: Callbacks, on_end: Callable[[], None], close_timeout: float,
                 max_attempts: int | None) -> None:
        self.error: PushError | None = None
        self.delay = 0.0
        self.state = CLOSED
        self.link: L | None = None
        self.is_closing = False
        self._request = request
        self._make_link = make_link
        self._label = callbacks.label
        self._callbacks = callbacks
        self._on_end = on_end
        self._join_timeout = close_timeout + END_TIMEOUT + JOIN_MARGIN
        self._max_attempts = max_attempts
        self._backoff = Backoff()
        self._resolver = Resolver()
        self._changed = threading.Condition()   # guards the state, the link and the thread
        self._thread: threading.Thread | None = None
        self._waker: Waker | None = None
        self._was_open = False

    @property
    def is_started(self) -> bool:
        """Tell whether ``start`` was called."""
        return self._thread is not None

    @property
    def is_own_thread(self) -> bool:
        """Tell whether the caller is on the client's thread."""
        return self._thread is threading.current_thread()

    # any thread

    def start(self) -> None:
        """Start the thread and return at once; a second call does nothing.

        Raises:
            ConnectionClosed: the client was closed.
        """
        with self._changed:
            if self.is_closing:
                raise ConnectionClosed("the client is closed: make another one")
            if self._thread is None:
                self._waker = Waker()
                self.state = CONNECTING
                self._thread = threading.Thread(
                    target=self._run, args=(self._waker,), name=f"pushclient {self._label}",
                    daemon=True)
                self._thread.start()

    def close(self, disconnect: Disconnect) -> None:
        """Close the connection and end the thread; see ``PushClient.close``."""
        with self._changed:
            self.is_closing = True
            link, thread = self.link, self._thread
        if thread is None:
            self._on_end()
            return
        if link is not None:
            link.connection.close(disconnect)
        self.wake()
        if not self.is_own_thread:
            thread.join(self._join_timeout)
            if thread.is_alive():
                logger.warning("%s: closed, but a callback still keeps its thread", self._label)

    def wake(self) -> None:
        """End the client's wait, whatever it is for."""
        if self._waker is not None:
            self._waker.wake()

    def open_link(self, timeout: float) -> L:
        """Return an open link; wait for one, except on the client's own thread.

        Raises:
            NotConnected: none was open in time.
            ConnectionClosed: the client is closed, or not started.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.state != OPEN or self.link is None:
                left = deadline - time.monotonic()
                if self.is_closing or self.state == CLOSED:
                    raise ConnectionClosed("nothing was sent: the client is "
                                           + ("closed" if self._thread else "not started"))
                if left <= 0 or self.is_own_thread:
                    raise NotConnected(f"nothing was sent: the client is {self.state}")
                self._changed.wait(left)
            return self.link

    # the client's thread

    def _opened(self) -> None:
        self.error = None
        self._set_state(OPEN)

    def _run(self, waker: Waker) -> None:
        error: PushError | None = None
        try:
            while True:
                error = self._connect_once(waker)
                if error is None or self._is_last(error):
                    break
                self._wait_after(error, waker)
        except PushError as late:  # a setting that cannot work shows only in use
            error = late
        except Exception as unexpected:
            logger.exception("%s: the client's thread failed", self._label)
            error = PushError(f"the client's thread failed: {unexpected!r}")
        finally:
            waker.close()
            self._end(error)

    def _connect_once(self, waker: Waker) -> PushError | None:
        """Run one connection; return how it ended, or None if the client was closed."""
        self._set_state(CONNECTING)
        link = self._make_link(self._opened)
        with self._changed:
            self.link = link
            if self.is_closing:
                return None
        try:
            link.connection.connect(replace(self._request, key=new_key()), waker, self._resolver)
        except Interrupted:
            return None
        except ConnectFailed as error:
            self._backoff.failures += 1
            return error
        self._run_link(link)
        return link.failure or Disconnected(link.connection.end)

    def _run_link(self, link: ClientLink) -> None:
        self._was_open = True
        since = time.monotonic()
        link.connection.run()
        if link.has_received or time.monotonic() - since >= PROVED_AFTER:
            self._backoff.reset()
        else:
            self._backoff.failures += 1

    def _is_last(self, error: PushError) -> bool:
        if self.is_closing or isinstance(error, CommandFailed):
            return True
        if isinstance(error, Disconnected) and error.is_final:
            return True
        if isinstance(error, ConnectFailed):
            if error.is_final or error.is_lasting and not self._was_open:
                return True
        return self._max_attempts is not None and self._backoff.failures >= self._max_attempts

    def _wait_after(self, error: PushError, waker: Waker) -> None:
        self.delay = self._backoff.next_delay(retry_after=getattr(error, "retry_after", 0.0))
        logger.info("%s: %s; next attempt in %.1f s", self._label, error, self.delay)
        self.error = error
        until = time.monotonic() + self.delay
        self._set_state(WAITING)
        while not self.is_closing and time.monotonic() < until:
            waker.sleep(max(0.0, until - time.monotonic()))

    def _end(self, error: PushError | None) -> None:
        normal = isinstance(error, Disconnected) and error.code == NORMAL.code
        self.error = None if self.is_closing or normal else error
        self.is_closing = True
        self._set_state(CLOSED)
        self._on_end()

    def _set_state(self, state: str) -> None:
        with self._changed:
            if state != OPEN:
                self.link = None
            self.state = state
            self._changed.notify_all()
        logger.debug("%s: %s", self._label, state)
        self._callbacks.state(state)
