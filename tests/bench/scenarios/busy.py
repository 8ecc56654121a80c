"""A push beside Python threads that use the CPU, and what is left of the CPU for pages."""
from __future__ import annotations

from .base import CONNECTS, LATENCY, Ratio, Scenario, connected, pushed

NEWCOMERS = 100
NEWCOMERS_DEADLINE = 4.0


def busy(name, scenario):
    """Push beside busy threads, then connect a few more clients beside them."""
    with connected(name, scenario.clients, tls=scenario.tls) as (found, crowd, row):
        found.server.busy(scenario.threads)
        row.update(pushed(found.server, crowd, scenario.clients, count=scenario.seconds, rate=1))
        newcomers = found.crowd()
        how = newcomers.ask("connect", "/all", NEWCOMERS, first=scenario.clients,
                            deadline=NEWCOMERS_DEADLINE)
        row["connects"] = how["rate"]
        found.server.busy(0)
        return row


def _table(threads, tls):
    what = "thread" if threads == 1 else "threads"
    over = " over TLS" if tls else ""
    return Scenario(
        "busy", "one message a second to {clients} clients" + over + ", {seconds} s, beside "
        "{threads} busy Python " + what,
        busy, {"clients": 1000, "seconds": 5, "threads": threads, "tls": tls},
        columns=(*LATENCY, CONNECTS),
        ratios=(Ratio("p99", "p99/picows", "picows"), Ratio("p99", "p99/best peer", "best peer")),
        needs=("threads", "tls") if tls else ("threads",))


SCENARIOS = (_table(1, False), _table(4, False), _table(1, True), _table(4, True))
