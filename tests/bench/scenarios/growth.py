"""How the cost grows, with clients and with the size of a message."""
from __future__ import annotations

from .base import CPU, DELIVERED, MAX, P50, P99, Ratio, Scenario, connected, pushed

CLIENTS = (500, 1500, 5000, 15_000)
SIZES = (17, 256, 4096, 65_536)
FOR_SIZES = 500


def by_clients(name, scenario):
    """Tick to more and more clients of one server; return a row with a step for each number."""
    steps = []
    with connected(name, CLIENTS[0]) as (found, crowd, row):
        for before, clients in zip((CLIENTS[0], *CLIENTS), CLIENTS):
            crowd.ask("connect", "/all", clients - before, first=before)
            crowd.ask("wait", 1, 0.5)
            step = pushed(found.server, crowd, clients, count=scenario.seconds, rate=1)
            steps.append({**step, "clients": clients})
    return {**row, "steps": steps}


def by_size(name, scenario):
    """Push longer and longer messages; return a row with a step for each length."""
    steps = []
    with connected(name, FOR_SIZES) as (found, crowd, row):
        for size in SIZES:
            step = pushed(found.server, crowd, FOR_SIZES, count=scenario.seconds, rate=1,
                          size=size)
            steps.append({**step, "bytes": size})
    return {**row, "steps": steps}


COLUMNS = (DELIVERED, CPU, P50, P99, MAX)
RATIOS = (Ratio("cpu", "CPU/floor", "floor"), Ratio("p99", "p99/best peer", "best peer"))

SCENARIOS = (
    Scenario("growth", "one message of 17 bytes a second to more and more clients, {seconds} s "
             "each", by_clients, {"seconds": 4}, columns=COLUMNS, ratios=RATIOS, axis="clients",
             quick=False),
    Scenario("growth", f"one message a second of more and more bytes to {FOR_SIZES} clients, "
             "{seconds} s each", by_size, {"seconds": 4}, columns=COLUMNS, ratios=RATIOS,
             axis="bytes", quick=False))
