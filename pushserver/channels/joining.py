"""Join a channel without a gap or duplicates: history and live delivery are merged by offset."""
from __future__ import annotations

import threading
from typing import Any, Callable, Iterable

from .publication import Page, Position, Publication

KEPT, KNOWN, LIVE, BROKEN = range(4)
"""What happens to a publication: it is kept until the reply is out; the subscriber already has it;
it is delivered, and all later ones go the usual way; an earlier one is missing."""

MAX_KEPT = 10_000
MAX_KEPT_BYTES = 16 * 1024 * 1024
"""The most publications kept for one subscription in progress, and about how many bytes of them."""


class Joining:
    """Track one subscription from its beginning until live delivery catches up with its reply.

    It is made first; from then on, each delivery to the channel offers its publication. Then the
    history is read, however long that takes. ``settle`` queues the reply with what the history
    returned, followed by anything newer that was offered in between. The history can also have
    been ahead of live delivery: late publications are recognized by their offsets and dropped.
    With the first new publication, the subscription becomes like any other.

    A reply may hold only the first of what was missed. Then the subscription is behind, and keeps
    nothing: ``follow`` begins again with the position that was reached, and ``settle`` ends this
    step, until one has queued all.

    ``offer`` is called by the delivering thread, in the channel's order; ``settle`` and ``follow``
    by the thread that subscribes; ``cancel`` by any.

    Args:
        member: the connection, for the delivering thread.
    """

    __slots__ = ("member", "_lock", "_kept", "_size", "_answered", "_settled", "_behind",
                 "_cancelled", "_overflow", "_last", "_epoch")

    def __init__(self, member: Any) -> None:
        self.member = member
        self._lock = threading.Lock()
        self._kept: list[tuple[Publication, str]] = []
        self._size = 0
        self._answered = False
        self._settled = False
        self._behind = False
        self._cancelled = False
        self._overflow = False
        self._last = 0
        self._epoch = ""

    def __repr__(self) -> str:
        state = "settled" if self._settled else "behind" if self._behind \
            else f"{len(self._kept)} kept"
        return f"<Joining {self.member!r}, {state}>"

    @property
    def is_settled(self) -> bool:
        """Tell whether all that was missed is queued; wait if that is in progress."""
        with self._lock:
            return self._settled

    @property
    def is_answered(self) -> bool:
        """Tell whether the reply is queued, even if not all that was missed; wait likewise."""
        with self._lock:
            return self._answered

    @property
    def position(self) -> Position:
        """Return the position that the subscriber was brought to, once it was answered."""
        return Position(self._last, self._epoch)

    def offer(self, publication: Publication, epoch: str) -> int:
        """Tell what happens to a publication: KEPT, KNOWN, LIVE or BROKEN."""
        with self._lock:
            if self._cancelled or self._behind:
                return KNOWN
            if self._settled:
                return self._next(publication, epoch)
            if len(self._kept) < MAX_KEPT and self._size < MAX_KEPT_BYTES:
                self._kept.append((publication, epoch))
                self._size += publication.cost
            else:
                self._overflow = True
            return KEPT

    def _next(self, publication: Publication, epoch: str) -> int:
        if not self._is_new(publication, epoch):
            return KNOWN
        follows = not epoch or epoch != self._epoch or publication.offset == self._last + 1
        return LIVE if follows else BROKEN

    def _is_new(self, publication: Publication, epoch: str) -> bool:
        """Tell whether it comes after all that was seen; another epoch is another history."""
        return not epoch or epoch != self._epoch or publication.offset > self._last

    def settle(self, page: Page, queue: Callable[[Iterable[Publication]], object],
               reached: Position | None = None) -> bool:
        """Queue the reply with the kept publications, and keep no more.

        Args:
            page: what the history returned; its ``top`` is the position that the reply reaches.
            queue: queues the reply, followed by these publications; it must not wait. It returns
                False if it could not.
            reached: the position that the reply reaches, if it holds only the first of the page's
                publications.

        Returns:
            False if there is a hole between the reply and what was kept, and nothing was queued,
            or if ``queue`` returned False: the subscriber must begin again.
        """
        with self._lock:
            self._last, self._epoch = reached or page.top
            newer = [] if reached else self._newer()
            self._kept, self._size = [], 0
            self._overflow = self._overflow and not reached
            if self._overflow or self._cancelled or queue(newer) is False:
                self._cancelled = True
                return False
            self._answered = True
            self._behind = reached is not None
            self._settled = not self._behind
            return True

    def _newer(self) -> list[Publication]:
        """Return what was kept and is newer than what the history returned."""
        newer = []
        for publication, epoch in self._kept:
            if not self._is_new(publication, epoch):
                continue
            if epoch and (epoch != self._epoch or publication.offset != self._last + 1):
                self._overflow = True
            self._last = max(self._last, publication.offset)
            newer.append(publication)
        return newer

    def follow(self) -> bool:
        """Keep again, because the history is about to be read; False if it is not behind."""
        with self._lock:
            was_behind, self._behind = self._behind and not self._cancelled, False
            return was_behind

    def cancel(self) -> None:
        """Deliver nothing more: the connection has left. This takes no lock."""
        self._cancelled = True
