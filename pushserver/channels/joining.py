"""Join a channel without a gap or a double: history and live delivery are merged by offset."""
from __future__ import annotations

import threading
from typing import Any, Callable, Iterable

from .publication import Page, Position, Publication

KEPT, KNOWN, LIVE, BROKEN = range(4)
"""What becomes of a publication: it is kept until the reply is out; the subscriber has it already;
it is to be delivered, and all that follow go the usual way; something before it is missing."""

MAX_KEPT = 10_000
"""Publications that are kept for one subscription that is being made."""


class Joining:
    """Hold one subscription from its beginning until live delivery has caught up with its reply.

    It is made first, and each delivery to the channel offers its publication from then on. Then
    the history is read, in whatever time that takes. ``settle`` queues the reply with what the
    history gave, and behind it what was offered meanwhile and is newer. The history can also have
    been ahead of live delivery: what comes late is recognised by its offset and dropped. With the
    first publication that is new the subscription is like any other.

    ``offer`` is called by the one who delivers, in the channel's order; ``settle`` by the thread
    that subscribes; ``cancel`` by any.

    Args:
        member: the connection, for whoever delivers.
    """

    __slots__ = ("member", "_lock", "_kept", "_settled", "_cancelled", "_overflow", "_last",
                 "_epoch")

    def __init__(self, member: Any) -> None:
        self.member = member
        self._lock = threading.Lock()
        self._kept: list[tuple[Publication, str]] = []
        self._settled = False
        self._cancelled = False
        self._overflow = False
        self._last = 0
        self._epoch = ""

    def __repr__(self) -> str:
        state = "settled" if self._settled else f"{len(self._kept)} kept"
        return f"<Joining {self.member!r}, {state}>"

    @property
    def is_settled(self) -> bool:
        """Tell whether the reply is out; while it is being queued, wait for that."""
        with self._lock:
            return self._settled

    @property
    def position(self) -> Position:
        """Return how far the reply has brought the subscriber, once it is settled."""
        return Position(self._last, self._epoch)

    def offer(self, publication: Publication, epoch: str) -> int:
        """Tell what becomes of a publication: KEPT, KNOWN, LIVE or BROKEN."""
        with self._lock:
            if self._cancelled:
                return KNOWN
            if self._settled:
                return self._next(publication, epoch)
            if len(self._kept) < MAX_KEPT:
                self._kept.append((publication, epoch))
            else:
                self._overflow = True
            return KEPT

    def _next(self, publication: Publication, epoch: str) -> int:
        if not self._is_new(publication, epoch):
            return KNOWN
        follows = not epoch or epoch != self._epoch or publication.offset == self._last + 1
        return LIVE if follows else BROKEN

    def _is_new(self, publication: Publication, epoch: str) -> bool:
        """Tell whether it comes behind all that was seen; another epoch is another history."""
        return not epoch or epoch != self._epoch or publication.offset > self._last

    def settle(self, page: Page, queue: Callable[[Iterable[Publication]], object]) -> bool:
        """Let the reply go out and end the keeping.

        Args:
            page: what the history gave: its ``top`` is what the reply tells or brings.
            queue: queues the reply with these publications behind it; it must not wait. False:
                it could not.

        Returns:
            False if there is a hole between the reply and what was kept, and nothing was queued,
            or if it could not be: the subscriber has to begin again.
        """
        with self._lock:
            self._last, self._epoch = page.top
            newer = []
            for publication, epoch in self._kept:
                if not self._is_new(publication, epoch):
                    continue
                if epoch and (epoch != self._epoch or publication.offset != self._last + 1):
                    self._overflow = True
                self._last = max(self._last, publication.offset)
                newer.append(publication)
            self._kept = []
            if self._overflow or self._cancelled or queue(newer) is False:
                self._cancelled = True
                return False
            self._settled = True
            return True

    def cancel(self) -> None:
        """Deliver nothing any more: the connection has left. It takes no lock."""
        self._cancelled = True
