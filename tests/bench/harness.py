"""Start a server, give it orders, and look at it from outside."""
from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import servers
from .crowd import STAMP, CrowdProcess

START_PATIENCE = 30
END_PATIENCE = 10
WARM_UP = 50
IDLE_FOR = 1.0
IDLE_SHARE = 0.1
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def wait_idle(patience):
    """Wait until nobody else uses the machine, at most so many seconds; tell whether it is so."""
    deadline = time.monotonic() + patience
    while True:
        busy, total = cpu_times()
        time.sleep(IDLE_FOR)
        busy_now, total_now = cpu_times()
        if busy_now - busy < IDLE_SHARE * (total_now - total):
            return True
        if time.monotonic() > deadline:
            return False


def cpu_times():
    """Return busy and total ticks of all cores since the start."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    times = [int(field) for field in line.split()[1:9]]
    total = sum(times)
    return total - times[3] - times[4], total


class ServerFailed(Exception):
    """A server has ended, or does not answer."""


class Server:
    """One server's process.

    Args:
        name: one of ``servers.KINDS`` or ``servers.ATTACKED``.
        tls: a ``Certificate``, or None.

    Attributes:
        port: where it listens.
        versions: of its packages.
    """

    def __init__(self, name, tls=None):
        arguments = ["--tls", tls.chain, tls.key] if tls else []
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            servers.command(name) + arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, bufsize=1, env=servers.environment(name))
        self._answers = queue.Queue()
        self._kept = []
        threading.Thread(target=self._read, daemon=True).start()
        port, versions = self.answer("ready", patience=START_PATIENCE).split(" ", 1)
        self.port = int(port)
        self.versions = json.loads(versions)

    def _read(self):
        for line in self._process.stdout:
            self._answers.put(line.rstrip("\n"))
        self._answers.put(None)

    def order(self, *words):
        """Give an order."""
        try:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
        except OSError:
            raise ServerFailed(self._last_words()) from None

    def answer(self, start, patience=60.0):
        """Return what follows ``start`` on the next line that begins so."""
        deadline = time.monotonic() + patience
        while True:
            for line in self._kept:
                if line.startswith(start + " "):
                    self._kept.remove(line)
                    return line[len(start) + 1:]
            try:
                line = self._answers.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise ServerFailed(f"no answer {start!r} in {patience:.0f} s") from None
            if line is None:
                raise ServerFailed(self._last_words())
            self._kept.append(line)

    def errors(self):
        """Return what it has written to its stderr so far."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def _last_words(self):
        return self.errors()[-2000:] or "it ended"

    def push(self, group, count, rate, size=STAMP, burst=1):
        """Begin to push; ``answer("done GROUP")`` is its end."""
        self.order("push", group, count, rate, size, burst)

    def busy(self, threads):
        """Have so many Python threads use the CPU."""
        self.order("busy", threads)
        self.answer("busy")

    def cpu(self):
        """Return the seconds of CPU that the process has used."""
        self.order("stats")
        return float(self.answer("stats"))

    def resident(self):
        """Return the bytes of resident memory."""
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * PAGE_SIZE

    def stop(self):
        """End the process, by force if it does not end when asked."""
        with contextlib.suppress(ServerFailed):
            self.order("stop")
        try:
            self._process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._errors.close()


class Certificate:
    """A certificate for localhost, in files.

    Attributes:
        authority, chain, key: their paths.
    """

    def __init__(self, folder):
        import trustme
        folder = Path(folder)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.authority = str(folder / "authority.pem")
        self.chain = str(folder / "chain.pem")
        self.key = str(folder / "key.pem")
        authority.cert_pem.write_to_path(self.authority)
        issued.cert_chain_pems[0].write_to_path(self.chain)
        issued.private_key_pem.write_to_path(self.key)


class Stage:
    """A running server, warmed up, and its clients."""

    def __init__(self, stack, server, certificate):
        self._stack = stack
        self._certificate = certificate
        self.server = server

    def crowd(self):
        """Return a new process of clients."""
        return self._stack.enter_context(CrowdProcess(
            self.server.port, self._certificate and self._certificate.authority))


@contextlib.contextmanager
def stage(name, tls=False):
    """Run a server, with clients that come and go once before anything is measured."""
    with contextlib.ExitStack() as stack:
        certificate = None
        if tls:
            certificate = Certificate(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(name, certificate)
        stack.callback(server.stop)
        found = Stage(stack, server, certificate)
        crowd = found.crowd()
        crowd.ask("connect", "/all", WARM_UP)
        server.push("all", 1, 1)
        server.answer("done all")
        crowd.ask("leave")
        time.sleep(0.3)
        yield found


class Sampling:
    """Sample a server's resident memory while something runs; ``most`` is the highest."""

    INTERVAL = 0.05

    def __init__(self, server):
        self._server = server
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self):
        while not self._ending.wait(self.INTERVAL):
            with contextlib.suppress(OSError):
                self.most = max(self.most, self._server.resident())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
