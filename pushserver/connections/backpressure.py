"""Publishers wait until their clients have room for more."""
from __future__ import annotations

import threading
import time
from functools import partial
from typing import Iterable, NamedTuple, Protocol

from ..errors import Overloaded
from ..runtime.outbox import FRAME_OVERHEAD, Outbox
from ..runtime.runtime import Runtime
from ..runtime.timers import Timer
from ..settings import KIB, Settings

SLOWEST = 256 * KIB
"""Bytes a second that a client takes, at least, for which publishers wait."""

WINDOW = 1.0
"""Seconds over which that is measured."""

EVERYONE, ID, CHANNEL, CONNECTION = "everyone", "Id", "channel", "connection"
"""Kinds of audiences."""


class To(NamedTuple):
    """For whom something is.

    Attributes:
        kind: of audience.
        name: the Id, the channel's name, or the connection.
    """

    kind: str
    name: object

    def __str__(self) -> str:
        return {EVERYONE: "some connections", CONNECTION: "the connection"}.get(
            self.kind, f"the connections of {self.kind} {self.name!r:.80}")

    def includes(self, reader: Reader) -> bool:
        """Tell whether a connection gets it."""
        if self.kind == CHANNEL:
            return self.name in (reader.channels or ())
        if self.kind == ID:
            return self.name == reader.Id
        return self.kind == EVERYONE or self.name is reader


TO_EVERYONE = To(EVERYONE, None)


class Sized(Protocol):
    """Something to send."""

    @property
    def size(self) -> int:
        """Return its bytes."""

    @property
    def longest(self) -> int:
        """Return the most bytes that it may become in a client's protocol."""


class Exactly(NamedTuple):
    """A message of a known size."""

    size: int

    @property
    def longest(self) -> int:
        """See ``Sized``."""
        return self.size


class Reader(Protocol):
    """A connection whose client is to read."""

    Id: str
    channels: set[str] | None
    outbox: Outbox
    is_behind: bool

    def progress(self) -> tuple[int, int]:
        """Return how many bytes the client has taken, and how many are on their way to it."""

    def slow(self) -> None:
        """Close: the client does not read."""


class _Waiter:
    """A thread that waits for room; ``bell`` is released once that is reserved, or at the end."""

    __slots__ = ("to", "size", "reserved", "bell")

    def __init__(self, to: To, size: int) -> None:
        self.to = to
        self.size = size
        self.reserved = 0
        self.bell = threading.Lock()
        self.bell.acquire()


class _Speed:
    """How fast a client that is behind reads.

    Attributes:
        is_slow: it has read nothing in the last window, or less than ``SLOWEST`` in the last two.
    """

    __slots__ = ("is_slow", "_since", "_taken", "_was_slow")

    def __init__(self, taken: int) -> None:
        self.is_slow = self._was_slow = False
        self._since = time.monotonic()
        self._taken = taken

    def measure(self, reader: Reader) -> None:
        """Begin a new window if this one is over."""
        now = time.monotonic()
        if now >= self._since + WINDOW:
            taken = reader.progress()[0]
            was_slow = self._was_slow
            self._was_slow = taken - self._taken < SLOWEST * (now - self._since)
            self.is_slow = self._was_slow and (was_slow or taken == self._taken)
            self._since, self._taken = now, taken


class Backpressure:
    """Let threads of the site publish no faster than those read whom it concerns.

    A client is behind while more than a quarter of ``max_outbox`` waits for it. As long as nobody
    is and the loop keeps up, a publisher only looks at two numbers. Otherwise it reserves room in
    the outboxes of its audience, or waits for it, in order: behind those who publish to the same
    audience, but for no others. A client that reads less than ``SLOWEST`` is not waited for: it is
    closed with 3008 as soon as something does not fit.

    Any thread may call ``enter`` and ``leave``; the loop's thread calls the rest. That thread and
    the workers never wait, since they serve all; for them, a client without room is closed.

    Args:
        settings: see ``Settings``.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_outbox
        self._timeout = min(settings.publish_timeout, threading.TIMEOUT_MAX)
        self.behind_from = self._most // 4
        self._shared = self._most * 3 // 4      # what fits everyone who is not behind
        self._half, self._small = self._most // 2, self._most // 64
        self._behind: dict[Reader, _Speed] = {}
        self._lock = threading.Lock()           # for what follows
        self._reserved = 0
        self._waiters: list[_Waiter] = []
        self._runtime: Runtime | None = None
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<Backpressure {len(self._behind)} behind, {len(self._waiters)} waiting>"

    def begin(self, runtime: Runtime) -> None:
        """Begin to work with the threads of a run."""
        self._behind, self._reserved, self._timer = {}, 0, None
        self._runtime = runtime if self._timeout else None

    def end(self) -> None:
        """Let everybody go on: there are no clients any more."""
        self._runtime = None
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.bell.release()

    # Publishers

    def enter(self, to: To, what: Sized) -> int:
        """Wait until an audience has room for something; ``leave`` must follow once it is queued.

        Returns:
            The bytes that were reserved.

        Raises:
            Overloaded: there was none for ``publish_timeout``; nothing may be published.
        """
        runtime = self._runtime
        if runtime is None or self.has_plenty(what.size) or runtime.is_own_thread():
            return 0
        return self._reserve(runtime, to, what)

    def has_plenty(self, size: int) -> bool:
        """Tell whether there is room for so many bytes whoever gets them: ``enter`` is needless."""
        runtime = self._runtime
        return runtime is None or size <= self._small and not self._behind and not self._waiters \
            and runtime.loop.queued + self._reserved + size <= self._half

    def leave(self, reserved: int) -> None:
        """Give back what ``enter`` has reserved: it is queued, or it was not published."""
        if reserved:
            with self._lock:
                self._reserved = max(0, self._reserved - reserved)
            runtime = self._runtime
            if self._waiters and runtime is not None:
                runtime.loop.look_again()

    def _reserve(self, runtime: Runtime, to: To, what: Sized) -> int:
        waiter = _Waiter(to, what.longest + FRAME_OVERHEAD)
        with self._lock:
            others = _Order(self._waiters)
            if others.lets(waiter) and self._has_room(runtime, waiter, None):
                self._take(waiter)
                return waiter.reserved
            self._waiters.append(waiter)
        runtime.loop.call(partial(self._expect, runtime))
        if self._runtime is not runtime:    # it has ended meanwhile, perhaps before it could tell
            self._withdraw(waiter)
        elif not self._await(waiter):
            runtime.loop.look_again()   # others may have waited behind it
            raise Overloaded(f"nothing was sent: within {self._timeout:g} s, {to} did not read "
                             "enough of what was sent before. Send less, or later, or raise "
                             "max_outbox or publish_timeout")
        return waiter.reserved

    def _take(self, waiter: _Waiter) -> None:
        """Reserve room for one. Requires the lock."""
        waiter.reserved = waiter.size
        self._reserved += waiter.size

    def _await(self, waiter: _Waiter) -> bool:
        """Wait for room; tell whether there is some, or all may go on."""
        try:
            return waiter.bell.acquire(timeout=self._timeout) or not self._withdraw(waiter)
        except BaseException:   # a signal handler's
            if not self._withdraw(waiter):
                self.leave(waiter.reserved)
            raise

    def _withdraw(self, waiter: _Waiter) -> bool:
        """Let one wait no longer; False if it has its room, or all may go on."""
        with self._lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            return True

    def _has_room(self, runtime: Runtime, waiter: _Waiter,
                  lacking: set[Reader] | None) -> bool:
        """Tell whether an audience has room. Requires the lock.

        Args:
            runtime: the present one.
            waiter: says for what.
            lacking: gets those who have none; None: this is not the loop's thread.
        """
        queued = runtime.loop.queued + self._reserved
        if queued and queued + waiter.size > self._shared:
            return False
        readers: Iterable[Reader] = tuple(self._behind)
        if waiter.size > self._shared:      # it may be too much even for those who are not behind
            if lacking is None:
                return False
            readers = runtime.links     # type: ignore[assignment]
        room, has_room = self._most - queued - waiter.size, True
        for reader in readers:
            outbox = reader.outbox
            if outbox.size and outbox.behind > room and waiter.to.includes(reader):
                has_room = False
                if lacking is None:
                    break
                lacking.add(reader)
        return has_room

    # On the loop's thread

    def fell_behind(self, reader: Reader) -> None:
        """Note that much waits for a client, until ``caught_up``."""
        runtime = self._runtime
        if runtime is None:
            return
        reader.is_behind = True
        self._behind[reader] = _Speed(reader.progress()[0])
        if self._timer is None:
            self._timer = runtime.loop.call_later(WINDOW / 4, partial(self._measure, runtime))

    def caught_up(self, reader: Reader) -> None:
        """Note that not much waits for a client any more, or that it has ended."""
        reader.is_behind = False
        self._behind.pop(reader, None)

    def _measure(self, runtime: Runtime) -> None:
        """Measure how fast those who are behind read, as long as there are some."""
        for reader, speed in self._behind.items():
            speed.measure(reader)
        self._timer = runtime.loop.call_later(WINDOW / 4, partial(self._measure, runtime)) \
            if self._behind else None

    def _expect(self, runtime: Runtime) -> None:
        """See after each round whether those who wait can go on."""
        runtime.loop.after_round = partial(self._admit, runtime)

    def _admit(self, runtime: Runtime) -> None:
        """Let those go on who have room, and close those who are too slow for the others."""
        while True:
            admitted: list[_Waiter] = []
            lacking: set[Reader] = set()
            with self._lock:
                order = _Order()
                for waiter in self._waiters:
                    if order.lets(waiter) and self._has_room(runtime, waiter, lacking):
                        self._take(waiter)
                        admitted.append(waiter)
                    else:
                        order.add(waiter)
                self._waiters = [one for one in self._waiters if one not in admitted]
                if not self._waiters:
                    runtime.loop.after_round = None
            for waiter in admitted:
                waiter.bell.release()
            slow = [one for one in lacking if self._is_slow(one)]
            for reader in slow:
                runtime.loop.guarded(reader, reader.slow)   # type: ignore[arg-type]
            if not slow:
                return

    def _is_slow(self, reader: Reader) -> bool:
        if not reader.is_behind:    # it has no room only because so much is to come
            self.fell_behind(reader)
        speed = self._behind.get(reader)
        if speed is None:   # another thread has begun to stop the server
            return False
        speed.measure(reader)
        return speed.is_slow


class _Order:
    """Who waits, so that those who publish to the same audience go on in order."""

    def __init__(self, waiters: Iterable[_Waiter] = ()) -> None:
        self._waiting: set[To] = set()
        for waiter in waiters:
            self.add(waiter)

    def add(self, waiter: _Waiter) -> None:
        """Note that one has to wait."""
        self._waiting.add(waiter.to)

    def lets(self, waiter: _Waiter) -> bool:
        """Tell whether nobody who waits has to go on before this one."""
        waiting = self._waiting
        return not waiting or not (waiter.to in waiting or TO_EVERYONE in waiting
                                   or waiter.to is TO_EVERYONE)
