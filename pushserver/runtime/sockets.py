"""Non-blocking reads and writes, the same for plain and TLS sockets.

``send`` and ``receive`` never wait and never raise: they turn a socket's errors into return values,
so the loop has one path for both kinds.
"""
from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys
from typing import Union

from ..wire.speedups import HAVE_NATIVE, native
from .outbox import Buffer

try:
    import fcntl
    import termios
except ImportError:     # not a Unix
    fcntl = termios = None  # type: ignore[assignment]

LOST = -1
"""What ``send`` returns when the peer is gone."""

RECEIVE_SIZE = 16 * 1024
"""Bytes that one ``receive`` asks for; in the shortest frames, that is milliseconds of work."""

WRITE_SIZE = 256 * 1024
"""Bytes that one connection writes in its turn; more would keep all others waiting."""

FAN_OUT_SIZE = 128 * 1024
"""The same when many are written to in one turn."""

TLS_WRITE_SIZE = 64 * 1024
"""Most bytes that one ``send`` of a TLS socket takes, because they are encrypted first."""

TLS_RECORD = 16 * 1024
"""Bytes of the largest TLS record, and of one ``SSL_write``."""

UNSENT = 128 * 1024
"""Bytes that the system takes for a client before they can be sent; without this, it takes some
megabytes for each that does not read."""

UNREAD = 128 * 1024
"""Bytes of a client, about, that the system keeps until they are read."""

LONG_MESSAGES = 256 * 1024
"""Where clients may send longer messages, the system itself decides how much it keeps."""

TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""The option of a socket that ``UNSENT`` sets, or None."""

TCP_INFO_SIZE = 128
"""Bytes of Linux's ``struct tcp_info`` up to the end of ``tcpi_bytes_acked``."""

poll = getattr(select, "poll", None)

HAS_LEFT = sum(getattr(select, name, 0) for name in (
    "POLLRDHUP", "POLLHUP", "POLLERR", "POLLNVAL"))
"""What ``poll`` shows of a socket whose peer has ended."""

BYTES_ACKED = struct.Struct("=120xQ")
INT = struct.Struct("=i")


class PlainSocket:
    """Read and write one socket without TLS. Only the loop's thread may use it."""

    __slots__ = ("socket",)

    pinned = 0
    """Bytes that must be offered again after a refused ``send``."""

    direct: int | ssl.SSLSocket | None = None
    """What the C extension can write to, or None."""

    can_place = False
    """Whether this has ``receive_to``."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken: 0 if none for now, ``LOST`` if none ever will be."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return LOST

    def receive(self) -> bytes | None:
        """Return what has arrived, None if nothing has, empty bytes if nothing ever will."""
        try:
            return self.socket.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def has_pending(self) -> bool:
        """Tell whether bytes are waiting that the selector cannot see."""
        return False

    def look(self) -> tuple[bool, bool]:
        """Tell whether something waits to be read, and whether the peer has left behind that.

        Where the system does not say, something waits, and the peer is there.
        """
        if poll is None:
            return True, False
        try:
            found = poll()
            found.register(self.socket.fileno(), select.POLLIN | HAS_LEFT)
            events = sum(events for _, events in found.poll(0))
        except (OSError, ValueError):
            return True, True   # closed
        return bool(events) or self.has_pending(), bool(events & HAS_LEFT)

    @property
    def unreceived(self) -> int:
        """Return how many bytes written to the socket the peer's system has yet to acknowledge."""
        if fcntl is None:
            return 0
        try:
            answer = fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(INT.size))
        except (OSError, ValueError):
            return 0    # closed
        unreceived: int = INT.unpack(answer)[0]
        return unreceived

    def acknowledged(self) -> int | None:
        """Return the bytes that the peer's system has acknowledged; None: this system does not say.
        """
        if sys.platform != "linux":
            return None
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        except (OSError, ValueError):
            return None     # a Unix socket, or one that the site has closed
        if len(info) < TCP_INFO_SIZE:   # an old kernel
            return None
        acknowledged: int = BYTES_ACKED.unpack(info)[0]
        return acknowledged

    def finish(self) -> None:
        """Tell the peer that nothing more will be written; reading goes on."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer has already closed

    def close(self) -> None:
        """End the connection, also if a forked process has a copy of the socket."""
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass  # the peer has already closed
        self.let_go()

    def let_go(self) -> None:
        """Close the descriptor, even that of a lent socket; a copy in another process lives on."""
        try:
            self._close()
        except OSError:
            pass  # a reset that had not been reported yet

    def _close(self) -> None:
        socket.socket.close(self.socket)


class TlsSocket(PlainSocket):
    """Read and write one socket through its TLS layer. Only the loop's thread may use it."""

    __slots__ = ()

    socket: ssl.SSLSocket

    pinned = TLS_RECORD

    def _close(self) -> None:
        self.socket.close()

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken; see ``PlainSocket.send``.

        A record that the TLS layer has refused must be offered again with the same bytes, so
        records are split at the same places each time.
        """
        view = memoryview(data)
        end = min(len(data), TLS_WRITE_SIZE)
        sent = 0
        try:
            while sent < end:
                sent += self.socket.send(view[sent:sent + TLS_RECORD])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass  # the kernel's buffer is full
        except (OSError, ValueError):
            return LOST
        return sent

    def receive(self) -> bytes | None:
        """Return what has arrived; see ``PlainSocket.receive``."""
        try:
            return self.socket.recv(RECEIVE_SIZE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (OSError, ValueError):
            return b""

    def has_pending(self) -> bool:
        """Tell whether decrypted bytes are waiting that the selector cannot see."""
        try:
            return self.socket.pending() > 0
        except (OSError, ValueError):
            return False

    def finish(self) -> None:
        """Tell the peer that nothing more will be written, first in TLS and then in TCP."""
        try:
            self.socket.unwrap()
        except (OSError, ValueError):
            pass  # the peer's answer is not awaited
        super().finish()


class LentSocket(socket.socket):
    """A socket that code outside the loop can end but not close: the loop owns its descriptor.

    Once a descriptor is closed, the system may give the same number to another client.
    """

    def close(self) -> None:
        """End the connection; the loop notices, and closes the socket."""
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has already ended


def lend(sock: socket.socket) -> socket.socket:
    """Return a ``LentSocket`` that replaces a plain socket, which is left detached.

    A TLS socket is returned unchanged: it remembers that it was closed.
    """
    if isinstance(sock, ssl.SSLSocket):
        return sock
    return LentSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())


class NativeSocket(PlainSocket):
    """Read and write one plain socket through the C extension. Only the loop's thread may use it.

    Unlike a socket's own methods, it keeps the interpreter's lock; see ``switch_interval``.
    """

    __slots__ = ("direct",)

    direct: int

    can_place = True

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.direct = sock.fileno()

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken; see ``PlainSocket.send``."""
        return native.send(self.direct, data)

    def receive(self) -> bytes | None:
        """Return what has arrived; see ``PlainSocket.receive``."""
        return native.receive(self.direct)

    def receive_to(self, target: bytes, offset: int, key: bytes) -> int | None:
        """Read into the place that a ``FrameReader`` asked for, and unmask there.

        Returns:
            How many bytes arrived: None if nothing has, 0 if nothing ever will.
        """
        return native.receive_masked(self.direct, target, offset, key)


class NativeTlsSocket(TlsSocket):
    """Write to one TLS socket through the C extension. Only the loop's thread may use it."""

    __slots__ = ()

    @property
    def direct(self) -> ssl.SSLSocket:  # type: ignore[override]
        """Return the socket; see ``PlainSocket``."""
        return self.socket

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken; see ``TlsSocket.send``."""
        return native.send(self.socket, data if len(data) <= TLS_WRITE_SIZE
                           else memoryview(data)[:TLS_WRITE_SIZE])


LoopSocket = Union[PlainSocket, TlsSocket, NativeSocket, NativeTlsSocket]


def loop_socket(sock: socket.socket, max_message_size: int = 0) -> LoopSocket:
    """Make a connected socket non-blocking and return what the loop reads and writes it with.

    The system is told to hold little for a client that does not read, or is not read.

    Args:
        sock: the socket.
        max_message_size: bytes of the longest message that the client may send.
    """
    sock.setblocking(False)
    if sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # a system that does not know them does without
            is_small = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < UNREAD // 2
            if max_message_size <= LONG_MESSAGES and not is_small:  # the site has set that
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
            if TCP_NOTSENT_LOWAT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT)
    if isinstance(sock, ssl.SSLSocket):
        return NativeTlsSocket(sock) if HAVE_NATIVE and native.tls_ready(sock) else TlsSocket(sock)
    return NativeSocket(sock) if HAVE_NATIVE else PlainSocket(sock)
