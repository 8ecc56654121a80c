"""Python's switch interval, short while the loop has work, or while clients connect to a busy site.

Who waits for something gives up the interpreter's lock. Getting it back from a thread that
computes takes a switch interval: 5 ms by default, for each of a thousand writes, and several times
for each client that connects. The loop shortens the interval while it has work and restores it
when it has none: a permanently short one would make the site's other threads switch all the time.

While clients connect, it is shortened less, and only beside threads that compute: those that
answer requests would interrupt each other.
"""
from __future__ import annotations

import sys
import time

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

SHORT = 5e-6
"""Seconds of the switch interval while the loop has work."""

HASTE = 203e-6
"""Seconds of the switch interval while clients connect; odd, so that it is recognized as ours."""

HASTE_LASTS = 0.05
"""Seconds for which it stays so after the last news of a client: others may be behind it."""

PYTHON_DEFAULT = 5e-3
"""Seconds of Python's own switch interval."""

LOOK = 50e-6
"""Seconds for which the lock is given up to see who takes it; in less, no thread may notice."""

COMPUTING = 0.8
"""Switch intervals of CPU time that others use during a wait for the lock, if a thread computes.

(Time by the clock says less: the system may have let another process run.)
"""

SWITCHES = 4000
"""Times, a second of that CPU time, that threads wait for something, if many answer requests.

They can keep the lock from another for as long as one that computes, and they would only interrupt
each other. Beside a thread that computes, mostly 1,000 to 4,000 were counted, in a crowd of clients
4,700 and more.
"""

IS_COMPUTING_FOR, IS_CALM_FOR = 1.0, 0.15
"""Seconds until this is looked at again, if a thread computes and if none does."""

_EXACT = 1e-6
"""Seconds: Python counts the interval in microseconds."""


class SwitchInterval:
    """Shorten the switch interval and restore it.

    Any thread may call ``shorten`` and ``hasten``; only the loop's thread may call the others. A
    caller of ``shorten`` then gives the loop work, after which the loop calls ``restore``, so that
    a ``shorten`` that races with a ``restore`` does not last; the same goes for ``hasten`` and
    ``calm``.

    Attributes:
        is_short: there is something to restore.
        is_hasty: clients connect beside a thread that computes.
    """

    def __init__(self) -> None:
        interval = sys.getswitchinterval()
        self._normal = PYTHON_DEFAULT if _is_ours(interval) else interval
        self.is_short = False
        self.is_hasty = False
        self._stopped = False
        self._hasty_until = 0.0
        self._is_computing = False
        self._is_looking = False
        self._look_again = 0.0

    def shorten(self) -> None:
        """Shorten the interval and remember what it was."""
        if self.is_short or self._stopped:
            return
        self._remember()
        sys.setswitchinterval(SHORT)
        self.is_short = True  # last: a restore in between must not leave the interval short
        if self._stopped:
            self.restore()

    def _remember(self) -> None:
        interval = sys.getswitchinterval()
        if not _is_ours(interval):
            self._normal = interval

    def restore(self) -> None:
        """Restore the interval if it was shortened."""
        if self.is_short:
            self.is_short = False
            sys.setswitchinterval(HASTE if self.is_hasty else self._normal)

    def hasten(self) -> bool:
        """Note that a client connects, and shorten the interval if a thread computes.

        Returns:
            True if ``calm`` must be called from now on until it returns 0.
        """
        now = time.monotonic()
        self._hasty_until = now + HASTE_LASTS
        if now >= self._look_again and not (self._is_looking or self.is_short or self._stopped):
            self._look()
        if not self._is_computing or self.is_hasty or self._stopped or self._is_looking:
            return False
        self._remember()
        if self._normal <= HASTE:
            return False
        self.is_hasty = True    # first: a restore in between makes it so
        if not self.is_short:
            sys.setswitchinterval(HASTE)
        if self._stopped:
            self._end_haste()
        return True

    def _look(self) -> None:
        """Find out whether a thread computes: only then the lock is kept for a whole interval."""
        self._is_looking = True
        try:
            if self.is_hasty:
                self._end_haste()
            first, second = self._is_kept(), self._is_kept()    # one may be by chance
            self._is_computing = first if first == second \
                else self._is_computing or self._is_kept()
            self._look_again = time.monotonic() + (IS_COMPUTING_FOR if self._is_computing
                                                   else IS_CALM_FOR)
        finally:
            self._is_looking = False

    def _is_kept(self) -> bool:
        """Give up the lock; tell whether others use it for as long as a thread that computes."""
        before, switches = time.process_time(), _switches()
        time.sleep(LOOK)
        took = time.process_time() - before
        return took >= COMPUTING * self._normal and _switches() - switches < SWITCHES * took

    def calm(self) -> float:
        """Restore the interval if no client has connected for a while.

        Returns:
            The seconds after which to call this again; 0: not at all.
        """
        left = self._hasty_until - time.monotonic()
        if left > 0 and not self._stopped:
            return left
        self._end_haste()
        return 0

    def _end_haste(self) -> None:
        self.is_hasty = False
        if abs(sys.getswitchinterval() - HASTE) < _EXACT:
            sys.setswitchinterval(self._normal)

    def stop(self) -> None:
        """Restore the interval and leave it alone from now on."""
        self._stopped = True
        self._end_haste()
        self.restore()


def _switches() -> int:
    """Return how many times the threads of this process have waited for something."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw if resource else 0


def _is_ours(interval: float) -> bool:
    return interval < 2 * SHORT + _EXACT or abs(interval - HASTE) < _EXACT
