"""How many channels one client publishes to."""
from __future__ import annotations

import time

from ..channels.publication import Clock
from . import errors

WINDOW = 60.0
"""Seconds for which a channel counts after a client has published to it."""


class Spread:
    """Limit the channels that a client publishes to within a minute. For one thread at a time.

    Args:
        clock: seconds that never go back.
    """

    __slots__ = ("_clock", "_when")

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._when: dict[str, float] = {}   # the longest unused first

    def __repr__(self) -> str:
        return f"<Spread over {len(self._when)} channels>"

    def add(self, channel: str, most: int) -> None:
        """Note that the client publishes to a channel.

        Raises:
            CommandError: 106: it is one more than ``most``.
        """
        now, when = self._clock(), self._when
        if channel in when:
            del when[channel]
        elif len(when) >= most:
            oldest = next(iter(when))
            if now - when[oldest] < WINDOW:
                raise errors.limit_exceeded()
            del when[oldest]
        when[channel] = now
