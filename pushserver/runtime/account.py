"""How many bytes wait for clients and from them: one account, kept as it changes."""
from __future__ import annotations

from typing import Callable

BUFFER_OVERHEAD = 128
"""Bytes that each buffer takes besides its data: the object, its place in a queue, and here."""


class Account:
    """Add up what all connections hold.

    What waits in outboxes is counted exactly: a message that waits in a thousand of them is held
    once and counts once. What has come from clients is only added up here; ``recounted`` says how
    much of it is still held, so in between ``arrived`` is at least that.

    Only the loop's thread may change it; any thread may look.

    Attributes:
        outboxes: bytes that wait in outboxes.
        arrived: at least the bytes that have come from clients and are still held.
        is_over: more is held than may be: no client is read whose messages wait, and no new one
            comes.
        most: ``on_more`` is called, once, when the two exceed this.
        on_more: called on the loop's thread; it must not do more than queue.
    """

    __slots__ = ("outboxes", "arrived", "is_over", "most", "on_more", "_copies")

    def __init__(self) -> None:
        self.outboxes = 0
        self.arrived = 0
        self.is_over = False
        self.most = float("inf")
        self.on_more: Callable[[], None] = _ignore
        self._copies: dict[int, int] = {}   # in how many outboxes a buffer is, by its id

    def __repr__(self) -> str:
        return f"<Account {self.outboxes} out, {self.arrived} in>"

    def add(self, buffer: bytes) -> None:
        """Count a buffer that has got into one more outbox."""
        key = id(buffer)
        copies = self._copies.get(key, 0)
        self._copies[key] = copies + 1
        if not copies:
            self.outboxes += len(buffer) + BUFFER_OVERHEAD
            if self.outboxes + self.arrived > self.most:
                self._ring()

    def remove(self, buffer: bytes) -> None:
        """Count a buffer no more in one of the outboxes; it must still exist."""
        key = id(buffer)
        copies = self._copies[key] - 1
        if copies:
            self._copies[key] = copies
        else:
            del self._copies[key]
            self.outboxes -= len(buffer) + BUFFER_OVERHEAD

    def share(self, buffer: bytes) -> float:
        """Return the part of a buffer's bytes that each outbox answers for."""
        return (len(buffer) + BUFFER_OVERHEAD) / self._copies[id(buffer)]

    def arrive(self, size: int) -> None:
        """Count what has come from a client."""
        self.arrived += size
        if self.outboxes + self.arrived > self.most:
            self._ring()

    def recounted(self, size: int) -> None:
        """Note how much of what has come is still held."""
        self.arrived = size

    def _ring(self) -> None:
        self.most = float("inf")    # once is enough
        self.on_more()


def _ignore() -> None:
    """Nobody has asked to be told."""
