"""Getting Python's lock back soon, for as long as it matters.

A thread that has given up the interpreter's lock, as each read and write does, gets it back from a
thread that computes only after a switch interval: 5 ms by default, for each of a thousand writes.
The loop shortens the interval while it has work, and restores it when it has none: left short, it
would make the site's other threads switch all the time.
"""
from __future__ import annotations

import sys

SHORT = 5e-6
"""Seconds of the switch interval while the loop has work."""

PYTHON_DEFAULT = 5e-3
"""Seconds of Python's own switch interval."""


class SwitchInterval:
    """Shorten the switch interval and restore it.

    Any thread may call ``begin``, only the loop's ``end`` and ``stop``. Whoever begins then gives
    the loop something to do, behind which it ends: a ``begin`` that crosses an ``end`` does not
    stay.
    """

    def __init__(self) -> None:
        interval = sys.getswitchinterval()
        self._normal = interval if interval > 2 * SHORT else PYTHON_DEFAULT
        self._short = False
        self._stopped = False

    def shorten(self) -> None:
        """Shorten the interval, and remember what it was."""
        if self._short or self._stopped:
            return
        interval = sys.getswitchinterval()
        if interval > 2 * SHORT:
            self._normal = interval
        sys.setswitchinterval(SHORT)
        self._short = True  # last: an end in between must not be the last word
        if self._stopped:
            self.restore()

    def restore(self) -> None:
        """Restore the interval, unless it was not shortened."""
        if self._short:
            self._short = False
            sys.setswitchinterval(self._normal)

    def stop(self) -> None:
        """Restore the interval for good."""
        self._stopped = True
        self.restore()
