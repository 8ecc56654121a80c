"""The addresses of a host name."""
from __future__ import annotations

import socket
from typing import Any, NamedTuple

from ..errors import UnknownHost
from .errands import Errands
from .waker import StepDeadline


class SocketAddress(NamedTuple):
    """One of a name's addresses, in the form that ``socket`` takes."""

    family: int
    sockaddr: Any

    def __str__(self) -> str:
        return str(self.sockaddr if isinstance(self.sockaddr, (str, bytes)) else self.sockaddr[0])


def resolve(host: str, port: int, errands: Errands, deadline: StepDeadline) -> list[SocketAddress]:
    """Look up a host's addresses, anew each time.

    Raises:
        UnknownHost: it has none.
        ConnectTimeout, Interrupted: see ``StepDeadline.wait``.
    """
    literal = _literal(host, port)
    if literal is not None:
        return [literal]

    def look_up() -> list[SocketAddress]:
        try:
            return [SocketAddress(family, sockaddr) for family, _, _, _, sockaddr in
                    socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UnknownHost(f"unknown host {host}: {why}") from None
    found: list[SocketAddress] = errands.run(look_up, f"the lookup of {host}", deadline,
                                             key=(host, port))
    return found


def _literal(host: str, port: int) -> SocketAddress | None:
    """Return the address that a host is given as, or None if it needs a lookup."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return SocketAddress(family, (host, port))
    return None
