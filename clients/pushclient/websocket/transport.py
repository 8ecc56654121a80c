"""A connected socket, and the bytes that wait to be written to it."""
from __future__ import annotations

import socket
import ssl
import threading
from collections import deque

from ..errors import ConnectionClosed
from .waker import READ, WRITE, Selector, Waker

LOST = "connection lost"


class Transport:
    """Read a non-blocking socket from one thread, and write to it from any.

    ``receive``, ``wait`` and ``release`` belong to the reading thread; any thread may call
    ``write``, ``finish``, ``flush`` and ``shut_down``. Everything written goes through one queue,
    so no frame can split another. The lock is never held during a wait. A TLS socket does not
    allow a read during a write, so with TLS reads take the lock too; they do not block, so they
    do not hold up a write.

    Args:
        sock: connected and non-blocking; the transport owns it.
        waker: ends the reading thread's wait.

    Attributes:
        queued: bytes that wait to be written.
        failure: why nothing can be written any more, or None.
    """

    def __init__(self, sock: socket.socket, waker: Waker) -> None:
        self.queued = 0
        self.failure: str | None = None
        self.sock = sock
        self._waker = waker
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._lock = threading.RLock()
        self._outbox: deque[memoryview] = deque()
        self._sent = 0
        self._flushing = False
        self._writers = 0   # threads that wait for room, and so use the descriptor
        self._released = False
        self._read_wants_write = False
        self._watched = 0
        self._selector = Selector()
        self._selector.register(waker, READ)

    def __repr__(self) -> str:
        return f"<Transport: {self.failure or 'open'}, {self.queued} bytes queued>"

    # the reading thread

    def receive(self, size: int) -> bytes | None:
        """Return what has come; None if nothing has, b"" at the end."""
        try:
            if not self._tls:
                return self.sock.recv(size)
            with self._lock:
                self._read_wants_write = False
                return self.sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._read_wants_write = True
            return None
        except OSError as error:
            with self._lock:
                self._fail(error.strerror or str(error))
            return b""

    def wait(self, seconds: float | None, *, reading: bool = True) -> None:
        """Wait until there is something to read, the waker is woken or the time is up.

        Meanwhile, write what is queued.

        Args:
            seconds: at most this long; None: for as long as it takes.
            reading: False leaves in the kernel what comes, so that TCP slows the server down.
        """
        wants_write = self.queued or self._read_wants_write
        self._watch((READ if reading else 0) | (WRITE if wants_write else 0))
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._waker:
                self._waker.clear()
            elif events & WRITE:
                self.flush()

    def _watch(self, events: int) -> None:
        if events == self._watched:
            return
        if not self._watched:
            self._selector.register(self.sock, events)
        elif not events:
            self._selector.unregister(self.sock)
        else:
            self._selector.modify(self.sock, events)
        self._watched = events

    def release(self) -> None:
        """Close the socket as soon as no writer uses it; a second call does nothing."""
        with self._lock:
            if self._released:
                return
            self._released = True
            self._fail(LOST)
            self._shut_down()
            self._selector.close()
            if not self._writers:
                self.sock.close()

    # any thread

    def write(self, data: bytes) -> int:
        """Queue whole frames and write as much as the kernel takes; never wait.

        Returns:
            The goal for ``finish``, which waits until all of it is written.

        Raises:
            ConnectionClosed: nothing more can be sent.
        """
        with self._lock:
            if self.failure is not None:
                raise ConnectionClosed(f"nothing was sent: {self.failure}")
            self._outbox.append(memoryview(data))
            self.queued += len(data)
            goal = self._sent + self.queued
            self.flush()
        if self.queued:
            self._waker.wake()
        return goal

    def finish(self, goal: int, timeout: float) -> None:
        """Wait until the goal that ``write`` returned is reached, or an earlier one.

        Args:
            goal: how many bytes have to be written, counted from the transport's first.
            timeout: seconds for which the server may take nothing before the connection is given
                up.

        Raises:
            ConnectionClosed: the connection was lost or given up meanwhile.
        """
        while self._sent < goal:
            before = self._sent
            self._wait_for_room(timeout)
            if self._sent == before and self.failure is None:
                self.shut_down(f"the server took nothing for {timeout:g} s")
            if self.failure is not None:
                raise ConnectionClosed(f"not all was sent: {self.failure}")

    def flush(self) -> None:
        """Write as much as the kernel takes now."""
        with self._lock:
            if self._flushing:  # a signal handler interrupted a write, which goes on
                return
            self._flushing = True
            try:
                self._send_queued()
            except BaseException:
                self._fail(LOST)  # how much was sent is unknown
                raise
            finally:
                self._flushing = False

    def shut_down(self, failure: str) -> None:
        """End the connection at once, for the reading thread and for writers."""
        with self._lock:
            self._fail(failure)
            if not self._released:
                self._shut_down()

    def _send_queued(self) -> None:
        while self._outbox:
            piece = self._outbox[0]
            try:
                sent = self.sock.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError as error:
                self._fail(error.strerror or str(error))
                return
            self.queued -= sent
            self._sent += sent
            if sent == len(piece):
                self._outbox.popleft()
            else:
                self._outbox[0] = piece[sent:]

    def _wait_for_room(self, timeout: float) -> None:
        with self._lock:
            if self.failure is not None:
                return
            self._writers += 1
        try:
            with Selector() as selector:
                selector.register(self.sock, WRITE)
                selector.select(timeout)
            self.flush()
        finally:
            with self._lock:
                self._writers -= 1
                if self._released and not self._writers:
                    self.sock.close()

    def _fail(self, failure: str) -> None:
        """Write nothing more. The caller holds the lock."""
        if self.failure is None:
            self.failure = failure
        self._outbox.clear()
        self.queued = 0

    def _shut_down(self) -> None:
        try:
            # not SSLSocket.shutdown: what still comes would be read as plain text
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:  # the server was faster
            pass
