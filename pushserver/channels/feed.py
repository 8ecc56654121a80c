"""How far the live delivery of one channel has got on this node, and the holes in it."""
from __future__ import annotations

import threading
from typing import Callable, Iterable

from .joining import Joining
from .publication import Page, Position, Publication

NEXT, KNOWN, HELD, HOLE = range(4)
"""What happens to a publication: it is the next and is delivered; it was delivered before; it is
held until a hole is mended; it is held, and shows a new hole."""

MAX_HELD = 10_000
MAX_HELD_BYTES = 16 * 1024 * 1024
"""The most publications held while a hole is mended, and about how many bytes of them; any more,
and the missing ones are lost."""


class Feed:
    """Find holes in the delivery of one channel, by its publications' offsets.

    A broker can lose publications on their way to a node. The next one shows it, because offsets
    have no holes. That one and all later ones are held until ``mend`` is called with what the
    history holds after ``position``.

    ``take`` is called by the broker, in the channel's order; ``mend`` by the worker that mends.
    """

    __slots__ = ("_lock", "_offset", "_epoch", "_held", "_size")

    def __init__(self) -> None:
        self._lock = threading.Lock()   # kept while held publications go out, so new ones wait
        self._offset = 0
        self._epoch = ""
        self._held: list[tuple[Publication, str]] | None = None
        self._size = 0      # of those

    def __repr__(self) -> str:
        held = f", {len(self._held)} held" if self._held is not None else ""
        return f"<Feed at {self._offset}{held}>"

    @property
    def position(self) -> Position:
        """Return the position delivered last, ``NOWHERE`` before the first delivery."""
        return Position(self._offset, self._epoch)

    def take(self, publication: Publication, epoch: str, joining: Iterable[Joining]) -> int:
        """Tell what happens to a publication: NEXT, KNOWN, HELD or HOLE.

        Args:
            publication: with its offset.
            epoch: of its history; not empty.
            joining: subscriptions in progress; before the first delivery, they know where it must
                begin.
        """
        if self._held is None and publication.offset == self._offset + 1 and epoch == self._epoch:
            self._offset += 1
            return NEXT
        with self._lock:
            return self._take(publication, epoch, joining)

    def _take(self, publication: Publication, epoch: str, joining: Iterable[Joining]) -> int:
        if self._held is not None:
            if self._has_room(self._held):
                self._held.append((publication, epoch))
                self._size += publication.cost
            return HELD
        before = self._before(publication, epoch, joining)
        if publication.offset <= before:
            return KNOWN
        self._offset, self._epoch = before, epoch
        if publication.offset > before + 1:
            self._held, self._size = [(publication, epoch)], publication.cost
            return HOLE
        self._offset = publication.offset
        return NEXT

    def _has_room(self, held: list[tuple[Publication, str]]) -> bool:
        return len(held) < MAX_HELD and self._size < MAX_HELD_BYTES

    def _before(self, publication: Publication, epoch: str, joining: Iterable[Joining]) -> int:
        """Return the offset up to which no connection here needs anything more."""
        if epoch == self._epoch:
            return self._offset
        if self._epoch:
            return 0    # a new history begins with its first publication
        seen = [one.position.offset for one in joining
                if one.is_settled and one.position.epoch == epoch]
        return min(seen, default=publication.offset - 1)

    def mend(self, page: Page | None,
             hand_out: Callable[[list[tuple[Publication, str]], bool], None]) -> None:
        """Deliver what was missing and what was held for it.

        Args:
            page: what the history holds after ``position``; None: it could not be read.
            hand_out: delivers publications with their epochs, in order; its second argument is
                whether they are complete. It is called with a lock held, so it must only queue.
        """
        with self._lock:
            try:
                hand_out(*self._merged(page))
            finally:
                self._held = None

    def _merged(self, page: Page | None) -> tuple[list[tuple[Publication, str]], bool]:
        held = self._held or []
        whole = page is not None and page.recovered and self._has_room(held)
        found = [(one, self._epoch) for one in page.publications] if page and whole else []
        ready = []
        for publication, epoch in found + held:
            if epoch == self._epoch and publication.offset <= self._offset:
                continue
            expected = self._offset + 1 if epoch == self._epoch else 1
            whole = whole and publication.offset == expected
            self._offset, self._epoch = publication.offset, epoch
            ready.append((publication, epoch))
        return ready, whole
