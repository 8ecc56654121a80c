"""Count what threads of a site get done beside busy Python threads of the same process.

    python -m tests.bench.beside_busy [ROW ...] [--busy 0,1,4] [--seconds 2] [--runs 1]

Rows: ``publish``, ``send`` and ``broadcast`` calls a second from one thread; ``apart``, those of
``publish`` that each find the loop asleep, by the time they take; ``connects`` a second, 64 at a
time; ``pages`` a second for four visitors while none connects, ``paced`` while 40 a second do, and
``rush`` while as many do as can. PYTHONPATH says whose pushserver is measured.
"""
from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time

import cherrypy

from tests.bench.crowd import CrowdProcess
from tests.bench.servers.control import burn
from tests.bench.servers.site import THREADS, Pages
from tests.bench.visitors import Visitors
from tests.support.site import running_site
from tests.support.waiting import wait_until

ROOM = 256 << 20
MESSAGE = f"{1:.15f}"
"""What a crowd takes for a message of its own."""

VISITORS = 4
IN_FLIGHT = 64
FIRST = 1000
PAUSE = 0.002
"""Seconds between two publications of ``apart``."""

PACE, FEW = 0.1, 4
"""Seconds between two groups of clients that ``paced`` lets connect, and their size."""


class Root(Pages):
    """A push address in a channel, and a page."""

    @cherrypy.expose
    @cherrypy.tools.push(channels=["a"])
    def a(self, Id):
        """Let everybody in."""


@contextlib.contextmanager
def burning(threads):
    """Have so many threads compute."""
    idle = threading.Event()
    burners = [threading.Thread(target=burn, args=(idle,)) for _ in range(threads)]
    for thread in burners:
        thread.start()
    try:
        yield
    finally:
        idle.set()
        for thread in burners:
            thread.join()


def calls(call):
    """Return a row that repeats a call."""
    def row(site, crowd, seconds):
        count = 0
        start = now = time.perf_counter()
        while now < start + seconds:
            call(site.push)
            count, now = count + 1, time.perf_counter()
        loop = site.push._lifecycle.runtime.loop
        wait_until(lambda: not loop._intake)
        return count / (now - start)
    return row


def apart(site, crowd, seconds):
    """Return how many publications take a second when each finds the loop asleep."""
    count, taken, end = 0, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(PAUSE)
        start = time.perf_counter()
        site.push.publish("a", MESSAGE)
        taken += time.perf_counter() - start
        count += 1
    return count / taken


def connects(site, crowd, seconds):
    """Return connects a second."""
    how = crowd.ask("connect", "/a", 1_000_000, first=FIRST, in_flight=IN_FLIGHT, deadline=seconds)
    return how["rate"]


def leave(site, crowd):
    """Have all clients of a crowd leave, and wait until they have."""
    crowd.ask("leave")
    wait_until(lambda: len(site.push) == 1)


def pages(site, crowd, seconds):
    """Return pages a second."""
    visitors = Visitors(site.port, VISITORS)
    time.sleep(seconds)
    return visitors.end()["pages"]


def paced(site, crowd, seconds):
    """Return pages a second while some clients connect."""
    visitors = Visitors(site.port, VISITORS)
    start, number = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        crowd.ask("connect", "/a", FEW, first=FIRST + FEW * number)
        number += 1
        time.sleep(max(0.0, start + PACE * number - time.monotonic()))
    return visitors.end()["pages"]


def rush(site, crowd, seconds):
    """Return pages a second while clients connect as fast as they can."""
    visitors = Visitors(site.port, VISITORS)
    connects(site, crowd, seconds)
    return visitors.end()["pages"]


ROWS = {"publish": calls(lambda push: push.publish("a", MESSAGE)),
        "send": calls(lambda push: push.send("0", MESSAGE)),
        "broadcast": calls(lambda push: push.broadcast(MESSAGE)),
        "apart": apart, "connects": connects, "pages": pages, "paced": paced, "rush": rush}


def measured(row, busy, seconds):
    """Return one cell of the table."""
    with running_site(Root(), settings={"max_outbox": ROOM}, threads=THREADS) as site, \
            CrowdProcess(site.port) as reader, CrowdProcess(site.port) as crowd:
        reader.ask("connect", "/a", 1)
        with burning(busy):
            rate = ROWS[row](site, crowd, seconds)
        leave(site, crowd)
        return rate


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.beside_busy")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--busy", type=lambda text: [int(one) for one in text.split(",")],
                        default=[0, 1, 4], help="busy threads, for each column")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=1, help="runs, of which the median is shown")
    options = parser.parse_args(arguments)
    print("a second   " + "".join(f"{f'{busy} busy':>10}" for busy in options.busy))
    for row in options.rows or ROWS:
        cells = [statistics.median(measured(row, busy, options.seconds)
                                   for _ in range(options.runs)) for busy in options.busy]
        print(f"{row:11}" + "".join(f"{cell:10,.0f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
