"""What holds others up: clients that never read, long messages, and crowds that come at once."""
from __future__ import annotations

from ..harness import Sampling
from .base import (BEST_PEER, CONNECTS, CPU, DELIVERED, MAX, P50, P99, Column, Ratio, Scenario,
                   connected, pushed)

MIB = 1 << 20
SMALL_BUFFER = 4096
NEVER_READ_PATIENCE = 6.0

CALM = Column("calm", "calm p99 ms", 1e3)
FACTOR = Column("factor", "p99/calm", 1, 2)


def slow(name, scenario):
    """Push to readers alone, then beside clients that never read; return the row."""
    readers = scenario.clients - scenario.slow
    load = {"rate": scenario.rate, "size": scenario.size}
    count = scenario.seconds * scenario.rate
    with connected(name, readers) as (found, crowd, row):
        with Sampling(found.server) as calm_memory:
            calm = pushed(found.server, crowd, readers, count=count // 4, **load)
        idle = found.crowd()
        idle.ask("connect", "/all", scenario.slow, first=readers, idle=True,
                 receive_buffer=SMALL_BUFFER)
        with Sampling(found.server) as memory:
            row.update(pushed(found.server, crowd, readers, count=count, **load))
        ends = idle.ask("idle_ends", NEVER_READ_PATIENCE)
        row.update(calm=calm["p99"], factor=_factor(row["p99"], calm["p99"]),
                   grown=memory.most - calm_memory.most,
                   note="those that never read found at their end: " + ", ".join(
                       f"{count} {code or 'no close frame'}" for code, count in ends.items()))
        return row


def _factor(value, base):
    return value / base if value and base else None


def large(name, scenario):
    """Push long messages to one group while another gets a tick; return the tick's row."""
    with connected(name, scenario.clients, tls=scenario.tls, path="/b") as (found, bulk, row):
        ticked = found.crowd()
        ticked.ask("connect", "/a", scenario.ticked, first=scenario.clients)
        tick = {"group": "a", "count": scenario.seconds * scenario.rate, "rate": scenario.rate}
        calm = pushed(found.server, ticked, scenario.ticked, **tick)
        count = max(1, scenario.seconds // scenario.every)
        bulk.ask("expect", scenario.size)
        bulk.begin("wait", scenario.clients * count, scenario.seconds + 5)
        found.server.push("b", count, 1 / scenario.every, scenario.size, 1)
        row.update(pushed(found.server, ticked, scenario.ticked, **tick))
        bulk.end()
        result = bulk.ask("result")
        row.update(calm=calm["max"], closed=row["closed"] + result["closed"],
                   codes=row["codes"] + result["codes"], bulk_p50=result["p50"],
                   bulk=result["max"], bulk_delivered=result["count"] / count / scenario.clients)
        return row


def storm(name, scenario):
    """Tick to some while many others connect as fast as they can; return the row."""
    tick = {"group": "a", "rate": scenario.rate}
    with connected(name, scenario.clients, path="/a") as (found, crowd, row):
        calm = pushed(found.server, crowd, scenario.clients, count=scenario.seconds *
                      scenario.rate, **tick)
        comers = found.crowd()
        comers.begin("connect", "/b", scenario.comers, first=scenario.clients,
                     in_flight=scenario.in_flight, deadline=scenario.deadline)
        seconds = max(scenario.seconds, scenario.comers // 800)
        row.update(pushed(found.server, crowd, scenario.clients, count=seconds * scenario.rate,
                          **tick))
        how = comers.end()
        row.update(connects=how["rate"], refused=scenario.comers - how["connected"],
                   calm=calm["p99"], factor=_factor(row["p99"], calm["p99"]),
                   failures={**row["failures"], **how["failures"]})
        return row


SLOW = Scenario(
    "slow", "{size} bytes at {rate} a second to {clients} clients, {slow} of which never read, "
    "{seconds} s; the others' latency", slow,
    {"clients": 1000, "slow": 100, "rate": 20, "size": 10 * 1024, "seconds": 30},
    columns=(DELIVERED, CPU, P50, P99, MAX, CALM, FACTOR,
             Column("grown", "grown MiB", 1 / MIB)),
    ratios=(Ratio("p99", "p99/best peer", BEST_PEER),), without=("floor",))


def _large(tls):
    return Scenario(
        "large", "{size} bytes to {clients} clients every {every} s"
        + (" over TLS" if tls else "") + ", beside {rate} messages a second to {ticked} others, "
        "{seconds} s; the tick's latency, then the long messages'", large,
        {"clients": 200, "ticked": 100, "size": 1_000_000, "every": 3, "rate": 20, "seconds": 6,
         "tls": tls},
        columns=(DELIVERED, P50, P99, MAX, Column("calm", "calm max ms", 1e3),
                 Column("bulk_delivered", "long %", 100), Column("bulk_p50", "long p50 ms", 1e3),
                 Column("bulk", "long max ms", 1e3)),
        ratios=(Ratio("max", "max/best peer", BEST_PEER),), needs=("tls",) if tls else (),
        without=("floor",))


STORM = Scenario(
    "storm", "{comers} clients connect, {in_flight} at a time, beside {rate} messages a second to "
    "{clients} others; the tick's latency", storm,
    {"clients": 1000, "comers": 5000, "in_flight": 512, "rate": 4, "seconds": 5, "deadline": 20},
    columns=(Column("refused", "refused", 1, 0), CONNECTS, DELIVERED, P50, P99, MAX, CALM, FACTOR),
    ratios=(Ratio("connects", "connects/ws4py", "ws4py"),), without=())

SCENARIOS = (SLOW, _large(False), _large(True), STORM)
