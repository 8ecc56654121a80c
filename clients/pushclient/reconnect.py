"""The thread that stays connected: it goes from one connection to the next."""
from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import Callable, Generic, Iterator, Protocol, TypeVar

from pushserver.wire.disconnects import NORMAL, Disconnect

from .backoff import Backoff
from .bell import Bell
from .callbacks import Callbacks
from .errors import (CommandFailed, ConnectFailed, ConnectionClosed, Disconnected, NotConnected,
                     PushError)
from .forks import FORKED
from .websocket.connection import END_TIMEOUT, Connection
from .websocket.errands import Errands
from .websocket.handshake import new_key
from .websocket.request import Request
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

    No lock is held by those who wait or call, so that signal handlers may call as well.

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
        self.error: BaseException | None = None
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
        self._errands = Errands()
        self._changed = Bell()
        self._start_once = threading.Lock()     # taken by the first ``start``, and kept
        self._callers: list[int] = []           # threads that are in a call
        self._is_begun = False                  # ``start`` returns now
        self._is_forked = False
        self._thread: threading.Thread | None = None
        self._waker: Waker | None = None
        self._was_open = False

    @property
    def is_started(self) -> bool:
        """Tell whether ``start`` was called."""
        return self._start_once.locked()

    @property
    def is_own_thread(self) -> bool:
        """Tell whether the caller is on the client's thread."""
        return self._thread is threading.current_thread()

    @property
    def is_nested(self) -> bool:
        """Tell whether the caller is a signal handler that has interrupted another call."""
        return self._callers.count(threading.get_ident()) > 1

    @property
    def must_not_wait(self) -> bool:
        """Tell whether the client's thread may be waiting for the caller.

        It is for callbacks, and for locks of a call that a signal handler has interrupted.
        """
        return self.is_own_thread or self.is_nested

    @contextmanager
    def in_call(self) -> Iterator[None]:
        """Note that the caller's thread is in a call of the program's."""
        caller = threading.get_ident()
        try:
            self._callers.append(caller)
            yield
        finally:
            if caller in self._callers:  # not if Ctrl-C has come before
                self._callers.remove(caller)

    # any thread

    def start(self) -> None:
        """Start the thread and return at once; a second call does nothing.

        Raises:
            ConnectionClosed: the client was closed.
        """
        if self.is_closing:
            raise ConnectionClosed(FORKED if self._is_forked
                                   else "the client is closed: make another one")
        if self.is_started:
            return
        waker = Waker()
        if not self._start_once.acquire(blocking=False):  # another thread was faster
            waker.close()
            return
        self._waker = waker
        self.state = CONNECTING
        self._thread = threading.Thread(target=self._run, args=(waker,),
                                        name=f"pushclient {self._label}", daemon=True)
        try:
            self._thread.start()
        finally:
            self._is_begun = True
            self._changed.ring()

    def close(self, disconnect: Disconnect) -> None:
        """Close the connection and end the thread; see ``PushClient.close``."""
        self.is_closing = True
        link, thread = self.link, self._thread
        if thread is None:
            self._on_end()
            return
        if link is not None:
            link.connection.close(disconnect)
        self.wake()
        self._changed.ring()
        if thread.is_alive() and not self.must_not_wait:
            thread.join(self._join_timeout)
            if thread.is_alive():
                logger.warning("%s: closed, but a callback still keeps its thread", self._label)

    def forked(self) -> bool:
        """Leave the connection to the parent process; return False if there was no thread."""
        if not self.is_started or self.is_closing and self.state == CLOSED:
            return False
        self.link = None
        self._is_forked = self.is_closing = True
        self.error = ConnectionClosed(FORKED)
        self.state = CLOSED
        self._changed.ring()
        return True

    def wake(self) -> None:
        """End the client's wait, whatever it is for."""
        if self._waker is not None:
            self._waker.wake()

    def open_link(self, timeout: float) -> L:
        """Return an open link; wait for one, unless the caller must not wait.

        Raises:
            NotConnected: none was open in time.
            ConnectionClosed: the client is closed, or not started, or the process was forked.
        """
        deadline = time.monotonic() + timeout
        while True:
            link = self.link
            if self.state == OPEN and link is not None:
                return link
            left = deadline - time.monotonic()
            if self.is_closing or not self.is_started:
                raise ConnectionClosed(f"nothing was sent: {self._why_closed}")
            if left <= 0 or self.must_not_wait:
                raise NotConnected(f"nothing was sent: the client is {self.state}")
            self._changed.wait(lambda: self.state == OPEN or self.is_closing, left)

    def check_process(self) -> None:
        """Raise ``ConnectionClosed`` if the connection is that of a parent process."""
        if self._is_forked:
            raise ConnectionClosed(FORKED)

    @property
    def _why_closed(self) -> str:
        if self._is_forked:
            return FORKED
        return f"the client is {'closed' if self.is_started else 'not started'}"

    # the client's thread

    def _opened(self) -> None:
        self.error = None
        self._set_state(OPEN)

    def _run(self, waker: Waker) -> None:
        error: BaseException | None = None
        try:
            # callbacks may use the name that the caller gives the client when it has started
            self._changed.wait(lambda: self._is_begun or self.is_closing)
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
        except BaseException as ending:  # a callback's, meant to end more than this thread
            error = ending
        finally:
            waker.close()
            self._end(error)

    def _connect_once(self, waker: Waker) -> PushError | None:
        """Run one connection; return how it ended, or None if the client was closed."""
        self._set_state(CONNECTING)
        self.link = link = self._make_link(self._opened)
        if self.is_closing:  # looked at after the link is there: ``close`` does the reverse
            return None
        try:
            link.connection.connect(replace(self._request, key=new_key()), waker, self._errands)
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

    def _end(self, error: BaseException | None) -> None:
        if self._is_forked:
            return
        is_normal = isinstance(error, Disconnected) and error.code == NORMAL.code
        is_expected = is_normal or self.is_closing and isinstance(error, PushError)
        self.error = None if is_expected else error
        self.is_closing = True
        try:
            self._set_state(CLOSED)
        except BaseException as ending:
            self.error = ending
        finally:
            self._on_end()

    def _set_state(self, state: str) -> None:
        if state != OPEN:
            self.link = None
        self.state = state
        self._changed.ring()
        logger.debug("%s: %s", self._label, state)
        self._callbacks.state(state)
