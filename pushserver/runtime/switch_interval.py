"""Python's switch interval, short while the loop has work.

Each read and write gives up the interpreter's lock. Getting it back from a thread that computes
takes a switch interval: 5 ms by default, for each of a thousand writes. The loop shortens the
interval while it has work and restores it when it has none: a permanently short one would make the
site's other threads switch all the time.
"""
from __future__ import annotations

import sys

SHORT = 5e-6
"""Seconds of the switch interval while the loop has work."""

PYTHON_DEFAULT = 5e-3
"""Seconds of Python's own switch interval."""


class SwitchInterval:
    """Shorten the switch interval and restore it.

    Any thread may call ``shorten``; only the loop's thread may call ``restore`` and ``stop``. A
    caller of ``shorten`` then gives the loop work, after which the loop calls ``restore``, so that
    a ``shorten`` that races with a ``restore`` does not last.
    """

    def __init__(self) -> None:
        interval = sys.getswitchinterval()
        self._normal = interval if interval > 2 * SHORT else PYTHON_DEFAULT
        self._short = False
        self._stopped = False

    def shorten(self) -> None:
        """Shorten the interval and remember what it was."""
        if self._short or self._stopped:
            return
        interval = sys.getswitchinterval()
        if interval > 2 * SHORT:
            self._normal = interval
        sys.setswitchinterval(SHORT)
        self._short = True  # last: a restore in between must not leave the interval short
        if self._stopped:
            self.restore()

    def restore(self) -> None:
        """Restore the interval if it was shortened."""
        if self._short:
            self._short = False
            sys.setswitchinterval(self._normal)

    def stop(self) -> None:
        """Restore the interval and leave it alone from now on."""
        self._stopped = True
        self.restore()
