"""How late others' messages are while some clients flood the server.

    python -m tests.bench.floods [FLOOD ...] [--seconds 8] [--clients 200]

Honest clients get messages at a steady rate, first in calm and then during each flood, each with
a server of its own; what is shown is how late the messages were, and the server's share of a core.
"""
from __future__ import annotations

import argparse

from . import report
from .flooding import FLOODS, TALK, flooding
from .harness import ServerFailed
from .scenarios.base import connected, pushed

RATE = 20
MEMBERS = 300
SETTLE = 1.0
"""Messages a second; clients that are in the channel that commands are about; seconds of flood
before anything is measured."""


def measure(name, options):
    """Return how late messages were in a flood, or without one, and the CPU used."""
    path, count, first, again = FLOODS.get(name, (None, 0, b"", b""))
    members = MEMBERS if path == TALK or path is None else 0
    with connected("ours", options.clients) as (found, crowd, _):
        with flooding(found.server.port, path, count, first, again, members):
            crowd.ask("wait", 1 << 30, SETTLE)
            before = found.server.cpu()
            row = pushed(found.server, crowd, options.clients,
                         count=round(options.seconds * RATE), rate=RATE)
            row["share"] = (found.server.cpu() - before) / options.seconds
            return row


def line(name, row, calm):
    """Return a line of the table."""
    times = " | ".join("-" if row[key] is None else f"{row[key] * 1e3:.1f}"
                       for key in ("p50", "p99", "max"))
    ratio = f"{row['p99'] / calm['p99']:.1f}" if row["p99"] and calm["p99"] else "-"
    return f"| {name} | {row['delivered']:.1%} | {times} | {ratio} | {row['share']:.0%} |"


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.floods", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floods", nargs="*", metavar="FLOOD", help=f"of {', '.join(FLOODS)}")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=200)
    options = parser.parse_args(arguments)
    if {*options.floods} - {*FLOODS}:
        parser.error(f"unknown: {', '.join({*options.floods} - {*FLOODS})}")
    print("\n".join(report.machine()), flush=True)
    print("| flood | delivered | p50 ms | p99 ms | max ms | p99/calm | CPU |\n"
          "| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    calm = measure("", options)
    print(line("none", calm, calm), flush=True)
    for name in options.floods or FLOODS:
        try:
            print(line(name, measure(name, options), calm), flush=True)
        except (ServerFailed, TimeoutError, RuntimeError) as error:
            print(f"| {name} | {str(error).strip()[-200:]} |", flush=True)


if __name__ == "__main__":
    main()
