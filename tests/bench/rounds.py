"""Connect and disconnect many times, one after another, and show that nothing is left behind.

    python -m tests.bench.rounds [ROUNDS]

Prints descriptors, threads, connection objects and resident memory of the serving process at
every tenth of the rounds. Every third client leaves without a closing handshake, every third
with a reset.
"""
from __future__ import annotations

import gc
import sys
import time

import psutil

from pushserver import Connection
from tests.support.raw_client import Client
from tests.support.site import running_site
from tests.support.waiting import wait_until

ROUNDS = 20_000
STEPS = 10


def one_round(site, number):
    client = Client(site.address)
    client.handshake("/echo?Id=%d" % (number % 100))
    if number % 3 == 0:
        client.hang_up()
        client.close()
    elif number % 3 == 1:
        client.close()
    else:
        client.reset()


def report(site, number):
    wait_until(lambda: len(site.push) == 0)
    gc.collect()
    process = psutil.Process()
    alive = sum(isinstance(item, Connection) for item in gc.get_objects())
    print(f"{number:6} rounds: {process.num_fds():3} descriptors, {process.num_threads():3} "
          f"threads, {alive:3} connection objects, {process.memory_info().rss / 1024:8.0f} KiB",
          flush=True)


def main(rounds=ROUNDS):
    with running_site() as site:
        report(site, 0)
        start = time.perf_counter()
        for number in range(1, rounds + 1):
            one_round(site, number)
            if number % (rounds // STEPS) == 0:
                report(site, number)
        print(f"{rounds / (time.perf_counter() - start):.0f} rounds a second")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
