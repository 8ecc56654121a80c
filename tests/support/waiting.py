"""How the tests wait: for a condition, and not for ever. And how they compare times."""
from __future__ import annotations

import gc
import time

PATIENCE = 10.0
"""Seconds after which a test stops waiting for a condition."""


def wait_until(condition, patience=PATIENCE, what="condition"):
    """Return the first true value of ``condition()``; fail if there is none in time."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} was not met in {patience} s"
        time.sleep(0.005)


def best_of_three(work):
    """Return the shortest of the times that a function takes: another process may interfere.

    For comparing with each other what should take about as long. Nothing asserts a time by itself.
    """
    def once():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    gc.disable()    # its time depends on all else that the tests have made
    try:
        return min(once() for _ in range(3))
    finally:
        gc.enable()
