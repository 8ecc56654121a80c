"""What has to be done later, on a worker thread."""
from __future__ import annotations

from functools import partial
from typing import Any, Callable

from .runtime import Home
from .timers import Timer
from .workers import Mailbox


class Chore:
    """Something to be done later; ``cancel`` takes it back, from any thread."""

    __slots__ = ("_home", "_mailbox", "_job", "_timer")

    def __init__(self, home: Home[Any], mailbox: Mailbox, seconds: float,
                 job: Callable[[], None]) -> None:
        self._home = home
        self._mailbox = mailbox
        self._job: Callable[[], None] | None = job
        self._timer: Timer | None = None
        home.loop.call(partial(self._arm, seconds))

    def __repr__(self) -> str:
        return f"<Chore{'' if self._job else ' done'}>"

    def cancel(self) -> None:
        """Do not do it, unless it is being done. Safe to repeat."""
        self._job = None
        self._home.loop.call(self._disarm)

    def _arm(self, seconds: float) -> None:
        if self._job is not None:
            self._timer = self._home.loop.call_later(seconds, self._post)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _post(self) -> None:
        self._home.workers.post(self._mailbox, self._run)

    def _run(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job()
