"""Measure what the machine and this process are doing; only this file needs psutil."""
from __future__ import annotations

import time
from typing import Any

try:
    import psutil
except ImportError:
    psutil = None

INSTALL = "" if psutil else "Install psutil to see more: python -m pip install psutil"
"""What to do if psutil is missing, in one line; otherwise empty."""


class Measures:
    """Measure what happened since the last ``take``, or since creation. Needs psutil."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = counters()

    def take(self) -> dict[str, Any]:
        """Return percentages, bytes per second, and the TCP connections of this process."""
        now = counters()
        passed = {name: now[name] - self._before[name] for name in now}
        self._before = now
        seconds = max(0.001, passed["clock"])
        memory = psutil.virtual_memory()
        return {"cpu": 100 * max(0.0, passed["busy"]) / max(0.001, passed["cpu"]),
                "cores": psutil.cpu_count(),
                "memory": memory.percent, "total": memory.total,
                "process": self._process.memory_info().rss,
                "received": passed["received"] / seconds, "sent": passed["sent"] / seconds,
                "tcp": len(self._process.net_connections("tcp"))}


def counters() -> dict[str, float]:
    """Return values that only grow: seconds of the clock and of the CPUs, and bytes."""
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0) - times.get("guest_nice", 0)  # in user
    traffic = psutil.net_io_counters()  # None where there is no network
    return {"clock": time.monotonic(), "cpu": total,
            "busy": total - times["idle"] - times.get("iowait", 0),
            "received": traffic.bytes_recv if traffic else 0,
            "sent": traffic.bytes_sent if traffic else 0}
