"""How the tests wait: for a condition, and not for ever."""
from __future__ import annotations

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
