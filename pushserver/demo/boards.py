"""The boards of all who play, and of those who left last."""
from __future__ import annotations

from collections import Counter

from .board import Board

KEPT = 500


class Boards:
    """A board for each Id. One thread at a time may use it.

    Args:
        kept: how many boards to keep of those who have left.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._windows: Counter[str] = Counter()
        self._played: dict[str, Board] = {}
        self._left: dict[str, Board] = {}  # who left longest ago at the front

    def __len__(self) -> int:
        return len(self._played) + len(self._left)

    def enter(self, Id: str) -> bool:
        """Count one more window of an Id; with the first, find its board again or make one."""
        self._windows[Id] += 1
        if Id in self._played:
            return False
        self._played[Id] = self._left.pop(Id) if Id in self._left else Board()
        return True

    def leave(self, Id: str) -> None:
        """Count one window less; behind the last one, forget who is long gone."""
        self._windows[Id] -= 1
        if not self._windows[Id]:
            del self._windows[Id]
            self._left[Id] = self._played.pop(Id)
            if len(self._left) > self._kept:
                del self._left[next(iter(self._left))]

    def find(self, Id: str) -> Board | None:
        """Return an Id's board, if it has one."""
        return self._played.get(Id) or self._left.get(Id)

    def renew(self, Id: str) -> None:
        """Give an Id that plays a fresh board."""
        self._played[Id] = Board()
