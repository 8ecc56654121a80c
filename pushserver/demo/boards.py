"""The boards of everyone who is playing, and of those who left most recently."""
from __future__ import annotations

from collections import Counter

from .board import Board

KEPT = 500


class Boards:
    """A board for each Id. Only one thread at a time may use it.

    Args:
        kept: how many boards of players who have left to keep.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._windows: Counter[str] = Counter()
        self._played: dict[str, Board] = {}
        self._left: dict[str, Board] = {}  # whoever left first comes first

    def __len__(self) -> int:
        return len(self._played) + len(self._left)

    def enter(self, Id: str) -> bool:
        """Count one more window of an Id; for the first, find its board again or make one."""
        self._windows[Id] += 1
        if Id in self._played:
            return False
        self._played[Id] = self._left.pop(Id) if Id in self._left else Board()
        return True

    def leave(self, Id: str) -> None:
        """Count one window less; after the last, drop the board of whoever left longest ago."""
        self._windows[Id] -= 1
        if not self._windows[Id]:
            del self._windows[Id]
            self._left[Id] = self._played.pop(Id)
            if len(self._left) > self._kept:
                del self._left[next(iter(self._left))]

    def find(self, Id: str) -> Board | None:
        """Return an Id's board, or None."""
        return self._played.get(Id) or self._left.get(Id)

    def renew(self, Id: str) -> None:
        """Give a new board to an Id that is playing."""
        self._played[Id] = Board()
