"""What all connections of one run of the server share."""
from __future__ import annotations

from typing import Any, Callable, Generic
from typing import Protocol as Interface

from ..channels.hub import Hub, M
from ..settings import Settings
from .loop import Loop
from .timers import Timer
from .workers import STALL, Job, Mailbox, Workers


class Events(Interface):
    """Who is told, on a worker thread, what happens to connections."""

    def opened(self, connection: Any) -> None:
        """A connection is open."""

    def received(self, connection: Any, message: Any) -> None:
        """A connection has received a message."""

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """A connection has ended."""


class Home(Generic[M]):
    """Hold what all links of one run of the server share.

    ``post`` and ``links`` belong to the loop's thread; the rest may be read by any.
    """

    def __init__(self, settings: Settings, hub: Hub[M], loop: Loop, workers: Workers,
                 events: Events) -> None:
        self.settings = settings
        self.hub = hub
        self.loop = loop
        self.workers = workers
        self.events = events
        self.links: set[M] = set()
        self.on_empty: Callable[[], None] | None = None
        self._relief: Timer | None = None

    def __repr__(self) -> str:
        return f"<Home {len(self.links)} links, {self.loop!r}, {self.workers!r}>"

    def post(self, mailbox: Mailbox, job: Job) -> None:
        """Have a callback run on a worker, and see to it that blocked workers are relieved."""
        self.workers.post(mailbox, job)
        if self._relief is None and self.workers.is_behind:
            self._relief = self.loop.call_later(STALL, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        if self.workers.is_behind:
            self.workers.relieve()
            self._relief = self.loop.call_later(STALL, self._relieve)

    def ended(self, link: M) -> None:
        """Forget a link that has ended."""
        self.links.discard(link)
        if not self.links and self.on_empty is not None:
            self.on_empty()
