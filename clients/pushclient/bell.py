"""How threads wait for a change that another thread makes."""
from __future__ import annotations

import threading
import time
from typing import Callable


FOR_SIGNALS = 0.5
"""Seconds after which the main thread stops waiting for a moment: Python runs no handler for a
signal that comes just as it begins to wait, so Ctrl-C would have no effect."""


class Bell:
    """Wake the threads that wait for a change. For any thread.

    Unlike ``threading.Condition`` it has no lock that a thread could hold when a signal handler
    interrupts it, or when the process forks.
    """

    def __init__(self) -> None:
        self._waiting: list[threading.Lock] = []

    def ring(self) -> None:
        """Have all threads that wait look again; called after the change."""
        for lock in self._waiting[:]:
            try:
                lock.release()
            except RuntimeError:  # it is awake already
                pass

    def wait(self, is_over: Callable[[], object], timeout: float | None = None) -> bool:
        """Return True once ``is_over()`` is true, or False when the time is up.

        Args:
            is_over: looked at first and after each ring.
            timeout: seconds to wait; None: for as long as it takes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        is_main = threading.current_thread() is threading.main_thread()
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        try:
            while not is_over():
                left = threading.TIMEOUT_MAX if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                lock.acquire(timeout=min(left, FOR_SIGNALS) if is_main else left)
            return True
        finally:
            self._waiting.remove(lock)
