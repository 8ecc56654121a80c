"""Everything at once: honest clients of one site, and strangers who attack it in every way.

    python -m tests.bench.everything [ATTACK ...] [--seconds 600] [--clients 500] [--broadcast]

Calm for a tenth of the time, then four attacks at a time (see ``attacks``), other ones every 15 s,
and calm again. All the time, numbers are published and sent to the honest clients: plain ones,
plain ones over TLS, and ``PushClient``s in channels, one of which loses its connection each second;
new clients connect; and pages and the API are asked. A line is shown for each half minute, and at
the end what must be and whether it is; the exit status is 1 if something is not.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import statistics
import sys
import tempfile
import time

from . import report
from .attacks import kernel_memory
from .crowd import CrowdProcess
from .harness import Certificate, Sampling, Server, cpu_times
from .honest import API, ChannelCrowd, PlainCrowd
from .probes import Probes
from .servers.attacked import NEWS
from .strangers import ATTACKS, Attack, Mix

SHOWN_EVERY, TURN, SETTLE = 30.0, 15.0, 10.0
"""Seconds of a line, of each mix of attacks, and after the last of them until it must be calm."""

RATE = 5.0
PATIENCE = 20.0
CONNECTS_WITHIN = 0.1
CALM_FACTOR, CALM_ANYWAY = 2.0, 0.05
"""How much later than in the first calm pushes may be in the second; seconds that always count as
calm."""

HELD_FACTOR, GROWN_FACTOR = 1.1, 1.2
"""How far ``max_memory`` may be passed, three times in a row; and the memory of the process in the
last third of the attacks, compared with the second third."""

BROADCAST = "broadcasts of 100 KB"
MIB = 2 ** 20


class Watch:
    """Watch a site and its honest clients; ``rows`` has what was seen in each period."""

    def __init__(self, server, crowds, probes):
        self._server, self._crowds, self._probes = server, crowds, probes
        self._begun = time.monotonic()
        self.rows = []
        print("| until s | state | new client ms: median, p99 | page ms: median, p99 | "
              "push ms: p50, p99 | lost, doubled, out of order | closed | RSS MiB (most) | "
              "account MiB (most) | kernel MiB | CPU: site, machine | attacks |\n" +
              "| --: | --- " + "| --: " * 9 + "| --- |", flush=True)

    def period(self, state, seconds, strangers=None):
        """Watch for a while; tell what was seen."""
        until, seen, account = time.monotonic() + seconds, {}, [0]
        used = time.monotonic(), self._server.cpu(), *cpu_times()
        with Sampling(self._server) as sampling:
            while time.monotonic() < until:
                if strangers is not None:
                    strangers.go_on()
                    seen.update(dict.fromkeys(strangers.attacks))
                account.append(self.memory()["held"])
                time.sleep(max(0.0, min(0.5, until - time.monotonic())))
        connects, pages = self._probes.take()
        now = time.monotonic(), self._server.cpu(), *cpu_times()
        spent = [after - before for after, before in zip(now, used)]
        row = {"state": state, "connects": connects, "pages": pages, "held": max(account),
               "steady": max(map(min, account, account[1:], account[2:]), default=0),
               "cpu": (spent[1] / spent[0], spent[2] / spent[3]),
               "resident": self._server.resident(), "most": sampling.most,
               "found": [crowd.ask("result") for crowd in self._crowds]}
        self.rows.append(row)
        print(self._line(row, seen), flush=True)
        return row

    def memory(self):
        """Return what the site says of the memory that it holds for clients."""
        self._server.order("memory")
        return json.loads(self._server.answer("memory"))

    def _line(self, row, attacks):
        push = max(row["found"][:2], key=lambda one: one["p99"] or 0)
        return "| " + " | ".join([
            f"{time.monotonic() - self._begun:.0f}", row["state"], shown(row["connects"]),
            shown(row["pages"]), ", ".join(f"{(push[key] or 0) * 1e3:.0f}"
                                           for key in ("p50", "p99")),
            ", ".join(str(total(row, key)) for key in ("lost", "doubled", "disordered")),
            str(closed(row)), f"{row['resident'] / MIB:.0f} ({row['most'] / MIB:.0f})",
            f"{row['held'] / MIB:.1f}", f"{kernel_memory() / MIB:.0f}",
            ", ".join(f"{share:.0%}" for share in row["cpu"]), "; ".join(attacks) or "-"]) + " |"


def quantile(values, share):
    """Return a quantile of some seconds; that of none is no time."""
    return sorted(values)[int(len(values) * share)] if values else 0.0


def shown(values):
    """Return median and p99 in milliseconds."""
    return f"{quantile(values, 0.5) * 1e3:.0f}, {quantile(values, 0.99) * 1e3:.0f}"


def total(row, key):
    """Return a sum over all crowds."""
    return sum(found[key] for found in row["found"])


def closed(row):
    """Return how many clients were closed, with which codes, that must not be."""
    return [found[key] for found in row["found"] for key in ("closed", "errors")
            if found.get(key)] or 0


def pushed(row):
    """Return the p99 of plain clients."""
    return max(found["p99"] or 0.0 for found in row["found"][:2])


def all_came(crowds, last):
    """Wait until each client has the last number of each stream; tell whether all have."""
    until = time.monotonic() + PATIENCE
    while True:
        found = [crowd.ask("result") for crowd in crowds]
        if all(number == last[name] for one in found for name, number in one["last"].items()):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def demands(rows, memory, came, probes, left, errors):
    """Yield what must be, whether it is, and what was seen."""
    calm, again = rows[0], rows[-1]
    attacked = [row for row in rows if row["state"] == "attacked"]
    faults = [total(again, key) for key in ("lost", "doubled", "disordered")]
    channels = again["found"][-1]
    yield ("nothing is lost, doubled or out of order", came and not any(faults)
           and not channels["gaps"], f"{faults}, {channels['gaps']} gaps, "
           f"{channels['opened']} connections of channel clients"
           + ("" if came else ", not all have the last number"))
    yield "no honest client is closed", not closed(again), str(closed(again))
    connects = [one for row in attacked for one in row["connects"]]
    yield (f"new clients connect within {CONNECTS_WITHIN * 1e3:.0f} ms (median, during attacks)",
           quantile(connects, 0.5) <= CONNECTS_WITHIN,
           f"{shown(connects)}; not, of {len(connects)}: {dict(probes.failures['connects'])}")
    pages = [one for row in rows for one in row["pages"]]
    unanswered = pages.count(float("inf"))
    yield ("each page and each call of the API is answered", not unanswered and not probes.failed,
           f"{unanswered} of {len(pages)} not: {dict(probes.failures['pages'])}, "
           f"{probes.failed} of {probes.calls} calls not")
    limit = max(CALM_FACTOR * pushed(calm), CALM_ANYWAY)
    yield ("pushes are as before once it is calm again", pushed(again) <= limit,
           f"p99 {pushed(calm) * 1e3:.0f} ms, during attacks "
           f"{statistics.median(map(pushed, attacked)) * 1e3:.0f}, "
           f"then {pushed(again) * 1e3:.0f}; the machine was {calm['cpu'][1]:.0%} busy, then "
           f"{again['cpu'][1]:.0%}")
    steady = max(row["steady"] for row in rows)
    yield ("what is held is not over max_memory for more than a moment",
           steady <= HELD_FACTOR * memory["max"],
           f"{max(row['held'] for row in rows) / MIB:.0f} MiB at most, {steady / MIB:.0f} three "
           f"times in a row, of {memory['max'] / MIB:.0f}; then " + ", ".join(
               f"{kind} {held / MIB:.1f}" for kind, held in memory.items() if kind != "max"))
    third = len(attacked) // 3
    middle, last = (statistics.median(row["resident"] for row in part) for part in (
        attacked[third:-third] or attacked, attacked[-third:]))
    yield ("memory does not grow", max(last, again["resident"]) <= GROWN_FACTOR * middle,
           f"{calm['resident'] / MIB:.0f} MiB in calm; {middle / MIB:.0f} in the second third of "
           f"the attacks, {last / MIB:.0f} in the last, "
           f"{max(row['most'] for row in attacked) / MIB:.0f} at most; "
           f"{again['resident'] / MIB:.0f} after them; {left}")
    yield "the site logs no exception", "Traceback" not in errors, errors[-2000:] or "nothing"


def collected(server):
    """Have a site give back the memory that it does not need; return how many objects it has."""
    server.order("collect")
    return int(server.answer("collected"))


def run(options, attacks):
    """Do it all; return what must be and whether it is."""
    plain, secure = options.clients * 3 // 5, options.clients // 5
    followers = options.clients - plain - secure
    calm = options.seconds / 10
    with contextlib.ExitStack() as stack:
        certificate = Certificate(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server("both", certificate)
        stack.callback(server.stop)
        port, tls_port = server.port, int(server.answer("tls"))
        crowds = [stack.enter_context(CrowdProcess(*found)) for found in (
            (port, None, PlainCrowd), (tls_port, certificate.authority, PlainCrowd),
            (port, None, ChannelCrowd))]
        for crowd, count, first in ((crowds[0], plain, 0), (crowds[1], secure, plain)):
            how = crowd.ask("connect", "/news", count, first=first)
            assert how["connected"] == count, how
        crowds[2].ask("connect", followers)
        stack.callback(crowds[2].ask, "leave")
        until = time.monotonic() + PATIENCE
        while crowds[2].ask("opened") < followers and time.monotonic() < until:
            time.sleep(0.1)
        ports = (port, None), (tls_port, ssl._create_unverified_context())
        server.order("number", RATE, plain + secure)
        probes = Probes(ports, followers)
        stack.callback(probes.end)
        watch = Watch(server, crowds, probes)
        watch.period("calm", calm)
        objects = collected(server)
        strangers = Mix(server, (port, tls_port), attacks, min(TURN, calm))
        stack.callback(strangers.end)
        left = options.seconds - 2 * calm
        while left > 0:
            watch.period("attacked", min(SHOWN_EVERY, calm * 2, left), strangers)
            left -= min(SHOWN_EVERY, calm * 2)
        strangers.end()
        watch.period("settling", min(SETTLE, calm))
        watch.period("calm again", calm)
        probes.end()
        server.order("last")
        number = int(server.answer("last"))
        came = all_came(crowds, {NEWS: number, "Id": number, API: probes.calls})
        left = f"{objects:,} objects before, {collected(server):,} then, and " \
            f"{server.resident() / MIB:.0f} MiB once what is free was given back"
        return list(demands(watch.rows, watch.memory(), came, probes, left, server.errors()))


def main(arguments=None):
    """Run, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.everything", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {name: attack for name, attack in ATTACKS.items() if attack not in (
        ATTACKS["calm"], ATTACKS["calm, TLS"]) and not attack.broadcasts}
    parser.add_argument("attacks", nargs="*", metavar="ATTACK",
                        help=f"of {'; '.join(known)}; without: all")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--broadcast", action="store_true",
                        help="let a thread of the site broadcast as fast as it can, not just twice "
                        "a second")
    options = parser.parse_args(arguments)
    known[BROADCAST] = Attack(broadcasts=100_000, rate=0.0 if options.broadcast else 2.0)
    if {*options.attacks} - {*known}:
        parser.error(f"unknown: {', '.join({*options.attacks} - {*known})}")
    print("\n".join(report.machine()), flush=True)
    found = run(options, {name: known[name] for name in options.attacks or known})
    print("\n| must | is it so | seen |\n| --- | --- | --- |")
    for must, is_so, seen in found:
        print(f"| {must} | {'yes' if is_so else 'NO'} | {seen} |")
    return 0 if all(is_so for _, is_so, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
