"""Calls that are due later, for one thread."""
from __future__ import annotations

import heapq
from itertools import count
from typing import Callable

Action = Callable[[], None]


class Timer:
    """One call that is due at a time; ``cancel`` forgets it and all that it refers to."""

    __slots__ = ("when", "action")

    def __init__(self, when: float, action: Action) -> None:
        self.when = when
        self.action: Action | None = action

    def cancel(self) -> None:
        """Take the call back. Safe to repeat, and after it has run."""
        self.action = None

    def fire(self) -> None:
        """Make the call, unless it was taken back or made already."""
        action, self.action = self.action, None
        if action is not None:
            action()


class Timers:
    """Keep calls by the time at which they are due. Only the loop thread may call it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return sum(timer.action is not None for _, _, timer in self._heap)

    def add(self, when: float, action: Action) -> Timer:
        """Have a call made at a time.

        Args:
            when: seconds of the monotonic clock.
            action: what to call.
        """
        timer = Timer(when, action)
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def wait(self, now: float, most: float) -> float:
        """Return the seconds until the next call is due, at least 0 and at most ``most``."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        if not self._heap:
            return most
        return min(most, max(0.0, self._heap[0][0] - now))

    def due(self, now: float) -> list[Timer]:
        """Take out the calls that are due, in the order of their times, and return them."""
        timers = []
        while self._heap and self._heap[0][0] <= now:
            timers.append(heapq.heappop(self._heap)[2])
        return timers
