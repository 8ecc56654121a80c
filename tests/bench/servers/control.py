"""Take the harness's orders, in a thread or in an asyncio loop; see the package's docstring.

A server is an object with ``push(group, text)`` and ``send(Id, text)``, which write to all of a
group or to one, ``ids()`` and ``versions()``. What ``push`` and ``send`` return is awaited in an
asyncio server unless it is None.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import threading
import time

STAMP = 17
SLICES = 100
"""Parts of a second in which targeted messages are sent."""

BACKLOG = 4096


def options():
    """Return what the command line says: ``tls`` is None or certificate and key."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--plain", action="store_true", help="without what is for a busy site")
    return parser.parse_args()


def tls_context(files):
    """Return the server's TLS context, or None without certificate and key."""
    if not files:
        return None
    import ssl
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context


def message(size):
    """Return a message of so many characters that says when it was made."""
    return f"{time.monotonic():017.6f}".ljust(size, "x")


class Groups:
    """Keep connections by group and by Id: what a site without pushserver does."""

    def __init__(self):
        self.groups = {"all": set(), "a": set(), "b": set()}
        self.by_id = {}

    def add(self, path, Id, connection):
        """Add a connection that came to ``/all``, ``/a`` or ``/b``."""
        for group in {"all", path.strip("/")}:
            self.groups[group].add(connection)
        self.by_id[Id] = connection

    def remove(self, Id, connection):
        """Forget a connection."""
        for group in self.groups.values():
            group.discard(connection)
        if self.by_id.get(Id) is connection:
            del self.by_id[Id]


def split_target(target):
    """Return path and Id of a request target as the harness writes it."""
    path, _, query = target.partition("?")
    return path, query.partition("=")[2]


def pushing(server, group, count, rate, size, burst):
    """Push; yield what to wait for: seconds, or an awaitable.

    The messages of a burst are all made before the first is pushed: a server whose push blocks is
    not to gain by that the later ones look younger.
    """
    start = time.monotonic()
    for number in range(count):
        yield max(0.0, start + number / rate - time.monotonic())
        for text in [message(size) for _ in range(burst)]:
            waiting = server.push(group, text)
            if waiting is not None:
                yield waiting


def targeting(server, count, rate):
    """Send to one Id after another; yield as ``pushing`` does."""
    ids = server.ids()
    random.Random(1).shuffle(ids)
    start = time.monotonic()
    part = rate // SLICES
    for number in range(count):
        if number % part == 0:
            yield max(0.0, start + number / rate - time.monotonic())
        waiting = server.send(ids[number % len(ids)], message(STAMP))
        if waiting is not None:
            yield waiting


class Control:
    """Read orders and answer them.

    Args:
        server: what pushes.
        start_thread: starts a real thread, where ``threading`` has been patched.
    """

    def __init__(self, server, start_thread=None):
        self.server = server
        self._start_thread = start_thread or self._thread
        self._idle = None

    @staticmethod
    def _thread(run):
        threading.Thread(target=run, daemon=True).start()

    def ready(self, port):
        """Say that the server listens."""
        self.say("ready", port, json.dumps(self.server.versions()))

    @staticmethod
    def say(*words):
        """Write one line, whole."""
        os.write(1, (" ".join(map(str, words)) + "\n").encode())

    def obey(self, line):
        """Carry out one order; False if it was to stop."""
        verb, *words = line.split()
        if verb == "stop":
            return False
        if verb == "stats":
            self.say("stats", time.process_time())
        elif verb == "busy":
            self._busy(int(words[0]))
            self.say("busy", words[0])
        elif verb == "push":
            group, count, rate, size, burst = words
            self.drive(group, pushing(self.server, group, int(count), float(rate), int(size),
                                      int(burst)))
        elif verb == "targeted":
            self.drive(verb, targeting(self.server, int(words[0]), int(words[1])))
        return True

    def _busy(self, count):
        if self._idle is not None:
            self._idle.set()
        self._idle = idle = threading.Event()
        for _ in range(count):
            self._start_thread(lambda: burn(idle))

    def drive(self, name, steps):
        """Push from an ordinary thread."""
        def run():
            start = time.monotonic()
            for seconds in steps:
                time.sleep(seconds)
            self.say("done", name, time.monotonic() - start)
        self._start_thread(run)

    def run(self):
        """Obey until told to stop, or until the harness is gone."""
        for line in sys.stdin:
            if not self.obey(line):
                return


class LoopControl(Control):
    """Read orders and answer them on the running asyncio loop, where its users push."""

    def drive(self, name, steps):
        """Push from a coroutine."""
        self._task = asyncio.ensure_future(self._drive(name, steps))

    async def _drive(self, name, steps):
        start = time.monotonic()
        for step in steps:
            await (asyncio.sleep(step) if isinstance(step, float) else step)
        self.say("done", name, time.monotonic() - start)

    async def run(self):
        """See ``Control.run``."""
        loop, rest, ended = asyncio.get_running_loop(), b"", asyncio.Event()

        def readable():
            nonlocal rest
            data = os.read(0, 4096)
            *lines, rest = (rest + data).split(b"\n")
            if not data or not all([self.obey(line.decode()) for line in lines]):
                loop.remove_reader(0)
                ended.set()

        loop.add_reader(0, readable)
        await ended.wait()


def burn(idle):
    """Use the CPU as Python code does, until told not to."""
    number = 0
    while not idle.is_set():
        for _ in range(2000):
            number = (number * 31 + 7) % 1000003
