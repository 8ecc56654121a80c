"""What a node does from time to time: free old histories, and announce who did not return."""
from __future__ import annotations

import threading
import time
from typing import Any

from ..channels.node import Node
from ..runtime.runtime import DelayedJob, Runtime
from ..runtime.workers import Mailbox

SWEEP_INTERVAL = 10.0
"""Seconds between two searches for histories that have expired."""

SHORTEST_WAIT = 0.05
"""The fewest seconds to wait for a lingering client, so that many are handled at once."""


class Housekeeping:
    """Do a node's regular work on a worker while the server runs. Any thread may call it."""

    def __init__(self) -> None:
        self._node: Node[Any] | None = None
        self._runtime: Runtime | None = None
        self._mailbox = Mailbox()
        self._lock = threading.Lock()   # for the next two
        self._departure: DelayedJob | None = None
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Housekeeping{' of a departure' if self._departure else ''}>"

    def begin(self, runtime: Runtime, node: Node[Any]) -> None:
        """Begin to work for a node, as long as the runtime's threads live."""
        self._runtime, self._node, self._departure = runtime, node, None
        runtime.later(self._mailbox, SWEEP_INTERVAL, lambda: self._sweep(runtime, node))
        self.expect_departures()

    def _sweep(self, runtime: Runtime, node: Node[Any]) -> None:
        try:
            node.sweep()
        finally:
            runtime.later(self._mailbox, SWEEP_INTERVAL, lambda: self._sweep(runtime, node))
            self.expect_departures()    # the last check may have failed

    def expect_departures(self) -> None:
        """Make sure that lingering clients are checked when their time is over."""
        runtime, node = self._runtime, self._node
        seconds = None if runtime is None or node is None else node.next_departure()
        if runtime is None or seconds is None:
            return
        seconds = max(SHORTEST_WAIT, seconds)
        job = DelayedJob(runtime, self._mailbox, self._depart)
        with self._lock:
            due, before = time.monotonic() + seconds, self._departure
            if before is not None and due > self._due - SHORTEST_WAIT:
                return  # soon enough: most calls are for one that is already expected
            self._departure, self._due = job, due
        if before is not None:
            before.cancel()
        job.start(seconds)

    def _depart(self) -> None:
        with self._lock:
            self._departure = None
        try:
            if self._node is not None:
                self._node.depart()
        finally:
            self.expect_departures()
