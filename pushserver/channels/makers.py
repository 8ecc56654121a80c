"""Whose history goes first where there are too many: the oldest of who takes most memory."""
from __future__ import annotations

from collections import OrderedDict

PRECISION = 4
"""Leading bits of a number of bytes that count when makers are compared."""


class Makers:
    """Keep channels by who has made them. No method takes longer if there are more of them.

    So a client that makes channels without end loses its own, and others keep theirs. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._channels: dict[str, OrderedDict[str, float]] = {}     # and when they were used
        self._bytes: dict[str, int] = {}
        self._by_weight: dict[int, dict[str, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Makers, {len(self._channels)} of {self._count} channels>"

    def add(self, maker: str, channel: str, size: int, now: float) -> None:
        """Add a new channel of so many bytes."""
        self._channels.setdefault(maker, OrderedDict())[channel] = now
        self._count += 1
        self.grow(maker, size)

    def remove(self, maker: str, channel: str, size: int) -> None:
        """Remove a channel with its bytes."""
        mine = self._channels[maker]
        del mine[channel]
        self._count -= 1
        self.grow(maker, -size)
        if not mine:
            del self._channels[maker]

    def grow(self, maker: str, size: int) -> None:
        """Note that a maker's channels take so many bytes more, or less."""
        before = self._bytes.get(maker, 0)
        now = before + size
        if now:
            self._bytes[maker] = now
        else:
            self._bytes.pop(maker, None)
        old, new = _weight(before), _weight(now)
        if old == new:
            return
        if before:
            del self._by_weight[old][maker]
            if not self._by_weight[old]:
                del self._by_weight[old]
        if now:
            self._by_weight.setdefault(new, {})[maker] = None

    def first(self) -> tuple[str, float] | None:
        """Return the channel to go first, and when it was last known to be used; None: no more."""
        if not self._count:
            return None
        maker = next(iter(self._by_weight[max(self._by_weight)]))
        return next(iter(self._channels[maker].items()))

    def used(self, maker: str, channel: str, when: float) -> None:
        """Note that a channel was used since it was added: others of its maker go before it."""
        mine = self._channels[maker]
        mine[channel] = when
        mine.move_to_end(channel)


def _weight(size: int) -> int:
    """Return a number by which sizes can be compared; there are few of them."""
    shift = max(0, size.bit_length() - PRECISION)
    return (shift << PRECISION) + (size >> shift)
