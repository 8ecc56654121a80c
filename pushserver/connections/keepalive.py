"""Pings and heartbeats: how each end of a connection learns that the other is alive."""
from __future__ import annotations

from functools import partial
from typing import Protocol

from ..runtime.loop import Watched
from ..runtime.outbox import Outbox
from ..runtime.timers import Action, Timer
from ..transports.transport import Transport
from ..wire.keepalive import KeepAliveRule
from .codec import FramedCodec
from .context import Context
from .inbox import Handler, Inbox
from .pace import Pace


class Living(Watched, Protocol):
    """A connection to keep alive; it is told when its client seems to be gone."""

    connection: Handler
    context: Context
    inbox: Inbox
    outbox: Outbox
    encoding: FramedCodec
    transport: Transport
    pace: Pace
    last_read: float
    """The loop's time when something last arrived."""

    def write(self, *pieces: bytes) -> None:
        """Queue a frame and write it."""

    def progress(self) -> tuple[int, int]:
        """Return how many bytes the client has taken, and how many are on their way to it."""

    def no_pong(self) -> None:
        """End: the client has not answered a ping."""


class KeepAlive:
    """Ping a silent client, and send heartbeats to show that the server is alive.

    Made when a connection opens; ``stop`` must follow when it begins to close. Only the loop's
    thread may call it.

    Args:
        link: the connection.
        heartbeat: seconds between heartbeats; 0: none.
    """

    __slots__ = ("_link", "_rule", "_ping", "_heartbeat", "_taken", "_ping_ends", "_interval")

    def __init__(self, link: Living, heartbeat: float = 0) -> None:
        self._link = link
        settings = link.context.settings
        interval = self._interval = link.connection.heartbeat_freq or settings.ping_interval
        self._taken = self._ping_ends = 0   # in bytes; see ``_overdue``
        self._rule = KeepAliveRule(interval, settings.pong_timeout,
                                   always_pings=link.encoding.codec.awaits_pings
                                   or bool(link.connection.heartbeat_freq))
        self._ping = self._later(interval, self._check) if interval else None
        self._heartbeat = self._later(heartbeat, partial(self._beat, heartbeat)) \
            if heartbeat else None

    def __repr__(self) -> str:
        return f"<KeepAlive {'with' if self._heartbeat else 'without'} heartbeats>"

    def stop(self) -> None:
        """Do nothing more."""
        for timer in (self._ping, self._heartbeat):
            if timer is not None:
                timer.cancel()

    def _later(self, seconds: float, action: Action) -> Timer:
        loop = self._link.context.runtime.loop
        return loop.call_later(seconds, partial(loop.guarded, self._link, action))

    def _check(self) -> None:
        """Ping a client that has been silent; end one that does not answer."""
        link, rule = self._link, self._rule
        now = link.context.runtime.loop.now
        rule.heard(link.last_read)
        if link.inbox.is_full or link.pace.is_paused:
            self._check_in(self._interval)
        elif rule.is_overdue(now):
            self._overdue(now)
        elif rule.is_due(now):
            self._await_pong(now)
            link.write(link.encoding.ping)
            self._taken, left = link.progress()
            self._ping_ends = self._taken + left
        else:
            self._check_in(rule.seconds(now) or 0.0)

    def _overdue(self, now: float) -> None:
        """End the client, unless it still reads what was sent before the ping."""
        taken = self._link.progress()[0]
        before, self._taken = self._taken, taken
        if before < taken < self._ping_ends:
            self._await_pong(now)
        else:
            self._link.no_pong()

    def _await_pong(self, now: float) -> None:
        self._rule.pinged(now)
        self._check_in(min(self._interval, self._link.context.settings.pong_timeout))

    def _check_in(self, seconds: float) -> None:
        self._ping = self._later(seconds, self._check)

    def _beat(self, seconds: float) -> None:
        """Send a heartbeat, unless something else is waiting to be sent."""
        self._heartbeat = self._later(seconds, partial(self._beat, seconds))
        if not self._link.outbox.size:
            self._link.write(self._link.transport.framing.heartbeat)
