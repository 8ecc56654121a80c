"""Non-blocking reads and writes on a plain or a TLS socket, with one set of answers.

``send`` and ``receive`` never wait and never raise: what a socket says in errors is said here in
return values, so that the loop has one path for both kinds.
"""
from __future__ import annotations

import socket
import ssl
from typing import Union

from ..wire.speedups import HAVE_NATIVE, native
from .outbox import Buffer

LOST = -1
"""What ``send`` returns when the peer is gone."""

RECEIVE_SIZE = 16 * 1024
"""Bytes that one ``receive`` asks for: of the shortest frames that is work for milliseconds."""

WRITE_SIZE = 256 * 1024
"""Bytes that one connection writes in its turn: more would keep all others waiting."""

FAN_OUT_SIZE = 128 * 1024
"""The same where many are written to in one turn."""

TLS_WRITE_SIZE = 64 * 1024
"""Bytes that one ``send`` of a TLS socket takes at most: they are encrypted first."""

TLS_RECORD = 16 * 1024
"""Bytes of the largest TLS record, and of one ``SSL_write``."""


class PlainSocket:
    """Read and write one socket without TLS. Only the loop thread may call it."""

    __slots__ = ("socket",)

    pinned = 0
    """Bytes that must be offered again after a refused ``send``."""

    direct: int | ssl.SSLSocket | None = None
    """What the C extension can write to, or None."""

    can_place = False
    """Whether there is ``receive_to``."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken: 0 if none now, ``LOST`` if none ever will be."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return LOST

    def receive(self) -> bytes | None:
        """Return what has come, None if nothing has, empty bytes if nothing ever will."""
        try:
            return self.socket.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def has_pending(self) -> bool:
        """Tell whether bytes wait that the selector cannot see."""
        return False

    def finish(self) -> None:
        """Tell the peer that nothing more will be written; reading goes on."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer was faster

    def close(self) -> None:
        """Close the socket, a lent one too."""
        try:
            self._close()
        except OSError:
            pass  # a reset that was still to be reported

    def _close(self) -> None:
        socket.socket.close(self.socket)


class TlsSocket(PlainSocket):
    """Read and write one socket through its TLS layer. Only the loop thread may call it."""

    __slots__ = ()

    socket: ssl.SSLSocket

    pinned = TLS_RECORD

    def _close(self) -> None:
        self.socket.close()

    def send(self, data: Buffer) -> int:
        """Return how many bytes were taken; see ``PlainSocket.send``.

        A record that the TLS layer has once refused has to be offered again with the same
        bytes, so records are cut at the same places each time.
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
        """Return what has come; see ``PlainSocket.receive``."""
        try:
            return self.socket.recv(RECEIVE_SIZE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (OSError, ValueError):
            return b""

    def has_pending(self) -> bool:
        """Tell whether decrypted bytes wait that the selector cannot see."""
        try:
            return self.socket.pending() > 0
        except (OSError, ValueError):
            return False

    def finish(self) -> None:
        """Tell the peer in TLS's way, then in TCP's, that nothing more will be written."""
        try:
            self.socket.unwrap()
        except (OSError, ValueError):
            pass  # it does not wait for the peer's answer
        super().finish()


class LentSocket(socket.socket):
    """A socket that whoever else holds it can end but not close: its descriptor is the loop's.

    A number that was given back to the system may be another client's at once.
    """

    def close(self) -> None:
        """End the connection; the loop notices, and closes the socket."""
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already


def lend(sock: socket.socket) -> socket.socket:
    """Return a ``LentSocket`` in the place of a plain socket, which is left empty.

    A TLS socket is returned as it is: it remembers by itself that it was closed.
    """
    if isinstance(sock, ssl.SSLSocket):
        return sock
    return LentSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())


class NativeSocket(PlainSocket):
    """Read and write one plain socket through the C extension. Only the loop thread may call it.

    Unlike a socket's own methods it keeps the interpreter's lock: see ``haste``.
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
        """Return what has come; see ``PlainSocket.receive``."""
        return native.receive(self.direct)

    def receive_to(self, target: bytes, offset: int, key: bytes) -> int | None:
        """Read to a place that a ``FrameReader`` has given, and unmask there.

        Returns:
            How many bytes have come: None if nothing has, 0 if nothing ever will.
        """
        return native.receive_masked(self.direct, target, offset, key)


class NativeTlsSocket(TlsSocket):
    """Write to one TLS socket through the C extension. Only the loop thread may call it."""

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


def loop_socket(sock: socket.socket) -> LoopSocket:
    """Make a connected socket non-blocking and return what the loop reads and writes it with."""
    sock.setblocking(False)
    if sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if isinstance(sock, ssl.SSLSocket):
        return NativeTlsSocket(sock) if HAVE_NATIVE and native.tls_ready(sock) else TlsSocket(sock)
    return NativeSocket(sock) if HAVE_NATIVE else PlainSocket(sock)
