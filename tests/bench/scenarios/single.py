"""One message to one client: echoes, and messages to one Id each."""
from __future__ import annotations

from .base import (BEST_PEER, CONNECTS, CPU, DELIVERED, FLOOR, MAX, MEMORY, MICRO, P50, P99, Column,
                   Ratio, Scenario, connected)

MIB = 1e6


def inbound(name, scenario):
    """Have clients send and await the echo; return the row."""
    with connected(name, scenario.clients, path="/echo") as (found, crowd, row):
        cpu = found.server.cpu()
        rate = crowd.ask("echo", scenario.size, scenario.seconds)
        cpu = found.server.cpu() - cpu
        row.update(rate=rate, bytes=rate * scenario.size, cpu=cpu / (rate * scenario.seconds))
        return row


def targeted(name, scenario):
    """Send to one Id after another; return the row."""
    count = scenario.rate * scenario.seconds
    with connected(name, scenario.clients) as (found, crowd, row):
        crowd.ask("expect", scenario.size)
        cpu = found.server.cpu()
        found.server.order("targeted", count, scenario.rate)
        received = crowd.ask("wait", count, scenario.patience)
        cpu = found.server.cpu() - cpu
        seconds = float(found.server.answer("done targeted", patience=5)) \
            if received == count else None
        row.update(crowd.ask("result"), delivered=received / count, cpu=cpu / max(1, received),
                   rate=seconds and count / seconds)
        return row


def _inbound(clients, size, columns):
    return Scenario(
        "inbound", "echo of {size} bytes to {clients} clients, each awaiting it, {seconds} s",
        inbound, {"clients": clients, "size": size, "seconds": 5},
        columns=(*columns, Column("cpu", "CPU us/echo", MICRO)),
        ratios=(Ratio("rate", "rate/tornado", "tornado"),
                Ratio("rate", "rate/best peer", BEST_PEER, max)), without=("floor",))


TARGETED = Scenario(
    "targeted", "{rate} messages a second, each to one of {clients} Ids, {seconds} s", targeted,
    {"clients": 10_000, "rate": 100_000, "size": 17, "seconds": 3, "patience": 20},
    columns=(DELIVERED, Column("rate", "sent/s", 1, 0), CPU, P50, P99, MAX, MEMORY, CONNECTS),
    ratios=(Ratio("cpu", "CPU/dict of sockets", FLOOR), Ratio("cpu", "CPU/best peer", BEST_PEER)))

SCENARIOS = (_inbound(100, 32, (Column("rate", "echoes/s", 1, 0),)),
             _inbound(1, 1_000_000, (Column("rate", "echoes/s", 1, 0),
                                     Column("bytes", "MB/s", 1 / MIB, 0))), TARGETED)
