"""What a new client and the others notice while a stranger holds all that a server has.

    python -m tests.bench.attacks [ATTACK ...] [--servers cheroot,plain,front] [--seconds 6]

For each attack, a site of its own: how long a new client takes (the median and the longest, a
WebSocket where the site has one, else a page), how long a page takes, and how late pushes to some
honest clients are (p99). ``-``: there is no push; ``none``: nothing came within the time.
"""
from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import trustme

from . import report

HONEST = 50
PATIENCE = 5.0
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
UPGRADE = (b"GET /websocket?Id=a HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
           b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
PAGE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

# name: TLS, connections, first bytes, what follows each second, over TLS itself
ATTACKS = {
    "calm": (False, 0, b"", b"", False),
    "calm, TLS": (True, 0, b"", b"", False),
    "1,000 silent": (False, 1000, b"", b"", False),
    "1,000 silent, TLS": (True, 1000, b"", b"", False),
    "500 that stop after half a ClientHello": (True, 500, HELLO, b"", False),
    "500 heads, a byte a second": (False, 500, b"GET / HTTP/1.1\r\nA: ", b"a", False),
    "200 heads, a byte a second, in TLS": (True, 200, b"GET / HTTP/1.1\r\nA: ", b"a", True),
    "500 bodies that never come": (False, 500, b"POST /size HTTP/1.1\r\nHost: a\r\n"
                                   b"Content-Length: 1000\r\n\r\n", b"", False),
    "40 long bodies, a byte a second": (False, 40, b"POST /size HTTP/1.1\r\nHost: a\r\n"
                                        b"Content-Length: 90000\r\n\r\n", b"a", False),
    "40 that read 4 MB not at all": (False, 40, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", b"",
                                     False),
    "40 that read a stream not at all": (False, 40, b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", b"",
                                         False),
    "2,000 half closed": (False, 2000, None, b"", False),
    "200 endless heads": (False, 200, b"GET / HTTP/1.1\r\nA: ", b"a" * 4000, False),
    "200 with pages behind an upgrade": (False, 200, "upgrade", PAGE * 5, False)}


def attack(port, number, first, again, in_tls, seconds):
    """Attack until the end; for a process of its own."""
    context = ssl._create_unverified_context()
    made, until = [], time.monotonic() + seconds
    first, half = (b"", True) if first is None else (first, False)
    if first == "upgrade":
        first = UPGRADE % port + PAGE * 5
    while time.monotonic() < until:
        begun = time.monotonic()
        while len(made) < number and time.monotonic() < begun + 1:
            with contextlib.suppress(OSError):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # it reads nothing
                sock.settimeout(0.5)
                sock.connect(("127.0.0.1", port))
                if in_tls:
                    sock = context.wrap_socket(sock)
                sock.sendall(first)
                if half:
                    sock.shutdown(socket.SHUT_WR)
                sock.setblocking(False)
                made.append(sock)
        alive = []
        for sock in made:   # those that were closed come again
            try:
                if again:
                    sock.send(again)
                if in_tls or sock.recv(1, socket.MSG_PEEK):
                    alive.append(sock)
                    continue
            except BlockingIOError:
                alive.append(sock)
                continue
            except OSError:
                pass
            sock.close()
        made = alive
        time.sleep(max(0.0, begun + 1 - time.monotonic()))


class Site:
    """A server in a process of its own."""

    def __init__(self, kind, pem, tls):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.has_push = kind != "cheroot"
        self.context = ssl._create_unverified_context() if tls else None
        command = [sys.executable, "-m", "tests.bench.servers.attacked", kind, str(self.port)]
        self.process = subprocess.Popen([*command, pem] if tls else command,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.process.stdout.readline()

    def stop(self):
        """End it."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, request):
        """Return a connection, once its answer has begun."""
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(
                socket.create_connection(("127.0.0.1", self.port), PATIENCE))
            if self.context is not None:
                sock = stack.enter_context(self.context.wrap_socket(sock))
            sock.sendall(request)
            if not sock.recv(65536).startswith(b"HTTP/1.1 "):
                raise ConnectionError("no answer")
            stack.pop_all()
            return sock

    def memory(self):
        """Return the bytes of the process that are resident."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as found:
            return int(found.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(site, request):
    """Return the seconds until a request is answered; that of its end if it is not."""
    begun = time.monotonic()
    with contextlib.suppress(OSError):
        site.ask(request).close()
        return time.monotonic() - begun
    return float("inf")


def lateness(honest, found, ended):
    """Read what is pushed until the end, and note how late each was; for a thread of its own."""
    with selectors.DefaultSelector() as selector:
        for sock in honest:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while not ended.is_set():
            for key, _ in selector.select(0.05):
                with contextlib.suppress(OSError, ValueError, ssl.SSLWantReadError):
                    data, now = key.fileobj.recv(65536), time.monotonic()
                    if not data:
                        selector.unregister(key.fileobj)
                    found += [now - float(part[1:]) for part in data.split(b"\x81")[1:]
                              if part and part[0] == len(part) - 1]


def measure(name, kind, pem, options):
    """Return the cells of one attack on one server."""
    tls, number, first, again, in_tls = ATTACKS[name]
    site = Site(kind, pem, tls)
    attacker = multiprocessing.Process(
        target=attack, args=(site.port, number, first, again, in_tls, options.seconds + 30),
        daemon=True)
    with contextlib.ExitStack() as stack:
        stack.callback(site.stop)
        request = UPGRADE % site.port if site.has_push else PAGE
        honest = [stack.enter_context(site.ask((UPGRADE % site.port).replace(
            b"Id=a", b"Id=%d" % index))) for index in range(HONEST)] if site.has_push else []
        before = site.memory()
        attacker.start()
        stack.callback(attacker.close)
        stack.callback(attacker.join)
        stack.callback(attacker.kill)
        late, news, pages, ended = [], [], [], threading.Event()
        reading = threading.Thread(target=lateness, args=(honest, late, ended))
        reading.start()     # these must not wait for those who try to connect
        stack.callback(reading.join)
        stack.callback(ended.set)
        time.sleep(min(2.0, options.seconds))       # the attack begins
        late.clear()
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            news.append(timed(site, request))
            pages.append(timed(site, PAGE))
            time.sleep(0.1)
        grown = site.memory() - before
    pushes = "-" if not honest else "none" if not late else \
        f"{sorted(late)[int(len(late) * 0.99)] * 1e3:.0f}"
    return [f"{statistics.median(news) * 1e3:.0f} ({max(news) * 1e3:.0f})",
            f"{statistics.median(pages) * 1e3:.0f}", pushes, f"{grown / 2 ** 20:.0f}"]


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attacks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"of {'; '.join(ATTACKS)}")
    parser.add_argument("--servers", default="cheroot,plain,front")
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args(arguments)
    if {*options.attacks} - {*ATTACKS}:
        parser.error(f"unknown: {', '.join({*options.attacks} - {*ATTACKS})}")
    print("\n".join(report.machine()))
    print("| attack | server | new client ms (longest) | page ms | push p99 ms | grown MiB |\n"
          "| --- | --- | --: | --: | --: | --: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pem = os.path.join(folder, "site.pem")
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        for name in options.attacks or ATTACKS:
            for kind in options.servers.split(","):
                try:
                    cells = measure(name, kind, pem, options)
                except OSError as error:
                    cells = [str(error)]
                print(f"| {name} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
