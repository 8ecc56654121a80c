"""Calls to make later, for one thread."""
from __future__ import annotations

import heapq
from itertools import count
from typing import Callable

Action = Callable[[], None]

FEW_CANCELLED = 64
"""Up to this many cancelled calls are left in place."""


class Timer:
    """One call to make at a given time; ``cancel`` drops it and everything it refers to."""

    __slots__ = ("action", "_timers")

    def __init__(self, action: Action, timers: "Timers") -> None:
        self.action: Action | None = action
        self._timers = timers

    def cancel(self) -> None:
        """Take the call back. Safe to repeat, also after the call was made."""
        if self.action is not None:
            self.action = None
            self._timers.cancelled += 1

    def fire(self) -> None:
        """Make the call, unless it was cancelled or already made."""
        action, self.action = self.action, None
        if action is not None:
            action()


class Timers:
    """Keep calls in the order in which they are due. Only the loop's thread may use it.

    Attributes:
        cancelled: cancelled calls that still take room; never more than the live ones plus
            ``FEW_CANCELLED``.
    """

    def __init__(self) -> None:
        self.cancelled = 0
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return sum(timer.action is not None for _, _, timer in self._heap)

    def add(self, when: float, action: Action) -> Timer:
        """Schedule a call.

        Args:
            when: the time at which it is due, in seconds of the monotonic clock.
            action: what to call.
        """
        if self.cancelled > FEW_CANCELLED and self.cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self.cancelled = 0
        timer = Timer(action, self)
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def wait(self, now: float, most: float) -> float:
        """Return the seconds until the next call is due, from 0 to ``most``."""
        while self._heap and self._heap[0][2].action is None:
            self._pop()
        if not self._heap:
            return most
        return min(most, max(0.0, self._heap[0][0] - now))

    def due(self, now: float) -> list[Timer]:
        """Remove the calls that are due and return them, in the order of their times."""
        timers = []
        while self._heap and self._heap[0][0] <= now:
            timers.append(self._pop())
        return timers

    def _pop(self) -> Timer:
        timer = heapq.heappop(self._heap)[2]
        if timer.action is None:
            self.cancelled -= 1
        return timer
