"""A connected socket, and the bytes that wait to be written to it."""
from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque

from ..errors import ConnectionClosed
from ..forks import FORKED
from .waker import READ, WRITE, Selector, Waker

LOST = "connection lost"


class Transport:
    """Read a non-blocking socket from one thread, and write to it from any.

    ``receive``, ``wait`` and ``release`` belong to the reading thread; any thread may call
    ``write``, ``finish``, ``flush`` and ``shut_down``, even in a signal handler that interrupts
    one of them. Everything written goes through one queue, so no frame can split another. The
    lock is never held during a wait. A TLS socket does not allow a read during a write, so with
    TLS reads take the lock too; they do not block, so they do not hold up a write.

    Args:
        sock: connected and non-blocking; the transport owns it.
        waker: ends the reading thread's wait.

    Attributes:
        failure: why nothing can be written any more, or None.
    """

    def __init__(self, sock: socket.socket, waker: Waker) -> None:
        self.failure: str | None = None
        self.sock = sock
        self._waker = waker
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._lock = threading.RLock()
        self._new: deque[bytes] = deque()           # frames that a flush has not seen yet
        self._outbox: deque[memoryview] = deque()   # only the thread that flushes uses it
        self._accepted = self._sent = 0             # bytes that have been in the outbox, and left
        self._is_flushing = False
        self._write_wants_read = False
        self._writers: set[object] = set()  # each waits for room, and so uses the descriptor
        self._released = False
        self._read_wants_write = False
        self._watched = 0
        self._selector = Selector()
        self._selector.register(waker, READ)

    def __repr__(self) -> str:
        return f"<Transport: {self.failure or 'open'}, {self.queued} bytes queued>"

    @property
    def queued(self) -> int:
        """Return the number of bytes that wait to be written."""
        return 0 if self.failure is not None else self._accepted - self._sent

    def forked(self) -> None:
        """Use the socket no more: the connection is the parent's."""
        self._lock = threading.RLock()
        self._released = True
        self.failure = FORKED

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
        wants_write = self.queued and not self._write_wants_read or self._read_wants_write
        self._watch((READ if reading else 0) | (WRITE if wants_write else 0))
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._waker:
                self._waker.clear()
            elif events & WRITE or self._write_wants_read:
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

        In a signal handler that has interrupted another write, only queue: that write goes on
        with it after the handler has returned, so there is nothing to wait for.

        Returns:
            The goal for ``finish``, which waits until all of it is written.

        Raises:
            ConnectionClosed: nothing more can be sent.
        """
        with self._lock:
            if self.failure is not None:
                raise ConnectionClosed(f"nothing was sent: {self.failure}")
            self._new.append(data)
            if self._is_flushing:
                return 0
            self.flush()
            goal = self._accepted
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
        sent, until = self._sent, time.monotonic() + timeout
        while self._sent < goal:
            now = time.monotonic()
            if self._sent > sent:
                sent, until = self._sent, now + timeout
            if now >= until:
                self.shut_down(f"the server took nothing for {timeout:g} s")
            if self.failure is not None:
                raise ConnectionClosed(f"not all was sent: {self.failure}")
            self._wait_for_room(until - now)

    def flush(self) -> None:
        """Write as much as the kernel takes now."""
        with self._lock:
            while not self._is_flushing:
                self._is_flushing = True
                try:
                    self._send_queued()
                except BaseException:
                    self.shut_down(LOST)  # how much was sent is unknown
                    raise
                finally:
                    self._is_flushing = False
                if not self._new:  # else a signal handler has written meanwhile
                    return

    def shut_down(self, failure: str) -> None:
        """End the connection at once, for the reading thread and for writers."""
        with self._lock:
            self._fail(failure)
            if not self._released:
                self._shut_down()

    def _send_queued(self) -> None:
        """Write until the kernel takes no more. A signal handler may come between any two lines."""
        self._write_wants_read = False
        while self.failure is None and self._has_piece():
            piece = self._outbox.popleft()
            try:
                sent = self.sock.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._outbox.appendleft(piece)
                return
            except ssl.SSLWantReadError:
                self._outbox.appendleft(piece)
                self._write_wants_read = True
                return
            except OSError as error:
                if error.errno is None:  # not the system's: a signal handler's TimeoutError
                    raise
                self._fail(error.strerror or str(error))
                return
            self._sent += sent
            if sent < len(piece):
                self._outbox.appendleft(piece[sent:])

    def _has_piece(self) -> bool:
        while self._new:
            piece = memoryview(self._new.popleft())
            size = len(piece)
            self._outbox.append(piece)
            self._accepted += size
        return bool(self._outbox)

    def _wait_for_room(self, timeout: float) -> None:
        writer = object()
        try:
            with self._lock:
                if self.failure is not None:
                    return
                self._writers.add(writer)
            with Selector() as selector:
                selector.register(self.sock, READ if self._write_wants_read else WRITE)
                selector.select(timeout)
            self.flush()
        finally:
            try:
                self._leave(writer)
            except BaseException:  # a signal handler's, which must not keep the socket open
                self._leave(writer)
                raise

    def _leave(self, writer: object) -> None:
        with self._lock:
            self._writers.discard(writer)
            if self._released and not self._writers:
                self.sock.close()

    def _fail(self, failure: str) -> None:
        """Write nothing more. The caller holds the lock."""
        if self.failure is None:
            self.failure = failure
        self._new.clear()
        self._outbox.clear()

    def _shut_down(self) -> None:
        try:
            # not SSLSocket.shutdown: what still comes would be read as plain text
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:  # the server was faster
            pass
