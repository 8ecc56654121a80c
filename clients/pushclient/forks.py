"""What becomes of a client in a forked child: it is closed there, and the server is told nothing.

A child has copies of the parent's sockets, but none of its threads, and a lock that one of these
held is never released. So, before anything else runs in the child, its copies are closed, and
those who use them give up and get new locks.
"""
from __future__ import annotations

import os
import socket
import weakref
from typing import Callable, TypeVar

FORKED = "this process was forked: make a new client here"

S = TypeVar("S", bound=socket.socket)


_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_told: weakref.WeakKeyDictionary[object, Callable[[object], None]] = weakref.WeakKeyDictionary()


def closed_in_children(sock: S) -> S:
    """Return a socket of which children close their copies."""
    _sockets.add(sock)
    return sock


def called_in_children(method: Callable[[], None]) -> None:
    """Have a method called in children; it may take no lock that was made before.

    That does not keep its object alive. One method for each object.
    """
    _told[getattr(method, "__self__")] = getattr(method, "__func__")


def _in_child() -> None:
    sockets, told = list(_sockets), list(_told.items())
    _sockets.clear()
    for sock in sockets:
        try:
            # neither shutdown() nor the end of TLS: the connection is the parent's
            os.close(sock.detach())
        except OSError:  # it was closed before
            pass
    for owner, method in told:
        method(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
