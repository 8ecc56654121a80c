"""The same message to many: one a second, a hundred at once, and to as many as one process has."""
from __future__ import annotations

from .base import CONNECTS, CPU, LATENCY, MEMORY, Column, Ratio, Scenario, connected, pushed

KIB = 1024


def tick(name, scenario):
    """Push at a rate to all; return the row."""
    with connected(name, scenario.clients) as (found, crowd, row):
        row.update(pushed(found.server, crowd, scenario.clients, count=round(
            scenario.seconds * scenario.rate), rate=scenario.rate, size=scenario.size,
            burst=scenario.burst))
        return row


def many(name, scenario):
    """Push to so many clients for a minute; return the row, with how many are left."""
    with connected(name, scenario.clients) as (found, crowd, row):
        row.update(pushed(found.server, crowd, scenario.clients, count=scenario.seconds, rate=1))
        row["lost"] = row["closed"] + sum(row["failures"].values())
        return row


TICK = Scenario(
    "tick", "one message of {size} bytes a second to {clients} clients, {seconds} s",
    tick, {"clients": 5000, "seconds": 8, "rate": 1, "size": 17, "burst": 1})

BURST = Scenario(
    "burst", "{burst} messages of {size} bytes at once, every second, to {clients} clients, "
    "{seconds} s", tick, {"clients": 500, "seconds": 6, "rate": 1, "size": 17, "burst": 100})

MANY = Scenario(
    "many", "one message a second to {clients} clients, {seconds} s", many,
    {"clients": 19_000, "seconds": 60},
    columns=(Column("lost", "lost", 1, 0), *LATENCY, CPU, MEMORY, CONNECTS),
    ratios=(Ratio("cpu", "CPU/floor", "floor"), Ratio("p99", "p99/best peer", "best peer")),
    without=("tornado",), quick=False)

SCENARIOS = (TICK, BURST, MANY)
