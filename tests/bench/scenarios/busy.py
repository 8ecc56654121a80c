"""A push beside Python threads that use the CPU, and what is left of the CPU for pages."""
from __future__ import annotations

from ..visitors import Visitors
from .base import CONNECTS, LATENCY, Column, Ratio, Scenario, connected, pushed

NEWCOMERS = 100
NEWCOMERS_DEADLINE = 3.0
PATIENCE = 5.0


def busy(name, scenario):
    """Push beside busy threads, then connect a few more clients beside them."""
    with connected(name, scenario.clients, tls=scenario.tls) as (found, crowd, row):
        found.server.busy(scenario.threads)
        row.update(pushed(found.server, crowd, scenario.clients, count=scenario.seconds, rate=1,
                          patience=PATIENCE))
        newcomers = found.crowd()
        how = newcomers.ask("connect", "/all", NEWCOMERS, first=scenario.clients,
                            deadline=NEWCOMERS_DEADLINE)
        row["connects"] = how["rate"]
        found.server.busy(0)
        return row


def pages(name, scenario):
    """Push while visitors ask for pages; return the row."""
    with connected(name, scenario.clients) as (found, crowd, row):
        found.server.busy(scenario.threads)
        visitors = Visitors(found.server.port, scenario.visitors)
        row.update(pushed(found.server, crowd, scenario.clients,
                          count=scenario.seconds * scenario.rate, rate=scenario.rate))
        row.update(visitors.end())
        found.server.busy(0)
        return row


def _table(threads, tls):
    what = "thread" if threads == 1 else "threads"
    over = " over TLS" if tls else ""
    return Scenario(
        "busy", "one message a second to {clients} clients" + over + ", {seconds} s, beside "
        "{threads} busy Python " + what,
        busy, {"clients": 1000, "seconds": 4, "threads": threads, "tls": tls},
        columns=(*LATENCY, CONNECTS),
        ratios=(Ratio("p99", "p99/picows", "picows"), Ratio("p99", "p99/best peer", "best peer")),
        needs=("threads", "tls") if tls else ("threads",))


def _pages(threads):
    beside = f" and {threads} busy Python thread" if threads else ""
    return Scenario(
        "pages", "{rate} message a second to {clients} clients beside {visitors} visitors"
        + beside + ", {seconds} s", pages,
        {"clients": 1000, "seconds": 6, "rate": 1, "visitors": 4, "threads": threads},
        columns=(Column("pages", "pages/s", 1, 0), Column("slowest", "slowest page ms", 1e3),
                 *LATENCY),
        ratios=(Ratio("pages", "pages/ours-plain", "ours-plain"),
                Ratio("pages", "pages/ws4py", "ws4py")), needs=("pages",), quick=False)


SCENARIOS = (_table(1, False), _table(4, False), _table(1, True), _table(4, True), _pages(0),
             _pages(1))
