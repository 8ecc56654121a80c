"""New clients, visitors, and callers of the API: what they notice of a site, all the time."""
from __future__ import annotations

import collections
import itertools
import threading
import time

from tests.support.api_client import Api

from .attacks import timed
from .honest import API
from .strangers import PAGE, upgrade

EVERY, CALL_EVERY = 0.1, 1.0


class Probes:
    """New clients, visitors and callers of the API, each on a thread, until ``end``.

    Attributes:
        connects, pages: seconds that each took.
        calls: number of the last call of the API that was answered.
        failed: calls that were not.
        failures: why how many clients and visitors were not answered, by what they are.
    """

    def __init__(self, ports, followers):
        self.connects, self.pages = [], []
        self.calls = self.failed = 0
        self.failures = {"connects": collections.Counter(), "pages": collections.Counter()}
        self._ports, self._followers = ports, followers
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(upgrade("new"), "connects")),
                         threading.Thread(target=self._ask, args=(PAGE, "pages")),
                         threading.Thread(target=self._call)]
        for thread in self._threads:
            thread.start()

    def _ask(self, request, name):
        for port, context in itertools.cycle(self._ports):
            if self._ending.wait(EVERY):
                return
            getattr(self, name).append(timed(port, context, request,
                                             self.failures[name]))

    def _call(self):
        """Publish a number and end a connection, once a second; repeat what was not answered."""
        api = Api(self._ports[0][0])
        while not self._ending.wait(CALL_EVERY):
            number = self.calls + 1
            try:
                api.call("publish", channel=API, idempotency_key=f"number-{number}",
                         data=f"{API} {number} {time.monotonic():.6f}")
                self.calls = number
                api.call("disconnect", user=f"c-{number % self._followers}",
                         disconnect={"code": 3001, "reason": "come again"})
            except (OSError, AssertionError):
                self.failed += 1

    def take(self):
        """Return the seconds of connects and of pages since the last time."""
        found = self.connects, self.pages
        self.connects, self.pages = [], []
        return found

    def end(self):
        """Ask nothing more."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
