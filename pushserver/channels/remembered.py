"""Where channels stood whose histories have become empty."""
from __future__ import annotations

import sys
from typing import NamedTuple

NAME_OVERHEAD = 150
"""Bytes counted for a remembered channel in addition to its name: about what Python needs."""


class Ended(NamedTuple):
    """How far a history had got when it became empty.

    Attributes:
        generation: part of its epoch.
        top: its newest offset.
    """

    generation: int
    top: int


class Remembered:
    """Keep the positions of channels with empty histories, in two halves; not thread-safe.

    When the newer half is full, the older one is dropped, all at once. What the epochs of all new
    histories have in common must change then, so that no dropped offset is used again.

    Args:
        size: bytes that it may take.

    Attributes:
        bytes: what it takes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._newer: dict[str, Ended] = {}
        self._older: dict[str, Ended] = {}
        self._newer_bytes = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def __repr__(self) -> str:
        return f"<Remembered {len(self)} channels, {self.bytes} bytes>"

    def put(self, channel: str, ended: Ended) -> dict[str, Ended]:
        """Remember a channel that is not remembered yet; return what is dropped for it."""
        cost = _cost(channel)
        dropped = self.turn() if self._newer_bytes + cost > self._size // 2 else {}
        self._newer[channel] = ended
        self._newer_bytes += cost
        self.bytes += cost
        return dropped

    def turn(self) -> dict[str, Ended]:
        """Drop the older half; return it, so that no lock is held while it is freed."""
        dropped, self._older, self._newer = self._older, self._newer, {}
        self.bytes, self._newer_bytes = self._newer_bytes, 0
        return dropped

    def find(self, channel: str) -> Ended | None:
        """Return where a channel stood, or None."""
        return self._newer.get(channel) or self._older.get(channel)

    def take(self, channel: str) -> Ended | None:
        """Do the same as ``find``, and remember it no longer: its history goes on."""
        found = self._newer.pop(channel, None)
        if found is not None:
            self._newer_bytes -= _cost(channel)
        else:
            found = self._older.pop(channel, None)
        if found is not None:
            self.bytes -= _cost(channel)
        return found


def _cost(channel: str) -> int:
    return NAME_OVERHEAD + sys.getsizeof(channel)
