"""Rights that last as long as something that only the site can look up, such as a session."""
from __future__ import annotations

import logging
import math
import time
from typing import Callable

from ..runtime.runtime import DelayedJob
from ..runtime.workers import Mailbox
from ..wire.disconnects import EXPIRED
from .handle import Handle

logger = logging.getLogger(__name__)

LOOK_EVERY = 30.0
"""Most seconds between two looks: what is ended early, without a word to us, is noticed by then."""


DOUBT = 1.0
"""Seconds after which something that is over before its time is looked at again: a session that is
getting a new id is nowhere for a moment."""


class Lease:
    """End a client's rights when its lease is over. Made on any thread, with no lock held.

    Args:
        handle: the connection's.
        left: returns the seconds that are left, 0 if it is over. Called on a worker, now and
            whenever it may be over; it may wait.
    """

    __slots__ = ("_handle", "_left", "_mailbox", "_job", "_cancelled", "_due")

    def __init__(self, handle: Handle, left: Callable[[], float]) -> None:
        self._handle = handle
        self._left = left
        self._mailbox = Mailbox()   # not the connection's own, in which it could have to wait
        self._job: DelayedJob | None = None
        self._cancelled = False
        self._due = math.inf    # when it is to be over, by what was last seen
        handle.context.runtime.run(self._mailbox, self._look)

    def __repr__(self) -> str:
        return f"<Lease of {self._handle!r}>"

    def cancel(self) -> None:
        """Look no more: the connection has ended."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def _look(self) -> None:
        if self._cancelled:
            return
        try:
            seconds = self._left()
        except Exception:
            logger.exception("Id %r: its session cannot be looked up", self._handle.link.Id)
            self._look_in(LOOK_EVERY)
            return
        now = time.monotonic()
        if seconds > 0:
            self._due = now + seconds
            self._look_in(min(seconds, LOOK_EVERY))
        elif now < self._due - DOUBT:
            self._due = now
            self._look_in(DOUBT)
        else:
            self._handle.end(EXPIRED)

    def _look_in(self, seconds: float) -> None:
        runtime = self._handle.context.runtime
        self._job = job = runtime.later(self._mailbox, seconds, self._look)
        if self._cancelled:     # meanwhile
            job.cancel()
