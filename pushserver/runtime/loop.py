"""The thread that owns the sockets."""
from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from functools import partial
from typing import Any, Callable, Iterator, Protocol, Sequence

from ..wire.disconnects import Disconnect
from ..wire.speedups import HAVE_NATIVE, SKIPPED, native
from .outbox import FRAME_OVERHEAD, Buffer
from .shares import Allowance, Shares
from .sockets import FAN_OUT_SIZE
from .switch_interval import SwitchInterval
from .timers import Timer, Timers

logger = logging.getLogger(__name__)

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

LONGEST_SLEEP = 60.0
"""The most seconds that the loop sleeps; nothing depends on it."""

WAKE_SIZE = 4096

FEW = 8
"""The most sockets for which the switch interval is not shortened: shortening it makes the site's
threads switch more often."""

EVENTS_IN_A_ROW = 16
READING_IN_A_ROW = 0.002
"""Sockets that are read and written, and seconds that reading takes, before new publications get
their turn."""

LOOKS_AT_TIME = 4
"""Sockets after which the time is looked at: that takes some time itself."""

READING_TIME = 0.008
"""Seconds that a round reads those whom the selector shows, and as long those who have had more
than their turn; the others follow in the next round."""

TAKE_SIZE = 128 * 1024
"""Bytes of what was queued that are written before anything else gets its turn."""

JOIN_SIZE = 16 * 1024
"""The most bytes of frames joined into one write. What is not begun can be dropped for a client
that is too slow; joined frames are begun as one."""

Call = Callable[[], None]


class Polled(Protocol):
    """What the loop needs from a socket that it watches."""

    watching: int
    """The events that the selector watches for, kept by the loop."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""

    def readable(self) -> None:
        """Read what has arrived."""

    def flush(self) -> None:
        """Write what waits."""

    def abort(self) -> None:
        """End at once, because the server is stopping."""

    def abandon(self) -> None:
        """Close this process's copy of the socket, because it was forked: the parent serves it."""

    def crashed(self) -> None:
        """End: one of the above raised an unexpected exception."""


class Watched(Polled, Protocol):
    """What the loop needs from a connection, to which it also writes."""

    busy: bool
    """False: the loop may ``send`` straight to the socket."""

    direct: int | ssl.SSLSocket | None
    """What the C extension may write to now, or None."""

    allowance: Allowance
    """What the client has caused."""

    @property
    def send(self) -> Callable[[Buffer], int]:
        """Write to the socket without waiting; return how many bytes were taken, or -1."""

    def enqueue(self, data: bytes) -> None:
        """Queue frames; ``flush`` follows."""

    def write(self, *pieces: bytes) -> None:
        """Write one frame in pieces, or queue it."""

    def partial(self, data: bytes, sent: int) -> None:
        """Take over frames that the loop could write only in part."""

    def close(self, disconnect: Disconnect) -> None:
        """Begin to close in good order."""


class Loop:
    """Run everything that touches a socket on one thread.

    Any thread may call ``deliver``, ``call``, ``call_for``, ``put``, ``note``, ``wake``,
    ``hasten``, ``start`` and ``stop``: the first three queue and wake the thread. Everything else
    may be called only on the loop's thread, that is, from what it calls.

    What was queued while the thread was busy is written together, in one ``send`` for each socket
    and 16 KiB; what comes while it is idle goes out at once. The queue itself has no bound, but
    ``queued`` says how much is in it: a message counts once, however many connections will get it.

    Args:
        on_death: called on the loop's thread with the exception that ended it, which is a bug in
            this package: nothing that a client or the site does should cause it.

    Attributes:
        now: monotonic seconds at which the current round began.
        is_crowded: more than a few sockets need a turn in this round.
        shares: what clients cause.
        queued: bytes that were put and are not yet written or in outboxes; each call counts 64
            more.
        after_round: called at the end of each round; None: nothing is.
    """

    def __init__(self, on_death: Callable[[BaseException], None]) -> None:
        self.now = time.monotonic()
        self.is_crowded = False
        self.shares = Shares()
        self.queued = 0
        self.after_round: Call | None = None
        self._counting = threading.Lock()   # for ``queued``
        self._must_look = False             # ``after_round`` has something to do
        self._timers = Timers()
        self._on_death = on_death
        self._selector = selectors.DefaultSelector()
        self._intake: deque[tuple[Sequence[Watched] | None, bytes | Call]] = deque()
        self._again: dict[Polled, None] = {}   # in order, each once
        self._written = self.now        # when the intake was last taken
        self._switch_interval = SwitchInterval()
        self._will_calm = False
        self._sleeping = False
        self._stopping = False
        self._died = False
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, READ, None)
        self._thread = threading.Thread(target=self._run, name="pushserver-loop", daemon=True)

    def __repr__(self) -> str:
        state = "running" if self.is_alive else "stopped"
        return f"<Loop {state}, {len(self._intake)} queued>"

    # Any thread

    @property
    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    @property
    def is_serving(self) -> bool:
        """Tell whether the thread runs and does what is queued, that is, has not died."""
        return self._thread.is_alive() and not self._died

    @property
    def is_own_thread(self) -> bool:
        """Tell whether the caller is on the loop's thread."""
        return threading.current_thread() is self._thread

    @property
    def held_bytes(self) -> int:
        """Return how many bytes are queued."""
        return self.queued

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def deliver(self, targets: Sequence[Watched], data: bytes) -> None:
        """Write whole frames to several connections, after all that was queued before.

        Args:
            targets: use the same tuple for the same connections: the data of consecutive calls
                is then joined only once for them all.
            data: what to write; it is not copied.
        """
        self.put(targets, data)
        if self._sleeping:
            self._wake()

    def put(self, targets: Sequence[Watched], data: bytes) -> None:
        """Do the same as ``deliver``, for a caller that holds a lock; ``wake`` must follow.

        Waking is a system call, which also releases the interpreter's lock.
        """
        if len(targets) > FEW:  # even if the loop is awake: it may be waiting for the GIL
            self._switch_interval.shorten()
        with self._counting:
            self.queued += len(data) + FRAME_OVERHEAD
        self._intake.append((targets, data))

    def write(self, item: Watched, *pieces: bytes) -> None:
        """Write one frame in pieces to one connection, after all that was queued before."""
        size = sum(map(len, pieces))
        with self._counting:
            self.queued += size
        self.call_for(item, self._write_pieces, item, pieces, size)

    def look_again(self) -> None:
        """Have ``after_round`` called soon, even if nothing else happens."""
        self._must_look = True
        self.wake()

    def note(self, action: Call) -> None:
        """Do the same as ``call``, for a caller that may hold a lock; like ``put``."""
        self._intake.append((None, action))

    def wake(self) -> None:
        """Make sure that what was put is written soon."""
        if self._sleeping:
            self._wake()

    def call(self, action: Call) -> None:
        """Call something on the loop's thread, after all that was queued before."""
        self._intake.append((None, action))
        if self._sleeping:
            self._wake()

    def call_for(self, item: Polled, step: Callable[..., None], *args: Any) -> None:
        """Call something for one connection, like ``call``; its errors end only that one."""
        self.call(partial(self.guarded, item, step, *args))

    def hasten(self) -> None:
        """Note that a client is connecting: others get the interpreter's lock sooner for a while.

        Call it with no lock held; from time to time it gives up the interpreter's own.
        """
        if self._switch_interval.hasten():
            self.call(self._calm_later)

    def _wake(self) -> None:
        self._sleeping = False
        if HAVE_NATIVE:
            native.wake(self._wake_out)
            return
        try:
            self._wake_out.send(b"\0")
        except OSError:
            pass  # full: it is already waking up; closed: it has stopped

    def stop(self, timeout: float) -> bool:
        """End the thread once all that is queued is done; tell whether it has ended.

        Args:
            timeout: seconds to wait for that.
        """
        self.call(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self.is_alive

    def abandon(self) -> None:
        """Close what the thread has, in a forked process; the selector is shared with the parent.

        So nothing may be unregistered: that would make the parent deaf.
        """
        self._switch_interval.stop()
        self._close()

    # The loop's thread

    def _stop(self) -> None:
        self._stopping = True

    def _calm_later(self) -> None:
        if not self._will_calm:
            self._calm()

    def _calm(self) -> None:
        seconds = self._switch_interval.calm()
        self._will_calm = seconds > 0
        if seconds:
            self.call_later(seconds, self._calm)

    def watch(self, item: Polled, events: int) -> None:
        """Make the selector watch for these events of a connection, 0 for none."""
        if events == item.watching:
            return
        before, item.watching = item.watching, 0  # which is right if one of these raises
        if self._selector.get_map() is None:
            return  # closed: the thread has ended
        if not before:
            self._register(item, events)
        elif events:
            self._selector.modify(item.fileno(), events, item)
        else:
            self._selector.unregister(item.fileno())
        item.watching = events

    def _register(self, item: Polled, events: int) -> None:
        """Begin to watch; a previous owner of the descriptor has lost it without notice."""
        try:
            self._selector.register(item.fileno(), events, item)
        except KeyError:
            stale = self._selector.unregister(item.fileno()).data
            stale.watching = 0
            self._selector.register(item.fileno(), events, item)
            self.guarded(stale, stale.crashed)

    def again(self, item: Polled) -> None:
        """Read a connection again in the next round, after all whom only the selector shows."""
        self._again[item] = None

    def call_later(self, delay: float, action: Call) -> Timer:
        """Call something after a number of seconds."""
        return self._timers.add(time.monotonic() + delay, action)

    def _run(self) -> None:
        if HAVE_NATIVE:
            native.wait_sharply()
        try:
            while not self._stopping:
                self._round()
        except BaseException as error:
            self._died = True
            logger.critical("the loop died: no connection is served from now on", exc_info=True)
            self._on_death(error)
        finally:
            self._sleeping = False
            self._switch_interval.stop()
            self._close()

    def _close(self) -> None:
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _round(self) -> None:
        self._sleeping = True
        idle = not self._intake and not self._again and not self._must_look
        timeout = min(LONGEST_SLEEP, max(0.0, self._timers.soonest - time.monotonic())) \
            if idle else 0
        events = self._selector.select(timeout)
        self._sleeping = False
        self.is_crowded = len(events) > FEW
        if self.is_crowded:
            self._switch_interval.shorten()
        self.now = time.monotonic()
        again, self._again = self._again, {}
        self._serve(events, again)
        self._take_intake()
        if again:
            self._read_again(list(again))
        if self._timers.soonest <= self.now:
            for timer in self._timers.due(self.now):
                timer.fire()
        if self.after_round is not None:
            self._must_look = False
            self.after_round()
        if self._switch_interval.is_short and not self._intake:
            self._switch_interval.restore()

    def _serve(self, events: list[tuple[selectors.SelectorKey, int]],
               again: dict[Polled, None]) -> None:
        """Read and write those whom the selector shows, but for those who are read ``again``."""
        reading_until = self.now + READING_TIME
        now = self.now
        for number, (key, mask) in enumerate(events):
            if number % LOOKS_AT_TIME == 0:
                now = time.monotonic()
            if self._intake and (number % EVENTS_IN_A_ROW == 0
                                 or now > self._written + READING_IN_A_ROW):
                self._take_intake()
            item = key.data
            if item is None:
                self._wake_in.recv(WAKE_SIZE)
                continue
            if mask & WRITE and item.watching & WRITE:
                self.guarded(item, item.flush)
            if mask & READ and item.watching & READ and not (again and item in again):
                if number >= EVENTS_IN_A_ROW and now > reading_until:
                    self._again[item] = None
                else:
                    self.guarded(item, item.readable)

    def _read_again(self, items: list[Polled]) -> None:
        """Read in rotation; who gets no turn in this round is the first in the next."""
        reading_until = time.monotonic() + READING_TIME
        for number, item in enumerate(items):
            if number and time.monotonic() > reading_until:
                self._again = {**dict.fromkeys(items[number:]), **self._again}
                break
            if self._intake and time.monotonic() > self._written + READING_IN_A_ROW:
                self._take_intake()
            self.guarded(item, item.readable)
        self._take_intake()

    @staticmethod
    def guarded(item: Polled, step: Callable[..., object], *args: Any) -> None:
        """Call something for one connection, so that an error ends only that connection."""
        try:
            step(*args)
        except Exception:
            logger.exception("%r failed and is closed", item)
            try:
                item.crashed()
            except Exception:
                logger.exception("%r could not be closed", item)

    def _take_intake(self) -> None:
        """Do what was queued: frames for the same connections together, calls in order."""
        groups: list[tuple[Sequence[Watched], list[bytes]]] = []
        size = 0
        for _ in range(len(self._intake)):
            targets, what = self._intake.popleft()
            if targets is None:
                self._write(groups)
                groups = []
                what()  # type: ignore[operator]
                continue
            if groups and groups[-1][0] is targets:
                groups[-1][1].append(what)  # type: ignore[arg-type]
            else:
                groups.append((targets, [what]))  # type: ignore[list-item]
            size += len(what) + FRAME_OVERHEAD  # type: ignore[arg-type]
            if size > TAKE_SIZE:
                break
        self._write(groups)
        if size:
            with self._counting:
                self.queued -= size
        self._written = time.monotonic()

    def _write(self, groups: list[tuple[Sequence[Watched], list[bytes]]]) -> None:
        if self.shares.debtors:
            self.shares.sent(groups, self.now)
        if len(groups) == 1:
            targets, frames = groups[0]
            for data in _joined(frames):
                self._fan_out(targets, data)
        elif groups:
            self._write_each(groups)

    def _write_each(self, groups: list[tuple[Sequence[Watched], list[bytes]]]) -> None:
        """Write what differs from connection to connection, but once for each."""
        waiting: dict[Watched, list[bytes]] = {}
        for targets, frames in groups:
            for item in targets:
                known = waiting.get(item)
                if known is None:
                    waiting[item] = frames[:]
                else:
                    known += frames
        plain = []
        shared: dict[tuple[int, ...], list[bytes]] = {}  # those that get the same share its bytes
        for item, frames in waiting.items():
            if len(frames) > 1:
                key = tuple(map(id, frames))
                frames = shared.get(key) or shared.setdefault(key, list(_joined(frames)))
            if item.direct is not None and len(frames) == 1:
                plain.append((item, frames[0]))
            else:
                for data in frames:
                    self._write_one(item, data)
        if HAVE_NATIVE:
            self._write_each_native(plain)
        else:
            for item, data in plain:
                self._write_one(item, data)

    def _write_pieces(self, item: Watched, pieces: tuple[bytes, ...], size: int) -> None:
        with self._counting:
            self.queued -= size
        item.write(*pieces)

    def _write_one(self, item: Watched, data: bytes) -> None:
        if item.busy:
            self.guarded(item, item.enqueue, data)
            return
        sent = item.send(_start(data))
        if sent != len(data):
            self.guarded(item, item.partial, data, sent)

    def _write_each_native(self, plain: list[tuple[Watched, bytes]]) -> None:
        items = [item for item, _ in plain]
        for index, sent in native.send_each(items, [data for _, data in plain], FAN_OUT_SIZE):
            item, data = plain[index]
            assert sent != SKIPPED, "only writable connections were passed"
            self.guarded(item, item.partial, data, sent)

    def _fan_out(self, targets: Sequence[Watched], data: bytes) -> None:
        """Write the same bytes to many sockets: the one place where every microsecond counts."""
        if HAVE_NATIVE:
            targets = self._fan_out_native(targets, data)
        size, start = len(data), _start(data)
        for item in targets:  # as _write_one, without its call
            if item.busy:
                self.guarded(item, item.enqueue, data)
                continue
            sent = item.send(start)
            if sent != size:
                self.guarded(item, item.partial, data, sent)

    def _fan_out_native(self, targets: Sequence[Watched], data: bytes) -> list[Watched]:
        """Write to all sockets that wait for nothing, in one call; return the others."""
        others = []
        for index, sent in native.send_many(targets, data, FAN_OUT_SIZE):
            item = targets[index]
            if sent == SKIPPED:
                others.append(item)
            else:
                self.guarded(item, item.partial, data, sent)
        return others


def _start(data: bytes) -> Buffer:
    """Return as much as one connection may write while others wait for the same data."""
    return data if len(data) <= FAN_OUT_SIZE else memoryview(data)[:FAN_OUT_SIZE]


def _joined(frames: list[bytes]) -> Iterator[bytes]:
    """Join short frames, at most ``JOIN_SIZE`` bytes at once."""
    start = size = 0
    for end, data in enumerate(frames):
        if size and size + len(data) > JOIN_SIZE:
            yield b"".join(frames[start:end])
            start, size = end, 0
        size += len(data)
    yield b"".join(frames[start:])
