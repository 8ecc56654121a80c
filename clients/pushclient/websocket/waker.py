"""Waits for sockets that another thread can end."""
from __future__ import annotations

import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Callable, Mapping

from .. import forks
from ..errors import ConnectionClosed, ConnectTimeout

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector",
                                                 selectors.SelectSelector)
"""``poll`` where the system has it: it takes any descriptor, and needs none of its own."""

NEVER = float("inf")
"""A time of ``time.monotonic`` that does not come."""

_CLEARED_AT_ONCE = 4096


class Interrupted(ConnectionClosed):
    """Say that ``close()`` was called before a connection was made."""


class Waker:
    """End another thread's wait.

    ``wake`` may be called from any thread at any time, even from a signal handler or after
    ``close``. ``clear`` and ``sleep`` belong to the thread that waits.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._receiver, self._sender = map(forks.closed_in_children, socket.socketpair())
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._closed = False
        forks.called_in_children(self._forked)

    def _forked(self) -> None:
        """Wake nobody from now on: the thread is the parent's."""
        self._lock = threading.RLock()
        self._closed = True

    def __enter__(self) -> Waker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor for a selector to wait for."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """End the thread's wait, or its next one."""
        with self._lock:
            if not self._closed:
                try:
                    self._sender.send(b"\0")
                except BlockingIOError:  # full of wakes that are not cleared yet
                    pass

    def clear(self) -> None:
        """Discard all wakes so far."""
        try:
            while len(self._receiver.recv(_CLEARED_AT_ONCE)) == _CLEARED_AT_ONCE:
                pass
        except BlockingIOError:
            pass

    def sleep(self, seconds: float) -> None:
        """Return after this many seconds, or when woken."""
        with Selector() as selector:
            selector.register(self, READ)
            if selector.select(seconds):
                self.clear()

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._receiver.close()
            self._sender.close()


class StepDeadline:
    """Bound each step of connecting by a ``timeout`` of its own.

    It belongs to the thread that connects; other threads end its waits through ``is_over`` and the
    waker.

    Args:
        waker: woken when something has changed.
        timeout: seconds for each step.
        is_over: tells whether to give up.
    """

    def __init__(self, waker: Waker, timeout: float, is_over: Callable[[], bool]) -> None:
        self.waker = waker
        self.timeout = timeout
        self._is_over = is_over
        self._step = "connecting"
        self._ends_at = time.monotonic() + timeout

    def begin(self, step: str) -> None:
        """Begin a step, named for errors, as in "the TLS handshake"."""
        self._step = step
        self._ends_at = time.monotonic() + self.timeout

    def wait(self, events: Mapping[socket.socket, int], until: float | None = None
             ) -> list[socket.socket]:
        """Return the sockets that are ready; none if woken, or once it is ``until``.

        Args:
            events: ``READ`` or ``WRITE`` for each socket.
            until: a time of ``time.monotonic`` at which to return, if the step lasts that long.

        Raises:
            ConnectTimeout: the step took too long.
            Interrupted: another thread has closed the connection.
        """
        self.check()
        now = time.monotonic()
        if now >= self._ends_at:
            raise ConnectTimeout(f"{self._step} took longer than {self.timeout:g} s")
        end = self._ends_at if until is None else min(until, self._ends_at)
        ready = self._select(events, max(0.0, end - now))
        self.check()
        return ready

    def check(self) -> None:
        """Raise ``Interrupted`` if another thread has closed the connection."""
        if self._is_over():
            raise Interrupted("closed while connecting")

    def _select(self, events: Mapping[socket.socket, int], seconds: float) -> list[socket.socket]:
        ready: list[socket.socket] = []
        with Selector() as selector:
            selector.register(self.waker, READ)
            for sock, mask in events.items():
                selector.register(sock, mask)
            for key, _ in selector.select(seconds):
                if isinstance(key.fileobj, socket.socket):
                    ready.append(key.fileobj)
                else:
                    self.waker.clear()
        return ready
