"""What is made of a channel's presence for many who ask, made once until it changes."""
from __future__ import annotations

import threading
from typing import Callable, Hashable, Mapping

from .presence import Info

MAX_SIZE = 8 * 1024 * 1024
"""Bytes that are kept of all channels together."""

Clients = Mapping[str, Info]
Make = Callable[[Clients], bytes]


class MadeOnce:
    """Keep bytes made of what ``Presence.of`` has returned, while it returns the same object.

    Any thread may call it. What was asked for the longest ago is dropped for what is new.

    Args:
        max_size: bytes in total.
    """

    __slots__ = ("_max", "_size", "_lock", "_made")

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._max = max_size
        self._size = 0
        self._lock = threading.Lock()
        self._made: dict[Hashable, tuple[Clients, bytes]] = {}     # the oldest first

    def __repr__(self) -> str:
        return f"<MadeOnce {self._size} bytes of {len(self._made)} channels>"

    def of(self, channel: str, found: Clients, make: Make) -> bytes:
        """Return what ``make`` returns for these clients; it is called with no lock held."""
        key = channel, make
        with self._lock:
            known = self._pop(key)
            if known is not None and known[0] is found:
                self._put(key, known)
                return known[1]
        made = make(found)
        with self._lock:
            self._pop(key)
            self._put(key, (found, made))
            while self._size > self._max:
                self._pop(next(iter(self._made)))
        return made

    def _pop(self, key: Hashable) -> tuple[Clients, bytes] | None:
        known = self._made.pop(key, None)
        if known is not None:
            self._size -= len(known[1])
        return known

    def _put(self, key: Hashable, known: tuple[Clients, bytes]) -> None:
        self._made[key] = known
        self._size += len(known[1])
