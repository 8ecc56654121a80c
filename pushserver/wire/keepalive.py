"""When to ping a silent peer, and when to assume that it is gone. Pure: no clock, no timer.

Server and client share this rule; each asks it when that suits its own loop.
"""
from __future__ import annotations

LONG_AGO = float("-inf")


class KeepAliveRule:
    """Know when a ping is due, and when its answer is overdue.

    Any traffic counts as an answer. Time in which we did not read does not count against the peer:
    the wait for an answer begins with the ping, and a side that is not reading sends none. Not
    thread-safe.

    Args:
        interval: seconds without traffic before a ping; 0: never.
        timeout: seconds to wait for traffic after a ping.
        always_pings: ping in every interval, whatever has arrived.

    Attributes:
        pinged_at: when the last ping was sent.
    """

    __slots__ = ("pinged_at", "_heard_at", "_interval", "_timeout", "_always_pings")

    def __init__(self, interval: float, timeout: float, *, always_pings: bool = False) -> None:
        self.pinged_at = LONG_AGO
        self._heard_at = LONG_AGO
        self._interval = interval
        self._timeout = timeout
        self._always_pings = always_pings

    def __repr__(self) -> str:
        state = "waiting for a pong" if self.pinged_at > self._heard_at else "at rest"
        return f"<KeepAliveRule {state}>"

    def heard(self, when: float) -> None:
        """Note when something last arrived."""
        self._heard_at = when

    def pinged(self, now: float) -> None:
        """Note that a ping was sent."""
        self.pinged_at = now

    def is_due(self, now: float) -> bool:
        """Tell whether to send a ping."""
        return bool(self._interval) and self.pinged_at <= self._heard_at and now >= self._due_at

    def is_overdue(self, now: float) -> bool:
        """Tell whether the peer has left a ping unanswered."""
        return self.pinged_at > self._heard_at and now >= self.pinged_at + self._timeout

    def seconds(self, now: float) -> float | None:
        """Return the seconds until there is something to do; None: never."""
        if self.pinged_at > self._heard_at:
            return max(0.0, self.pinged_at + self._timeout - now)
        return max(0.0, self._due_at - now) if self._interval else None

    @property
    def _due_at(self) -> float:
        return self._interval + (self.pinged_at if self._always_pings else self._heard_at)
