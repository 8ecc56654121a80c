"""What is done when more is held for all clients together than ``max_memory`` allows."""
from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Callable, Iterable, Protocol

from ..channels.hub import Hub
from ..machine import give_back
from ..runtime.account import Account
from ..runtime.runtime import Runtime
from ..runtime.timers import Timer
from ..runtime.workers import Mailbox
from ..settings import MIB, Settings
from .link import CLOSED, OPEN, Link

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0
"""Seconds, at most, between two looks at what is held elsewhere than in connections."""

FASTEST = 256 * MIB
"""Bytes a second by which that may grow; the nearer the limit, the sooner is the next look."""

RELIEF_INTERVAL = 0.25
"""The same while there is too much. Connections that are closed have so long for their last words,
unless even more comes meanwhile.
"""

SOONEST = 0.05
"""Seconds between two checks, at least, however fast it becomes more."""

WALK_SHARE = 20
"""A walk over all connections takes at most one part in this of the loop's time."""

SPARE_SHARE = 10
"""Of ``max_memory``, one part in this is freed beyond what is too much."""

SMALL_BURDEN = 4096
"""Connections that hold less than this, in bytes, are not closed: it would not help."""

CALM = 10.0
"""Seconds without too much after which a new episode is told of."""

OUTBOXES, INBOXES, HISTORIES, HEADS, QUEUED = "outboxes", "inboxes", "histories", "heads", "queued"
"""Kinds of what is held."""


class Holder(Protocol):
    """Something that holds bytes for clients, and is not a connection.

    It may have a method ``evict(size)``, which frees at least so many if it can; it is called on a
    worker, with no lock held.
    """

    @property
    def held_bytes(self) -> int:
        """Return about how many; any thread may ask, often, so it must not wait."""


class MemoryLimit:
    """Find out how much is held for clients, and free the largest when it is too much.

    Only the loop's thread runs it, but any may call ``begin``, ``hold`` and ``held``.

    Args:
        settings: see ``Settings``.
        account: what connections hold.
        hub: the connections, for those that have left while workers are busy with them.
    """

    def __init__(self, settings: Settings, account: Account, hub: Hub[Link]) -> None:
        self._most = settings.max_memory
        self._account = account
        self._hub = hub
        self._holders: dict[str, tuple[Holder, ...]] = {}
        self._runtime: Runtime | None = None
        self._mailbox = Mailbox()
        self._is_evicting = False
        self._timer: Timer | None = None
        self._earliest = 0.0
        self._episode: _Episode | None = None

    def __repr__(self) -> str:
        return f"<MemoryLimit {self._most}{', over' if self._account.is_over else ''}>"

    def begin(self, runtime: Runtime) -> None:
        """Begin to work with the threads of a run, as long as they live."""
        self._runtime = runtime
        self._timer, self._is_evicting = None, False
        self._earliest = 0.0
        account = self._account
        account.is_over, account.most = False, self._most or float("inf")
        account.on_more = partial(runtime.loop.note, partial(self._check_soon, runtime))
        if self._most:
            runtime.loop.call(partial(self._check, runtime))

    def hold(self, kind: str, *holders: Holder) -> None:
        """Count what some hold, in the place of those named before for this kind."""
        self._holders[kind] = holders

    def held(self) -> dict[str, int]:
        """Return the bytes held, by kind. It looks at each connection."""
        found = dict.fromkeys((OUTBOXES, INBOXES, HISTORIES, HEADS, QUEUED), 0)
        for kind, holders in tuple(self._holders.items()):
            found[kind] = sum(one.held_bytes for one in holders)
        received, heads = _received(self._links())
        found[OUTBOXES] += self._account.outboxes
        found[INBOXES] += received - heads
        found[HEADS] += heads
        return found

    def _links(self) -> Iterable[Link]:
        """Return the connections that hold something, also those that have just left."""
        runtime: Any = self._runtime
        return {*(runtime.links if runtime is not None else ()), *self._hub.leaving()}

    # On the loop's thread

    def _check_soon(self, runtime: Runtime) -> None:
        """Check as soon as the last check is long enough ago."""
        self._check_in(runtime, max(0.0, self._earliest - time.monotonic()))

    def _check_in(self, runtime: Runtime, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = runtime.loop.call_later(seconds, partial(self._check, runtime))

    def _check(self, runtime: Runtime) -> None:
        interval = CHECK_INTERVAL
        try:
            interval = self._look(runtime)
        except Exception:   # of a broker, say: it must not end the loop
            logger.exception("cannot find out how much is held for clients")
        self._check_in(runtime, interval)

    def _look(self, runtime: Runtime) -> float:
        """Find out whether there is too much; return after how many seconds to look again."""
        account, began = self._account, time.monotonic()
        elsewhere = {kind: sum(one.held_bytes for one in holders)
                     for kind, holders in tuple(self._holders.items())}
        rest = self._most - sum(elsewhere.values())
        ended = 0
        if account.outboxes + account.arrived > rest:
            links = self._links()
            ended = _received(link for link in links if link.state == CLOSED)[0]
            account.recounted(_received(links)[0])
            walked = time.monotonic() - began
            self._earliest = began + max(SOONEST, walked * WALK_SHARE)
        excess = account.outboxes + account.arrived - rest
        was_over, account.is_over = account.is_over, excess > 0
        if was_over and not account.is_over:
            runtime.post(self._mailbox, give_back)
        self._log(self._most + excess)
        if excess > ended:  # that is free as soon as workers have come to it
            self._relieve(runtime, elsewhere, excess - ended + self._most // SPARE_SHARE)
        held = account.outboxes + account.arrived
        if account.is_over:
            account.most = max(rest, held) + self._most // SPARE_SHARE
            return RELIEF_INTERVAL
        account.most = rest
        return max(SOONEST, min(CHECK_INTERVAL, (rest - held) / FASTEST))

    def _relieve(self, runtime: Runtime, elsewhere: dict[str, int], size: int) -> None:
        """Free so many bytes, of what is largest first."""
        account = self._account
        kinds: list[tuple[int, Callable[[int], int]]] = [
            (account.outboxes + account.arrived, partial(self._shed_largest, runtime))]
        kinds += [(held, partial(self._evict, runtime, kind)) for kind, held in elsewhere.items()]
        for held, free in sorted(kinds, key=lambda kind: -kind[0]):
            if size > 0:
                size -= free(min(size, held))

    def _evict(self, runtime: Runtime, kind: str, size: int) -> int:
        """Have holders free something, on a worker; return how much is expected."""
        able = [evict for evict in (getattr(one, "evict", None) for one in self._holders[kind])
                if evict is not None]
        if not able or size <= 0:
            return 0
        if not self._is_evicting:
            self._is_evicting = True
            runtime.post(self._mailbox, partial(self._run_evict, able, size, self._episode))
        return size

    def _run_evict(self, able: list[Callable[[int], int]], size: int,
                   episode: _Episode | None) -> None:
        """Do it, on a worker."""
        try:
            for evict in able:
                freed = evict(size)
                size -= freed
                if episode is not None:
                    episode.evicted += freed
                if size <= 0:
                    break
        finally:
            self._is_evicting = False

    def _shed_largest(self, runtime: Runtime, size: int) -> int:
        """Close those connections that hold most; return how much of it will be free.

        First, those that are closing already end: what has been begun is held for them.
        """
        links: tuple[Any, ...] = tuple(runtime.links)
        found = [(link.state != OPEN, link.burden, link) for link in links]
        found.sort(key=lambda one: one[:2], reverse=True)
        freed = 0
        for is_closing, burden, link in found:
            if freed >= size:
                break
            if burden < SMALL_BURDEN:
                continue
            freed += burden
            if is_closing:
                runtime.loop.guarded(link, link.end, link.disconnect)
            else:
                runtime.loop.guarded(link, link.shed)
                self._count_closed()
        return freed

    def _count_closed(self) -> None:
        if self._episode is not None:
            self._episode.closed += 1

    # What is told

    def _log(self, held: int) -> None:
        now, episode = time.monotonic(), self._episode
        if self._account.is_over:
            if episode is None:
                self._episode = episode = _Episode()
                logger.warning(
                    "%s are held for clients, and max_memory is %s: the oldest histories are "
                    "forgotten, or the connections that hold most are closed with 3008, and new "
                    "ones are refused with 503. Raise max_memory, or lower max_outbox, max_inbox "
                    "or what channels remember; push.stats() tells what is held",
                    _mib(held), _mib(self._most))
            episode.over_at = now
        elif episode is not None and now - episode.over_at > CALM:
            self._episode = None
            logger.warning("no more than max_memory is held for clients again: %d connections "
                           "were closed, and %s of histories forgotten", episode.closed,
                           _mib(episode.evicted))


class _Episode:
    """Some time in which there was too much, and what was done.

    Attributes:
        over_at: when there last was too much, in monotonic seconds.
        closed: how many connections were closed.
        evicted: bytes that were freed elsewhere.
    """

    def __init__(self) -> None:
        self.over_at = 0.0
        self.closed = 0
        self.evicted = 0


def _received(links: Iterable[Link]) -> tuple[int, int]:
    """Return the bytes that connections hold of what was sent to them: all, and requests' heads."""
    received = heads = 0
    for link in links:
        received += link.received_bytes
        heads += link.head_size
    return received, heads


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB"
