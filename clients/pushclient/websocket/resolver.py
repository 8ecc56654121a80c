"""The addresses of a host name, looked up on a thread of their own."""
from __future__ import annotations

import socket
import threading
from typing import Any, NamedTuple

from ..errors import UnknownHost
from .waker import StepDeadline, Waker


class SocketAddress(NamedTuple):
    """One of a name's addresses, in the form that ``socket`` takes."""

    family: int
    sockaddr: Any

    def __str__(self) -> str:
        return str(self.sockaddr if isinstance(self.sockaddr, (str, bytes)) else self.sockaddr[0])


class Resolver:
    """Look names up without blocking the thread that asks.

    ``getaddrinfo`` cannot be interrupted, so it runs on a thread of its own. If it outlasts the
    step, the next lookup of that name waits for the same thread: a resolver that hangs costs one
    thread, not one for each attempt. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, deadline: StepDeadline) -> list[SocketAddress]:
        """Look up a host's addresses, anew each time.

        Raises:
            UnknownHost: it has none.
            ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        deadline.begin(f"the lookup of {host}")
        lookup = self._pending.get((host, port))
        if lookup is None:
            lookup = self._pending[host, port] = _Lookup(host, port)
        lookup.begin(deadline.waker)
        while not lookup.done:
            deadline.wait({})
        del self._pending[host, port]
        lookup.join()
        if lookup.error is not None:
            raise UnknownHost(f"unknown host {host}: {lookup.error}") from None
        return lookup.found


def _literal(host: str, port: int) -> SocketAddress | None:
    """Return the address that a host is given as, or None if it needs a lookup."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return SocketAddress(family, (host, port))
    return None


class _Lookup(threading.Thread):
    """Run one ``getaddrinfo``, then wake the thread that waits for it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"pushclient lookup of {host}", daemon=True)
        self.done = False
        self.found: list[SocketAddress] = []
        self.error: str | None = None
        self._host, self._port = host, port
        self._waker: Waker | None = None

    def begin(self, waker: Waker) -> None:
        self._waker = waker
        if self.ident is None:
            self.start()

    def run(self) -> None:
        try:
            self.found = [SocketAddress(family, sockaddr) for family, _, _, _, sockaddr in
                          socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            self.error = getattr(error, "strerror", None) or str(error)
        finally:
            self.done = True
            if self._waker is not None:
                self._waker.wake()
