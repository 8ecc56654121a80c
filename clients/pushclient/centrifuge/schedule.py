"""What a connection has to do later. Pure: no clock of its own."""
from __future__ import annotations

from ..websocket.waker import NEVER


class Schedule:
    """Know when it is which channel's turn; each has one time. Not safe for several threads.

    Attributes:
        next: the earliest of all times.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self.next = NEVER

    def at(self, channel: str, when: float) -> None:
        """Set a channel's time, in place of the one before."""
        self._times[channel] = when
        self._look()

    def drop(self, channel: str) -> None:
        """Forget a channel's time, if there is one."""
        if self._times.pop(channel, None) is not None:
            self._look()

    def take(self, now: float) -> list[str]:
        """Return the channels whose time has come, and forget those times."""
        due = [channel for channel, when in self._times.items() if when <= now]
        for channel in due:
            del self._times[channel]
        self._look()
        return due

    def _look(self) -> None:
        self.next = min(self._times.values(), default=NEVER)
