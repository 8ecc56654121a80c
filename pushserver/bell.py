"""Waking a thread that waits in a selector."""
from __future__ import annotations

import os
import socket
import sys
from typing import Union

ONE = (1).to_bytes(8, sys.byteorder)
"""What an eventfd counts up by."""

ALL = 4096
"""Bytes that a read takes at most: all rings there can be between two rounds."""


class EventBell:
    """Ring through a Linux eventfd.

    A byte through a socket would make the kernel move the thread to the processor of the one that
    rings, away from the memory it works on, and often to where its clients' data is received.
    """

    def __init__(self) -> None:
        descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._file = open(descriptor, "r+b", buffering=0)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._file.fileno()

    def ring(self) -> None:
        """Make the descriptor readable. Any thread may call it, at any time."""
        try:
            self._file.write(ONE)
        except (OSError, ValueError):
            pass  # closed: the thread has ended

    def hush(self) -> None:
        """Make the descriptor unreadable until the next ring."""
        self._file.read(len(ONE))

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()


class SocketBell:
    """Ring through a pair of sockets, which every system has; see ``EventBell``."""

    def __init__(self) -> None:
        self._outside, self._inside = socket.socketpair()
        self._outside.setblocking(False)
        self._inside.setblocking(False)

    def fileno(self) -> int:
        """See ``EventBell``."""
        return self._inside.fileno()

    def ring(self) -> None:
        """See ``EventBell``."""
        try:
            self._outside.send(b"\0")
        except OSError:
            pass  # full: it is readable already; closed: the thread has ended

    def hush(self) -> None:
        """See ``EventBell``."""
        self._inside.recv(ALL)

    def close(self) -> None:
        """See ``EventBell``."""
        self._outside.close()
        self._inside.close()


Bell = Union[EventBell, SocketBell]


def new_bell() -> Bell:
    """Return the best kind of bell that the system has."""
    return EventBell() if hasattr(os, "eventfd") else SocketBell()
