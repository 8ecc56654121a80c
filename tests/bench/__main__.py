"""Measure pushserver beside other servers, on the same load.

    python -m tests.bench [SCENARIO ...] [--peers ours,floor,picows] [--runs 3]
"""
from __future__ import annotations

import argparse
import json
import sys

from . import report, servers
from .harness import ServerFailed, wait_idle
from .scenarios import busy, clogged, fanout, growth, single

TABLES = (*fanout.SCENARIOS, *busy.SCENARIOS, *clogged.SCENARIOS, *single.SCENARIOS,
          *growth.SCENARIOS)


def names():
    """Return the scenarios' names."""
    return list(dict.fromkeys(scenario.name for scenario in TABLES))


def parser():
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("scenarios", nargs="*", metavar="SCENARIO",
                       help=f"of {', '.join(names())}; without: all that are quick")
    found.add_argument("--peers", type=lambda text: text.split(","), default=servers.DEFAULT,
                       help=f"servers, of {','.join(servers.KINDS)}")
    found.add_argument("--runs", type=int, default=1, help="runs, of which the median is shown")
    found.add_argument("--seconds", type=int, help="how long to push, instead of each default")
    found.add_argument("--clients", type=int, help="how many clients, instead of each default")
    found.add_argument("--wait-idle", type=float, default=0.0, metavar="SECONDS",
                       help="wait so long at most for an idle machine before each server")
    found.add_argument("--plot", metavar="FILE", help="draw the tables as a picture")
    found.add_argument("--json", metavar="FILE", help="write all rows of all runs")
    return found


def main(arguments=None):
    """Run what was asked for and print it; return the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    unknown = {*options.scenarios} - {*names()} | {*options.peers} - {*servers.KINDS}
    if unknown:
        command.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [scenario.with_options(seconds=options.seconds, clients=options.clients)
              for scenario in TABLES if scenario.name in options.scenarios
              or not options.scenarios and scenario.quick]
    print("\n".join(report.machine()), flush=True)
    peers = [name for name in options.peers if is_there(name)]
    results = [(scenario, run(scenario, peers, options)) for scenario in chosen]
    print(report.versions([row for _, rows in results for found in rows.values()
                           for row in found]))
    if options.json:
        write_json(options.json, results)
    if options.plot:
        from . import plot
        plot.draw(options.plot, results)
    return 0


def is_there(name):
    """Tell whether a server can be run; print why not."""
    need = servers.missing(name)
    if need:
        print(f"{name} is left out: it needs {need}")
    return not need


def run(scenario, peers, options):
    """Measure all servers, one after another, as often as asked; return rows by server."""
    runs = options.runs
    rows = {name: [] for name in peers if fits(scenario, name)}
    for number in range(runs):
        for name, found in rows.items():
            print(f"  {scenario.heading()}: {name}", end="\r", file=sys.stderr, flush=True)
            is_idle = not options.wait_idle or wait_idle(options.wait_idle)
            found.append(measured(scenario, name))
            if not is_idle:
                found[-1]["shared"] = "measured on a machine that others used"
            print("\033[K", end="", file=sys.stderr, flush=True)
        if runs > 1:
            print(report.table(scenario, {name: found[-1] for name, found in rows.items()},
                               f" (run {number + 1})"), flush=True)
    print(report.table(scenario, {name: report.median_row(found) for name, found in rows.items()},
                       f" (median of {runs} runs)" if runs > 1 else ""), flush=True)
    return rows


def fits(scenario, name):
    """Tell whether a server has what a scenario needs."""
    kind = servers.KINDS[name]
    return name not in scenario.without and all(getattr(kind, need) for need in scenario.needs)


def measured(scenario, name):
    """Measure one server once; what goes wrong is its row."""
    try:
        return scenario.measure(name, scenario)
    except (ServerFailed, TimeoutError, RuntimeError) as error:
        return {"error": str(error).strip()[-500:]}


def write_json(path, results):
    """Write all rows."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump([{"scenario": scenario.name, "title": scenario.heading(), "rows": rows}
                   for scenario, rows in results], file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
