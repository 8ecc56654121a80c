"""Many of pushclient's clients in channels, each with a log.

    python -m tests.support.channel_herd URL OPTIONS

OPTIONS are JSON: ``names`` of the clients, ``channels``. A line on stdin, JSON, says what the log
of each channel has to be; then it prints one line for each client: JSON with what is wrong with
its log (nothing, it is to be hoped), its gaps, and how often it was open. channel_herd.mjs does the
same with the browser's client.
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
        """Tell whether as much has come as was published."""
        return all(len(self.logs[channel]) >= len(log) for channel, log in expected.items())

    def report(self, expected):
        """Say what is wrong with the logs: they have to be the publisher's."""
        wrong = [f"{channel}: {fault(self.logs[channel], log)}"
                 for channel, log in expected.items() if self.logs[channel] != log]
        return {"name": self.name, "wrong": wrong, "gaps": [gap.channel for gap in self.gaps],
                "opened": self.opened}


def fault(log, expected):
    """Return where a log leaves what was published."""
    for index, (mine, theirs) in enumerate(zip(log, expected)):
        if mine != theirs:
            return f"{mine} in the place of {theirs}, which is number {index}"
    return f"{len(log)} in the place of {len(expected)}"


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
    time.sleep(0.3)  # for one too many
    for member in members:
        print(json.dumps(member.report(expected)), flush=True)
    for member in members:
        member.client.close()


if __name__ == "__main__":
    main()
