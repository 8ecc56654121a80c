"""What scenarios are made of: columns, ratios, and the steps that most of them share."""
from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Callable, NamedTuple

from ..crowd import STAMP
from ..harness import stage

MILLI = 1e3
MICRO = 1e6
KIB = 1024
PATIENCE = 8.0
"""Seconds that messages may be late before they count as lost."""

SETTLE = 0.5
CONNECT_PATIENCE = 30.0
SLOWEST_CONNECTS = 150
"""New connections a second of a server that is not given up on."""


class Column(NamedTuple):
    """One column: the key in a row, its title, the factor to its unit, digits behind the point."""

    key: str
    title: str
    factor: float = 1.0
    digits: int = 1


class Ratio(NamedTuple):
    """A column that compares: each row's value of a key against one row's, or the best peer's."""

    key: str
    title: str
    against: str
    best: Callable = min


DELIVERED = Column("delivered", "delivered %", 100, 1)
CPU = Column("cpu", "CPU us/msg", MICRO, 2)
P50 = Column("p50", "p50 ms", MILLI)
P99 = Column("p99", "p99 ms", MILLI)
MAX = Column("max", "max ms", MILLI)
MEMORY = Column("memory", "KiB/conn", 1 / KIB)
CONNECTS = Column("connects", "connects/s", 1, 0)
LATENCY = (DELIVERED, P50, P99, MAX)
USUAL = (DELIVERED, CPU, P50, P99, MAX, MEMORY, CONNECTS)

BEST_PEER = "best peer"
FLOOR = "floor"
USUAL_RATIOS = (Ratio("cpu", "CPU/floor", FLOOR), Ratio("cpu", "CPU/best peer", BEST_PEER),
                Ratio("p99", "p99/best peer", BEST_PEER))


@dataclass(frozen=True)
class Scenario:
    """One table.

    Attributes:
        name: what the command calls it; several tables may share one.
        title: its heading, with the parameters in braces.
        measure: called with the server's name and this; returns a row as a dict.
        defaults: its parameters; ``clients`` and ``seconds`` can be set by the command.
        columns, ratios: what is printed of a row.
        needs: attributes of ``servers.Kind`` that a server must have.
        without: servers that are left out.
        quick: part of a run that names no scenario.
        axis: where a row has ``steps``, what they differ in; each makes a table of its own.
    """

    name: str
    title: str
    measure: Callable
    defaults: dict = field(default_factory=dict)
    columns: tuple = USUAL
    ratios: tuple = USUAL_RATIOS
    needs: tuple = ()
    without: tuple = ()
    quick: bool = True
    axis: str = ""

    def __getattr__(self, name):
        try:
            return self.defaults[name]
        except KeyError:
            raise AttributeError(name) from None

    def with_options(self, **options):
        """Return this with other parameters, where it has them and they are not None."""
        known = {name: value for name, value in options.items()
                 if value is not None and name in self.defaults}
        return replace(self, defaults={**self.defaults, **known})

    def heading(self):
        """Return the title with its parameters."""
        return f"{self.name}: " + self.title.format(**self.defaults)


@contextlib.contextmanager
def connected(name, clients, *, tls=False, path="/all"):
    """Run a server with connected clients; yield stage, crowd, and the row so far."""
    with stage(name, tls) as found:
        before = found.server.resident()
        crowd = found.crowd()
        how = crowd.ask("connect", path, clients, deadline=max(CONNECT_PATIENCE,
                                                               clients / SLOWEST_CONNECTS))
        row = {"connects": how["rate"], "failures": how["failures"],
               "memory": (found.server.resident() - before) / max(1, how["connected"]),
               "connected": how["connected"], "versions": found.server.versions}
        crowd.ask("wait", 1, SETTLE)
        yield found, crowd, row
        crowd.ask("leave")


def pushed(server, crowd, clients, *, group="all", count, rate, size=STAMP, burst=1,
           patience=PATIENCE):
    """Push to a crowd; return what came of it: delivered, latencies, CPU for each message."""
    expected = clients * count * burst
    crowd.ask("expect", size)
    cpu = server.cpu()
    server.push(group, count, rate, size, burst)
    received = crowd.ask("wait", expected, count / rate + patience)
    cpu = server.cpu() - cpu
    result = crowd.ask("result")
    return {"delivered": received / expected, "cpu": cpu / max(1, received),
            "p50": result["p50"], "p99": result["p99"], "max": result["max"],
            "closed": result["closed"], "codes": result["codes"]}
