"""When a client that causes more than its share goes on."""
from __future__ import annotations

from functools import partial
from typing import Protocol

from ..runtime.loop import Watched
from ..runtime.timers import Action
from ..wire.disconnects import ABNORMAL, Disconnect
from .context import Context

LOOK = 1.0
"""Seconds after which a client that is paused may be found to have left."""


class Source(Watched, Protocol):
    """A connection whose client sends."""

    context: Context

    def look(self) -> tuple[bool, bool]:
        """Tell whether something waits to be read, and whether the client has left behind that."""

    def watch(self) -> None:
        """Read, or do not read, as ``Pace.is_paused`` says."""

    def read_on(self) -> None:
        """Read again what waits."""

    def too_much(self) -> None:
        """Close: the client goes on for too long."""

    def end(self, disconnect: Disconnect) -> None:
        """End immediately."""


class Pace:
    """Pause a client that causes more than its share while others wait; see ``runtime/shares``.

    Only the loop's thread may call it. It does not refer to its connection, which refers to it.

    Attributes:
        is_paused: nothing is to be read now.
    """

    __slots__ = ("is_paused", "_until", "_postponed")

    def __init__(self) -> None:
        self.is_paused = False
        self._until = 0.0
        self._postponed: Action | None = None

    def __repr__(self) -> str:
        return f"<Pace{' paused' if self.is_paused else ''}>"

    def charge(self, source: Source, total: int) -> None:
        """Count what the client has caused; pause if that is more than its share.

        Args:
            source: the connection.
            total: units since the client came.
        """
        allowance, now = source.allowance, source.context.runtime.loop.now
        allowance.charge(total, now)
        seconds = allowance.pause(now)
        if seconds and not self.is_paused:
            self.is_paused = True
            self._until = now + seconds
            source.watch()
            self._wait(source, allowance.seconds_over(now))

    def _wait(self, source: Source, seconds: float) -> None:
        """Go on after the pause, unless the client has left, or has been over for too long.

        Args:
            source: the connection.
            seconds: for which it could not be read as it sends; if it has left less long ago than
                ``LOOK``, all that it has sent may yet be read.
        """
        allowance, loop = source.allowance, source.context.runtime.loop
        waits, has_left = source.look()
        if not waits:
            allowance.has_caught_up()
        elif has_left and seconds >= LOOK:
            source.end(ABNORMAL)    # the rest of what it has sent is beyond its share
            return
        loop.call_later(min(LOOK, self._until - loop.now),
                        partial(loop.guarded, source, self._go_on, source))
        if allowance.is_too_much(loop.now):
            source.too_much()

    def _go_on(self, source: Source) -> None:
        if not self.is_paused:
            return  # it has been ended
        if self._until > source.context.runtime.loop.now:
            self._wait(source, LOOK)
            return
        self.end()
        source.read_on()

    def when_allowed(self, action: Action) -> None:
        """Call something as soon as the client may cause more, or at the end."""
        if self.is_paused:
            self._postponed = action
        else:
            action()

    def end(self) -> None:
        """End the pause."""
        self.is_paused = False
        action, self._postponed = self._postponed, None
        if action is not None:
            action()
