"""Many of pushclient's clients in channels, each with a log.

    python -m tests.support.channel_herd URL OPTIONS

OPTIONS are JSON: ``names`` of the clients, ``channels``. A line of JSON on stdin says what the log
of each channel must be. Then it prints one line of JSON for each client: the faults of its logs
(none, if all is well), its gaps, and how often it was open. channel_herd.mjs does the same with
the browser's client.
"""
from __future__ import annotations

import json
import sys
import time

from pushclient import OPEN, PushClient

PATIENCE = 30.0


class Member:
    """One client with what it received, by channel."""

    def __init__(self, url, name, channels):
        self.name = name
        self.logs = {channel: [] for channel in channels}
        self.gaps = []
        self.opened = 0
        self.client = PushClient(url, Id=name, channels=channels, on_message=self._keep,
                                 on_gap=self.gaps.append, on_state=self._count, proxy=None)

    def _keep(self, publication):
        self.logs[publication.channel].append((publication.offset, publication.data))

    def _count(self, state):
        self.opened += state == OPEN

    def has(self, expected):
        """Tell whether as many publications have come as were published."""
        return all(len(self.logs[channel]) >= len(log) for channel, log in expected.items())

    def report(self, expected):
        """Report where the logs differ from the publisher's."""
        wrong = [f"{channel}: {fault(self.logs[channel], log)}"
                 for channel, log in expected.items() if self.logs[channel] != log]
        return {"name": self.name, "wrong": wrong, "gaps": [gap.channel for gap in self.gaps],
                "opened": self.opened}


def fault(log, expected):
    """Return where a log differs from what was published."""
    for index, (mine, theirs) in enumerate(zip(log, expected)):
        if mine != theirs:
            return f"{mine} instead of {theirs}, which is number {index}"
    return f"{len(log)} instead of {len(expected)}"


def main():
    """Run the clients until the end of stdin."""
    options = json.loads(sys.argv[2])
    members = [Member(sys.argv[1], name, options["channels"]) for name in options["names"]]
    for member in members:
        member.client.start()
    expected = {channel: [tuple(pair) for pair in log]
                for channel, log in json.loads(sys.stdin.readline()).items()}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(member.has(expected) for member in members):
        time.sleep(0.05)
    time.sleep(0.3)  # so that a publication too many can still come
    for member in members:
        print(json.dumps(member.report(expected)), flush=True)
    for member in members:
        member.client.close()


if __name__ == "__main__":
    main()
