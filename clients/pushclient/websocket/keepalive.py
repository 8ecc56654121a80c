"""When to ping a silent server, and when to believe that it is gone. Pure: no clock of its own."""
from __future__ import annotations


class Keepalive:
    """Know when a ping is due and when its answer is overdue.

    Any traffic counts as an answer. Time in which the client did not read does not count against
    the server: the wait for an answer begins with the ping, which only a reading client sends.

    Args:
        interval: seconds without traffic before a ping; 0: never.
        timeout: seconds to wait for traffic after a ping.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._heard = 0.0
        self._answer_by: float | None = None

    def heard(self, now: float) -> None:
        """Note that something came."""
        self._heard = now
        self._answer_by = None

    def pinged(self, now: float) -> None:
        """Note that a ping was sent."""
        self._answer_by = now + self._timeout

    def is_due(self, now: float) -> bool:
        """Tell whether to send a ping."""
        return bool(self._interval and self._answer_by is None
                    and now >= self._heard + self._interval)

    def is_overdue(self, now: float) -> bool:
        """Tell whether the server has left a ping without an answer."""
        return self._answer_by is not None and now >= self._answer_by

    def seconds(self, now: float) -> float | None:
        """Return how long nothing has to be done; None for ever."""
        if self._answer_by is not None:
            return max(0.0, self._answer_by - now)
        return max(0.0, self._heard + self._interval - now) if self._interval else None
