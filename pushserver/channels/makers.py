"""Whose history goes first where there are too many: the oldest of who has made most."""
from __future__ import annotations

from collections import OrderedDict


class Makers:
    """Keep channels by who has made them. Each method takes the same time, however many there are.

    So a client that makes channels without end loses its own, and others keep theirs. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._channels: dict[str, OrderedDict[str, float]] = {}
        self._by_count: dict[int, dict[str, None]] = {}     # makers by how many they have
        self._most = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Makers, {len(self._channels)} of {self._count} channels>"

    def add(self, maker: str, channel: str, now: float) -> None:
        """Add a new channel."""
        mine = self._channels.setdefault(maker, OrderedDict())
        mine[channel] = now
        self._count += 1
        self._move(maker, len(mine) - 1, len(mine))

    def remove(self, maker: str, channel: str) -> None:
        """Remove a channel."""
        mine = self._channels[maker]
        del mine[channel]
        if not mine:
            del self._channels[maker]
        self._count -= 1
        self._move(maker, len(mine) + 1, len(mine))

    def _move(self, maker: str, before: int, now: int) -> None:
        if before:
            del self._by_count[before][maker]
            if not self._by_count[before]:
                del self._by_count[before]
        if now:
            self._by_count.setdefault(now, {})[maker] = None
        if now > self._most or before == self._most and before not in self._by_count:
            self._most = now

    def first(self) -> tuple[str, float] | None:
        """Return the channel to go first, and when it was last known to be used; None: no more."""
        if not self._count:
            return None
        maker = next(iter(self._by_count[self._most]))
        return next(iter(self._channels[maker].items()))

    def used(self, maker: str, channel: str, when: float) -> None:
        """Note that a channel was used since it was added: others of its maker go before it."""
        mine = self._channels[maker]
        mine[channel] = when
        mine.move_to_end(channel)
