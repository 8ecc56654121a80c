"""Have no thread wait for a client that reads or sends slowly, if others need it.

An answer that the client does not take is kept, and written when its thread has long gone. There is
a limit to that, and bodies have to be read on a thread; so of those for which threads wait, the
slowest are ended while requests wait for a thread.
"""
from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from typing import Any

import cherrypy
from cheroot.workers.threadpool import ThreadPool

from .socket_takeover import end_connection

MOST_KEPT = 64 * 1024 * 1024
"""Bytes of answers that are kept for clients, in all."""

MOST_KEPT_OF_ONE = 4 * 1024 * 1024

SLOWEST = 4096
"""Bytes a second that a client must send while others wait to send a long body, or read while there
is no room to keep another's answer.
"""

SETTLED = 2.0
"""Seconds after which that is judged."""

MOST_JOINED = 64 * 1024
"""Bytes that are copied in order to be written together with a head."""

SENDS_IN_A_ROW = 16

BEGIN = b"HTTP/1."
CONTINUE = b" 100 "
LENGTH = b"\r\ncontent-length:"

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_Selector: Any = getattr(selectors, "PollSelector", selectors.SelectSelector)   # no descriptor


class TooSlow(cherrypy.HTTPError, TimeoutError):  # type: ignore[misc]
    """A body has not come in time: CherryPy answers it, and cheroot knows it as a timeout."""

    def __init__(self) -> None:
        cherrypy.HTTPError.__init__(self, 408, "The request has not come in time.")
        self.args = ("timed out",)


class Exchange:
    """Read a client's requests and write the answers: cheroot's ``wfile``, and below its ``rfile``.

    The socket is non-blocking. One thread has it at a time: while there is a request, a worker.

    Args:
        sock: the client's.
        timeout: seconds to wait for the client, at most, without any progress; None: for ever.
        waits: what all connections of the server share.

    Attributes:
        left: what the client has not taken yet.
        size: bytes of that.
        counted: bytes of that which ``waits`` knows of.
        bytes_written: see cheroot.
    """

    def __init__(self, sock: socket.socket, timeout: float | None, waits: Waits) -> None:
        self.left: deque[memoryview] = deque()
        self.size = self.counted = 0
        self.bytes_written = 0
        self._sock = sock
        self._timeout = timeout
        self._waits = waits
        self.begin()

    def __repr__(self) -> str:
        return f"<Exchange, {self.size} bytes left>"

    def begin(self) -> None:
        """Begin a request."""
        self._may_keep: bool | None = None
        self._head = b""
        self._moved = 0         # bytes since it first waited
        self._since = 0.0       # when that was
        self._waits_for = 0
        self._is_ended = False

    # cheroot's interface

    def recv_into(self, buffer: Any) -> int:
        """Read, waiting if nothing has come."""
        while True:
            try:
                size = self._sock.recv_into(buffer)
            except WOULD_BLOCK as needs:
                if not self._wait(WRITE if isinstance(needs, ssl.SSLWantWriteError) else READ):
                    end_connection()
                    raise TooSlow() from None
            else:
                self._moved += size
                return size

    def write(self, data: bytes) -> int:
        """Write, and keep what is left of an answer; wait for the client only if that is too much.

        An answer without a length may be a stream, of which nothing is to be held back.
        """
        self.bytes_written += len(data)
        if self._may_keep is None and data.startswith(BEGIN) and CONTINUE not in data[:16]:
            self._may_keep = LENGTH in data.lower()
            self._head = data   # what follows comes at once, or nothing does
            return len(data)
        if len(data) > MOST_JOINED:
            self.finish()
        head, self._head = self._head, b""
        self._write(head + data)
        return len(data)

    def finish(self) -> None:
        """Write what is held back of an answer, at its end."""
        head, self._head = self._head, b""
        if head:
            self._write(head)

    def _write(self, data: bytes) -> None:
        self.left.append(memoryview(data))
        self.size += len(data)
        try:
            while needs := self.send():
                if not self._since:
                    self._since, self._moved = time.monotonic(), 0
                if self._may_keep and self._waits.keep(self):
                    break
                if not self._wait(needs):
                    raise BrokenPipeError(errno.EPIPE, "the client reads too slowly")
        except BaseException:
            self.forget()
            raise

    def _decref_socketios(self) -> None:
        """Do nothing when cheroot closes its ``rfile``."""

    # What the worker and the server's thread do with it

    def send(self, most: float = float("inf")) -> int:
        """Write what the client takes; return what event to wait for to go on, 0 if all is written.

        Raises:
            OSError, ValueError: the client has gone.
        """
        while self.left:
            data = self.left[0]
            if most <= 0:
                return WRITE
            try:
                size = self._sock.send(data)
            except WOULD_BLOCK as needs:
                return READ if isinstance(needs, ssl.SSLWantReadError) else WRITE
            most -= 1
            self._moved += size
            self.size -= size
            if size < len(data):
                self.left[0] = data[size:]
            else:
                self.left.popleft()
        if self.counted:
            self._waits.keep(self)
        return 0

    def flush(self) -> None:
        """Write all that is left, waiting for the client."""
        while needs := self.send():
            if not self._wait(needs):
                return

    def forget(self) -> None:
        """Drop what is left."""
        self.left.clear()
        self.size = 0
        self._waits.keep(self)

    def rate(self, now: float) -> float:
        """Return about how many bytes a second have come or gone since it first waited."""
        return self._moved / (now - self._since + 1.0)

    def is_slow(self, now: float) -> bool:
        """Tell whether it waits for a body, or to write an answer, and that does not go on."""
        return bool(self._waits_for or self.left) and now - self._since > SETTLED \
            and self.rate(now) < SLOWEST

    def end(self) -> None:
        """Wake the thread that waits for the client; it gives up."""
        self._is_ended = True
        how = socket.SHUT_RD if self._waits_for == READ else socket.SHUT_RDWR
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, how)

    def _wait(self, event: int) -> bool:
        """Wait for the client; tell whether it can go on."""
        if not self._since:
            self._since, self._moved = time.monotonic(), 0
        self._waits_for = event
        self._waits.begin(self)
        try:
            if self._is_ended:
                return False
            with _Selector() as selector:
                selector.register(self._sock, event)
                return bool(selector.select(self._timeout)) and not self._is_ended
        finally:
            self._waits.end(self)
            self._waits_for = 0


class Waits:
    """Know which threads wait for a client, and what is kept to spare them that. Thread-safe.

    Args:
        pool: the server's threads.

    Attributes:
        kept: bytes of answers that are kept.
        is_short: there was no room for one.
    """

    def __init__(self, pool: ThreadPool) -> None:
        self._pool: Any = pool
        self._lock = threading.Lock()
        self._waiting: dict[Exchange, None] = {}
        self.kept = 0
        self.is_short = False

    def __repr__(self) -> str:
        return f"<Waits of {len(self._waiting)} threads, {self.kept} bytes kept>"

    @property
    def most(self) -> int:
        """Return how many threads may wait for clients while requests wait for a thread."""
        return max(1, len(self._pool._threads) // 2)

    def keep(self, exchange: Exchange) -> bool:
        """Count what is left of an answer, if that may be kept; else it may be short of room."""
        with self._lock:
            size = exchange.size
            kept = self.kept + size - exchange.counted
            if size > exchange.counted and (size > MOST_KEPT_OF_ONE or kept > MOST_KEPT):
                self.is_short = self.is_short or size <= MOST_KEPT_OF_ONE
                return False
            self.kept, exchange.counted = kept, size
            return True

    def begin(self, exchange: Exchange) -> None:
        """Take note that a thread waits for a client from now on."""
        with self._lock:
            self._waiting[exchange] = None
        self.make_way()

    def end(self, exchange: Exchange) -> None:
        """Take note that it does not any more."""
        with self._lock:
            self._waiting.pop(exchange, None)

    def make_way(self) -> None:
        """End the slowest for which threads wait, if requests wait for a thread."""
        if len(self._waiting) <= self.most or not self._pool.qsize:
            return
        needed, now = self._pool.qsize - self._pool.idle, time.monotonic()
        with self._lock:
            needed = min(needed, len(self._waiting) - self.most)
            slowest = sorted(self._waiting, key=lambda one: one.rate(now))[:max(0, needed)]
            for exchange in slowest:
                del self._waiting[exchange]
        for exchange in slowest:
            exchange.end()
