"""Push data at fixed times."""
from __future__ import annotations

import logging
import math
import threading
import time
from typing import Callable

from .errors import InvalidSetting
from .wire.payloads import Data

logger = logging.getLogger(__name__)

CLOCK_SET_BACK = 1.5
"""If the next tick is further away than this many intervals, the clock was set back."""

END_TIMEOUT = 1.0
"""Seconds that a stop waits for a ``make`` that is running."""


def next_tick(now: float, seconds: float) -> float:
    """Return the first whole multiple of ``seconds`` after ``now``, in seconds since 1970."""
    count = now // seconds + 1
    tick = count * seconds
    return tick if tick > now else (count + 1) * seconds  # a product may be rounded down to now


class Ticker:
    """Call ``make`` at each whole multiple of an interval of the wall clock, and push the result.

    It does not drift: each time is computed from the clock, not from the last one. Missed times
    are skipped. If ``make`` raises or returns data that cannot be pushed, that is logged and the
    ticker continues. Any thread may call ``start``, ``halt`` and ``stop``.

    Args:
        seconds: the interval; with 1 it ticks on whole seconds, with 60 on whole minutes UTC.
        make: returns what to push; called on the ticker's own thread.
        push: takes what ``make`` returned.
        on_stop: called by ``stop``, with the ticker.
        clock: returns seconds since 1970.

    Raises:
        InvalidSetting: ``seconds`` is not a number above 0.
    """

    def __init__(self, seconds: float, make: Callable[[], Data], push: Callable[[Data], object], *,
                 on_stop: Callable[["Ticker"], None] = lambda ticker: None,
                 clock: Callable[[], float] = time.time) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) \
                or not 0 < seconds < math.inf:
            raise InvalidSetting(f"interval is {seconds!r}: use a number of seconds above 0")
        self.seconds = seconds
        self._make = make
        self._push = push
        self._on_stop = on_stop
        self._clock = clock
        self._lock = threading.Lock()
        self._ending: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Ticker every {self.seconds} s, {'running' if self._ending else 'stopped'}>"

    def start(self) -> None:
        """Start the thread, unless it is running."""
        ending = threading.Event()
        thread = threading.Thread(target=self._run, args=(ending,), name="pushserver-ticker",
                                  daemon=True)
        with self._lock:
            if self._ending is not None:
                return
            self._ending, self._thread = ending, thread
        thread.start()

    def halt(self) -> None:
        """End the thread; ``start`` may follow."""
        with self._lock:
            ending, thread = self._ending, self._thread
            self._ending = self._thread = None
        if ending is not None:
            ending.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(END_TIMEOUT)

    def abandon(self) -> None:
        """Forget the thread, which is not in this forked process; ``start`` may follow."""
        self._lock = threading.Lock()
        self._ending = self._thread = None

    def stop(self) -> None:
        """End for good: a later start of the server does not start it again."""
        self._on_stop(self)
        self.halt()

    def _run(self, ending: threading.Event) -> None:
        due = next_tick(self._clock(), self.seconds)
        while not ending.is_set():
            now = self._clock()
            if due - now > CLOCK_SET_BACK * self.seconds:
                due = next_tick(now, self.seconds)
            elif now < due:
                ending.wait(min(due - now, threading.TIMEOUT_MAX))
            else:
                self._tick()
                due = next_tick(max(self._clock(), due), self.seconds)

    def _tick(self) -> None:
        try:
            self._push(self._make())
        except Exception:
            logger.exception("a tick failed; the ticker continues")
