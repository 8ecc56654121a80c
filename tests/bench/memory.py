"""What remembered publications cost: ``python -m tests.bench.memory``.

Publishes into many channels and compares the growth of the process with what was computed from the
sizes of the parts. Ends with status 1 if the one is not near the other, or grows with the number
of publications.
"""
from __future__ import annotations

import argparse
import gc
import os
import sys
import time

from pushserver.channels.memory_broker import MemoryBroker
from pushserver.channels.publication import Limits, Publication

TOLERANCE = 0.15
"""The part by which measured and computed may differ: malloc rounds up and keeps some."""

STEP = 16

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the bytes of this process that are in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def taken(item: object) -> int:
    """Return what an object takes: Python hands out memory in steps of 16 bytes."""
    return (sys.getsizeof(item) + STEP - 1) // STEP * STEP


def publication_size(payload: bytes) -> int:
    """Return what one remembered publication takes: the object, its bytes, two clock readings and
    its offset; and its two places in the ring, of which up to a third are empty."""
    made = Publication.of(payload)
    return taken(made) + taken(payload) + 2 * taken(1.5) + taken(1 << 20) + round(2 * 8 * 4 / 3)


def computed(channels: int, history: int, payload: bytes) -> int:
    """Return what all of them take."""
    return channels * history * publication_size(payload)


class Receiver:
    """Count what is delivered."""

    delivered = 0

    def deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        self.delivered += 1

    def wake(self) -> None:
        """Nobody sleeps."""


def run(channels: int, history: int, publications: int, size: int) -> int:
    """Publish, print what was found, and return the exit status."""
    payloads = [os.urandom(8) for _ in range(64)]
    broker, receiver = MemoryBroker(), Receiver()
    broker.start(receiver)
    limits = Limits(history, 1 << 30, 3600.0)
    names = [f"channel:{number}" for number in range(channels)]
    gc.collect()
    before, marks = resident(), []
    started = time.process_time()
    for number in range(publications):
        payload = payloads[number % 64] * (size // 8)
        broker.publish(names[number % channels], Publication.of(payload), limits)
        if number + 1 in (publications // 2, publications):
            marks.append(resident() - before)
    spent = time.process_time() - started
    expected = computed(channels, history, payload)
    print(f"{publications:,} publications of {size} bytes into {channels:,} channels with a "
          f"history of {history}: {receiver.delivered:,} delivered")
    print(f"computed  {expected / 1e6:8.1f} MB, {publication_size(payload)} bytes for each of "
          f"{channels * history:,}")
    for share, mark in zip(("half way", "measured"), marks):
        print(f"{share:9} {mark / 1e6:8.1f} MB, {(mark / expected - 1) * 100:+.1f} %")
    print(f"{spent / publications * 1e6:.2f} us of CPU for each")
    near = abs(marks[1] / expected - 1) <= TOLERANCE
    bounded = marks[1] <= marks[0] * (1 + TOLERANCE)
    print("bounded, and as computed" if near and bounded else "NOT as computed")
    return 0 if near and bounded else 1


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="tests.bench.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--history", type=int, default=100)
    parser.add_argument("--publications", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=128, help="bytes of each payload")
    options = parser.parse_args()
    return run(options.channels, options.history, options.publications, options.size)


if __name__ == "__main__":
    sys.exit(main())
