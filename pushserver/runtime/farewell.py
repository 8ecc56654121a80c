"""A socket on which all is written, until its client has read that."""
from __future__ import annotations

import socket
from functools import partial

from .loop import READ
from .runtime import Runtime
from .sockets import lend, loop_socket
from .timers import Timer

MOST = 100
"""Farewells at a time; the site's reserve of descriptors has room for as many."""

MOST_DISCARDED = 64 * 1024
"""Bytes of a client that are read and dropped, before its connection is cut."""


class Farewell:
    """End a connection so that the last bytes arrive: stop writing, and wait for its client.

    If a socket is closed while something is on its way to it, TCP discards what its peer has not
    read. Only the loop's thread may use it, except ``begin``.

    Args:
        runtime: has the loop.
        sock: the socket, which belongs to the loop from now on.
    """

    def __init__(self, runtime: Runtime, sock: socket.socket) -> None:
        self.watching = 0
        self._runtime = runtime
        self._socket = loop_socket(lend(sock))
        self._fd = self._socket.socket.fileno()
        self._left = MOST_DISCARDED
        self._deadline: Timer | None = None

    def __repr__(self) -> str:
        return f"<Farewell {'waiting' if self.watching else 'not waiting'}>"

    @classmethod
    def begin(cls, runtime: Runtime, sock: socket.socket, seconds: float) -> bool:
        """Take over a socket; False if there are too many, so that the caller must close it.

        Any thread may call it.

        Args:
            runtime: has the loop.
            sock: all is written on it.
            seconds: the most that the client may take.
        """
        if len(runtime.farewells) >= MOST:
            return False
        made = cls(runtime, sock)
        runtime.farewells.add(made)
        runtime.loop.call_for(made, made.open, seconds)
        if not runtime.loop.is_alive:   # stopped in between: nothing else ends this one
            made.abort()
        return True

    def open(self, seconds: float) -> None:
        """Tell the client that nothing more comes, and wait for it to close."""
        loop = self._runtime.loop
        self._deadline = loop.call_later(seconds, partial(loop.guarded, self, self.abort))
        self._socket.finish()
        loop.watch(self, READ)
        self.readable()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._fd

    def readable(self) -> None:
        """Discard what has arrived; at its end, close."""
        while (data := self._socket.receive()) is not None:
            self._left -= len(data)
            if not data or self._left < 0:
                self.abort()
                return

    def flush(self) -> None:
        """Do nothing: all is written."""

    def crashed(self) -> None:
        """Close; see ``Polled``."""
        self.abort()

    def abandon(self) -> None:
        """Close this process's copy of the socket; see ``Polled``."""
        self._socket.let_go()

    def abort(self) -> None:
        """Close at once. Safe to repeat."""
        if self in self._runtime.farewells:
            self._runtime.farewells.discard(self)
            if self._deadline is not None:
                self._deadline.cancel()
            try:
                self._runtime.loop.watch(self, 0)
            finally:
                self._socket.close()
