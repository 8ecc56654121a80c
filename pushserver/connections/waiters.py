"""Those who wait until a client has read most of what was sent to it."""
from __future__ import annotations

from functools import partial
from typing import Protocol

from ..runtime.loop import Watched
from ..runtime.outbox import Outbox
from ..runtime.timers import Action, Timer
from .context import Context


class Reader(Watched, Protocol):
    """A connection whose client is to read."""

    context: Context
    outbox: Outbox

    def progress(self) -> tuple[int, int]:
        """Return how many bytes the client has taken, and how many are on their way to it."""

    def slow(self) -> None:
        """Close: the client does not read."""


class Waiters:
    """Call those who wait for a client to read, and end a client that reads nothing.

    A client that takes at least something in every ``pong_timeout`` may be as slow as it likes.
    Only the loop's thread may call it.

    Args:
        reader: the connection.
    """

    __slots__ = ("_reader", "_waiting", "_deadline")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: list[tuple[int, Action]] = []
        self._deadline: Timer | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Waiters {len(self)}>"

    def add(self, most: int, action: Action) -> None:
        """Call something as soon as at most so many bytes wait for the client."""
        self._waiting.append((most, action))
        self.tell()
        if self._waiting and self._deadline is None:
            self._expect(self._reader.progress()[0])

    def tell(self) -> None:
        """Call those for whom the client has read enough."""
        size = self._reader.outbox.size
        ready = [action for most, action in self._waiting if size <= most]
        if ready:
            self._waiting = [one for one in self._waiting if size > one[0]]
            self._call(ready)

    def end(self) -> None:
        """Call all: the client gets nothing more."""
        waiting, self._waiting = self._waiting, []
        self._call([action for _, action in waiting])

    def _call(self, actions: list[Action]) -> None:
        if not self._waiting and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        for action in actions:
            action()

    def _expect(self, taken: int) -> None:
        """Look after a while whether the client has taken more than this."""
        context = self._reader.context
        loop = context.runtime.loop
        self._deadline = loop.call_later(
            context.settings.pong_timeout,
            partial(loop.guarded, self._reader, self._check, taken))

    def _check(self, before: int) -> None:
        self._deadline = None
        self._reader.flush()    # the selector reports a slow socket late
        if not self._waiting or self._deadline is not None:
            return
        taken = self._reader.progress()[0]
        if taken == before:
            self._reader.slow()
        else:
            self._expect(taken)
