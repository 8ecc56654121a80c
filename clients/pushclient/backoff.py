"""The delay before the next attempt. Pure: no clock, no socket."""
from __future__ import annotations

from random import SystemRandom
from typing import Callable

FIRST_WINDOW = 0.5
"""Seconds: the longest that the first delay can be."""

LARGEST_WINDOW = 20.0
"""Seconds: the longest that any delay can be, a server's Retry-After aside."""

SHORTEST_DELAY = 0.05
"""Seconds: a server that has just died is left alone at least for this."""

LONGEST_RETRY_AFTER = 3600.0
"""Seconds: the longest Retry-After that is honoured."""


class Backoff:
    """Draw delays with full jitter from a window that doubles with each failure.

    So a thousand clients that lose their server at the same moment come back one by one. Not safe
    for several threads.

    Args:
        uniform: returns a number between its two arguments.

    Attributes:
        failures: attempts that have failed since the last ``reset``.
    """

    def __init__(self, uniform: Callable[[float, float], float] = SystemRandom().uniform) -> None:
        self.failures = 0
        self._uniform = uniform

    def reset(self) -> None:
        """Start again with the shortest window: a connection has proved itself."""
        self.failures = 0

    def next_delay(self, *, retry_after: float = 0.0) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            retry_after: seconds that the server asked for. The jitter comes on top, because the
                server asked every client for the same.
        """
        asked = min(retry_after, LONGEST_RETRY_AFTER)
        return asked + self._uniform(SHORTEST_DELAY, self.window)

    @classmethod
    def delay_after(cls, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        backoff = cls()
        backoff.failures = failures
        return backoff.next_delay()

    @property
    def window(self) -> float:
        """Return the longest that the next delay can be, in seconds."""
        doublings = max(0, self.failures - 1)
        if doublings >= _DOUBLINGS:
            return LARGEST_WINDOW
        return min(LARGEST_WINDOW, FIRST_WINDOW * (1 << doublings))


_DOUBLINGS = int(LARGEST_WINDOW / FIRST_WINDOW).bit_length()
