"""What one channel remembers: its last publications, each with its position. No I/O, no locks."""
from __future__ import annotations

import time

from .publication import NOWHERE, Clock, Limits, Page, Position, Publication

_WORTH_CLEARING = 32
"""Up to this many forgotten entries may stay at the front of a ring."""

_CLEARING_SHARE = 4
"""A ring is cleared once more than one entry in this many is forgotten, which keeps it cheap."""


class History:
    """Keep the last publications of one channel, within limits.

    Offsets have no gaps, so each publication is found by its index. What is too old is never
    returned, and is freed at the next use. Not thread-safe.

    Args:
        epoch: the name of this history, which no other history of the channel has had.
        limits: how much may be kept; may be changed at any time.
        clock: returns seconds that never go back.
        top: the offset to go on from.

    Attributes:
        top: the newest offset, 0 before the first.
        used: clock time of the last publication, or of the beginning.
        size: bytes of all that is held, by ``Publication.cost``.
    """

    __slots__ = ("epoch", "limits", "top", "used", "size", "_clock", "_ring", "_times",
                 "_first")

    def __init__(self, epoch: str, limits: Limits, clock: Clock = time.monotonic,
                 top: int = 0) -> None:
        self.epoch = epoch
        self.limits = limits
        self.top = top
        self.used = clock()
        self._clock = clock
        self._ring: list[Publication | None] = []   # None: forgotten, but not yet cleared
        self._times: list[float] = []               # of the same entries, by the clock
        self._first = 0                             # index of the oldest that is held
        self.size = 0

    def __len__(self) -> int:
        return len(self._ring) - self._first

    def __repr__(self) -> str:
        return f"<History {len(self)} held, {self.size} bytes, top {self.top}>"

    @property
    def position(self) -> Position:
        """Return the position of the newest publication."""
        return Position(self.top, self.epoch)

    @property
    def oldest(self) -> int:
        """Return the offset of the oldest publication held; one past the newest if none is."""
        return self.top + 1 - len(self)

    @property
    def due(self) -> float:
        """Return the clock time at which the oldest publication held is too old."""
        return self._times[self._first] + self.limits.age

    def append(self, publication: Publication) -> Position:
        """Give a publication the next offset and keep it."""
        self.top += 1
        publication.offset = self.top
        self.used = now = self._clock()
        self._ring.append(publication)
        self._times.append(now)
        self.size += publication.cost
        self._trim(now)
        return Position(self.top, self.epoch)

    def since(self, position: Position | None, limit: int | None = None) -> Page:
        """Return what was published after a position.

        ``recovered`` is True only if nothing is missing: the position is of this epoch (or is
        ``NOWHERE``, for the whole history), not from the future, and everything after it is
        still held and fits the limit.

        Args:
            position: the last one that the caller has seen; None: return only ``top``.
            limit: publications at most; if there are more, nothing is recovered.
        """
        self.expire()
        if position is None or not self._knows(position):
            return Page((), self.position, False)
        count = self.top - position.offset
        if count > len(self) or limit is not None and count > limit:
            return Page((), self.position, False)
        return Page(self._slice(position.offset + 1, self.top), self.position, True)

    def _knows(self, position: Position) -> bool:
        """Tell whether a position can be one of this history's."""
        if position.epoch != self.epoch and position != NOWHERE:
            return False
        return 0 <= position.offset <= self.top

    def page(self, limit: int | None, since: Position | None = None,
             reverse: bool = False) -> Page:
        """Return some of the publications held, to read through a history page by page.

        Args:
            limit: publications at most; 0: none, only ``top``; None: all.
            since: return those after this position, or before it if reversed; None: start with
                the oldest, or with the newest if reversed.
            reverse: newest first.

        Returns:
            A page whose ``recovered`` tells whether the position is one of this history's and,
            reading forward, none is missing between it and the first publication returned.
        """
        self.expire()
        if since is not None and not self._knows(since):
            return Page((), self.position, False)
        first, last = self.oldest, self.top
        if reverse and since is not None:
            last = min(last, since.offset - 1)
        elif since is not None:
            first = max(first, since.offset + 1)
        complete = since is not None and (reverse or since.offset + 1 >= first)
        if limit is not None:
            first, last = (max(first, last + 1 - limit), last) if reverse else \
                (first, min(last, first + limit - 1))
        found = self._slice(first, last)
        return Page(found[::-1] if reverse else found, self.position, complete)

    def _slice(self, first: int, last: int) -> list[Publication]:
        """Return the publications from one offset to another, both of which are held."""
        if last < first:
            return []
        base = self._first - self.oldest
        return self._ring[base + first:base + last + 1]  # type: ignore[return-value]

    def remove(self) -> None:
        """Forget all publications; offsets continue from where they were."""
        self._forget(len(self))

    def expire(self) -> None:
        """Forget what is too old."""
        self._trim(self._clock())

    def _trim(self, now: float) -> None:
        """Forget what exceeds a limit."""
        count, size, age = self.limits
        excess = len(self) - count
        if age:
            excess = max(excess, self._older(now - age))
        self._forget(excess)
        while self.size > size and len(self) > 1:
            self._forget(1)

    def _older(self, then: float) -> int:
        """Return how many of the oldest were published at or before a time."""
        index = self._first
        while index < len(self._times) and self._times[index] <= then:
            index += 1
        return index - self._first

    def _forget(self, count: int) -> None:
        for index in range(self._first, self._first + count):
            publication = self._ring[index]
            assert publication is not None
            self.size -= publication.cost
            self._ring[index] = None
        self._first += max(0, count)
        if self._first == len(self._ring) or self._first > _WORTH_CLEARING and \
                self._first * _CLEARING_SHARE > len(self._ring):
            del self._ring[:self._first], self._times[:self._first]
            self._first = 0
