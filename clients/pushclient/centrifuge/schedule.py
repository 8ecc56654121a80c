"""What a connection has to do later. Pure: it has no clock of its own."""
from __future__ import annotations

from ..websocket.waker import NEVER


class Schedule:
    """Hold one time for each channel. Not safe for several threads.

    Attributes:
        next: the earliest time; ``NEVER``: there is none.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self.next = NEVER

    def at(self, channel: str, when: float) -> None:
        """Set a channel's time, replacing any earlier one."""
        self._times[channel] = when
        self._update()

    def drop(self, channel: str) -> None:
        """Forget a channel's time, if there is one."""
        if self._times.pop(channel, None) is not None:
            self._update()

    def take(self, now: float) -> list[str]:
        """Return the channels whose time has come, and forget these times."""
        due = [channel for channel, when in self._times.items() if when <= now]
        for channel in due:
            del self._times[channel]
        self._update()
        return due

    def _update(self) -> None:
        self.next = min(self._times.values(), default=NEVER)
