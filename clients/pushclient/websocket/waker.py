"""Waiting for sockets in a way that another thread can end."""
from __future__ import annotations

import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Callable, Mapping, Union

from ..errors import ConnectionClosed, ConnectTimeout

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector",
                                                 selectors.SelectSelector)
"""``poll`` where there is one: it takes any descriptor, and none of its own."""

_CLEARED_AT_ONCE = 4096


class Interrupted(ConnectionClosed):
    """Say that ``close()`` was called before there was a connection."""


class Waker:
    """End another thread's wait.

    ``wake`` may be called from any thread, at any time and from signal handlers, also after
    ``close``. ``clear`` and ``sleep`` belong to the thread that waits.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._closed = False

    def __enter__(self) -> Waker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """Return what a selector waits for."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """Make the waiting thread return, or its next wait."""
        with self._lock:
            if not self._closed:
                try:
                    self._sender.send(b"\0")
                except BlockingIOError:  # it is as awake as can be
                    pass

    def clear(self) -> None:
        """Take back all wakes so far."""
        try:
            while len(self._receiver.recv(_CLEARED_AT_ONCE)) == _CLEARED_AT_ONCE:
                pass
        except BlockingIOError:
            pass

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds, or when woken."""
        with Selector() as selector:
            selector.register(self, READ)
            if selector.select(seconds):
                self.clear()

    def close(self) -> None:
        """Give the descriptors back; a second time does nothing."""
        with self._lock:
            self._closed = True
            self._receiver.close()
            self._sender.close()


Waited = Union[socket.socket, Waker]


class Patience:
    """Wait for the steps of connecting, each for as long as ``timeout``.

    One thread dials with it; ``waker`` and ``is_over`` are how others make it stop.

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
        self._deadline = time.monotonic() + timeout

    def begin(self, step: str) -> None:
        """Start the time of a step, named as in "the TLS handshake"."""
        self._step = step
        self._deadline = time.monotonic() + self.timeout

    def wait(self, wanted: Mapping[socket.socket, int], until: float | None = None
             ) -> list[socket.socket]:
        """Return which of the sockets are ready; none when woken or when it is ``until``.

        Args:
            wanted: ``READ`` or ``WRITE`` for each socket.
            until: a time of ``time.monotonic`` to return at; the step's deadline holds anyway.

        Raises:
            ConnectTimeout: the step took too long.
            Interrupted: it is over.
        """
        self.check()
        now = time.monotonic()
        if now >= self._deadline:
            raise ConnectTimeout(f"{self._step} took longer than {self.timeout:g} s")
        end = self._deadline if until is None else min(until, self._deadline)
        ready = self._select(wanted, max(0.0, end - now))
        self.check()
        return ready

    def check(self) -> None:
        """Raise ``Interrupted`` if it is over."""
        if self._is_over():
            raise Interrupted("closed while connecting")

    def _select(self, wanted: Mapping[socket.socket, int], seconds: float) -> list[socket.socket]:
        ready: list[socket.socket] = []
        with Selector() as selector:
            selector.register(self.waker, READ)
            for sock, events in wanted.items():
                selector.register(sock, events)
            for key, _ in selector.select(seconds):
                if isinstance(key.fileobj, socket.socket):
                    ready.append(key.fileobj)
                else:
                    self.waker.clear()
        return ready
