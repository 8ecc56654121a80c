"""What a new client and the others notice while a stranger holds all that a server has.

    python -m tests.bench.attacks [ATTACK ...] [--servers cheroot,plain,front] [--seconds 6]

For each attack, a site of its own: how long a new client takes (the median and the longest, a
WebSocket where the site has one, else a page), how long a page takes, how late pushes to some
honest clients are (p99) and how many of these were closed; and how much grew at most: the memory of
the process, what the account says is held for clients, and what TCP holds in the whole system. At
the end, why requests were not answered. ``-``: there is no push; ``none``: nothing came in time.
"""
from __future__ import annotations

import argparse
import collections
import contextlib
import json
import selectors
import socket
import ssl
import statistics
import tempfile
import threading
import time

from . import report
from .harness import PAGE_SIZE, Certificate, Sampling, Server, ServerFailed
from .strangers import ATTACKS, PAGE, PATIENCE, attacking, upgrade

HONEST = 50


def ask(port, context, request):
    """Return a connection, once a request on it is being answered, and not with an error."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        if context is not None:
            sock = stack.enter_context(context.wrap_socket(sock))
        sock.sendall(request)
        answer = sock.recv(65536).split(b"\r\n", 1)[0]
        if not answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")):
            raise ConnectionError(answer.decode("latin-1"))
        stack.pop_all()
        return sock


def timed(port, context, request, failures):
    """Return the seconds until a request is answered; if it is not, count why in ``failures``."""
    begun = time.monotonic()
    try:
        ask(port, context, request).close()
    except OSError as error:
        failures[str(error) or type(error).__name__] += 1
        return float("inf")
    return time.monotonic() - begun


def lateness(honest, found, closed, ended):
    """Read what is pushed until the end, and note how late each was, and who was closed."""
    with selectors.DefaultSelector() as selector:
        for sock in honest:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while not ended.is_set():
            for key, _ in selector.select(0.05):
                with contextlib.suppress(ValueError, BlockingIOError, ssl.SSLWantReadError):
                    data, now = received(key.fileobj), time.monotonic()
                    if not data:
                        selector.unregister(key.fileobj)
                        closed.append(now)
                    found += [now - float(part[1:]) for part in data.split(b"\x81")[1:]
                              if part and part[0] == len(part) - 1]


def received(sock):
    """Return what has come; nothing at the end, however it came about."""
    try:
        return sock.recv(1 << 18)
    except (ConnectionError, ssl.SSLEOFError):
        return b""


def held(server):
    """Return the bytes that a site says it holds for its clients."""
    server.order("memory")
    return json.loads(server.answer("memory"))["held"]


def kernel_memory():
    """Return the bytes that TCP holds in the whole system."""
    with open("/proc/net/sockstat", encoding="ascii") as found:
        words = next(line for line in found if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1]) * PAGE_SIZE


def measure(name, kind, certificate, options):
    """Return the cells of one attack on one server."""
    attack, has_push = ATTACKS[name], kind != "cheroot"
    if attack.needs_push and not has_push:
        return ["-"] * 7
    with contextlib.ExitStack() as stack:
        server = Server(kind, certificate if attack.tls else None)
        stack.callback(server.stop)
        context = ssl._create_unverified_context() if attack.tls else None
        honest = []
        if has_push:
            server.order("stamp")
            honest = [stack.enter_context(ask(server.port, context, upgrade(Id)))
                      for Id in range(HONEST)]
        late, closed, ended = [], [], threading.Event()
        reading = threading.Thread(target=lateness, args=(honest, late, closed, ended))
        reading.start()     # these must not wait for those who try to connect
        stack.callback(reading.join)
        stack.callback(ended.set)
        resident, in_kernel = server.resident(), kernel_memory()
        sampling = stack.enter_context(Sampling(server))
        stack.enter_context(attacking(server, server.port, attack, options.seconds + PATIENCE))
        time.sleep(min(2.0, options.seconds))       # the attack begins
        late.clear()
        rows, failures = [], collections.Counter()
        until = time.monotonic() + options.seconds
        while not rows or time.monotonic() < until:
            rows.append((
                timed(server.port, context, upgrade("new") if has_push else PAGE, failures),
                timed(server.port, context, PAGE, failures),
                held(server) if has_push else 0, kernel_memory() - in_kernel))
            time.sleep(0.1)
        grown = sampling.most - resident
    news, pages, account, kernel = zip(*rows)
    pushes = "-" if not honest else "none" if not late else \
        f"{sorted(late)[int(len(late) * 0.99)] * 1e3:.0f}"
    return [f"{statistics.median(news) * 1e3:.0f} ({max(news) * 1e3:.0f})",
            f"{statistics.median(pages) * 1e3:.0f}",
            f"{pushes} ({len(closed)} closed)" if closed else pushes, *(
                f"{most / 2 ** 20:.0f}" for most in (grown, max(account), max(kernel))),
            "; ".join(f"{count} {why}" for why, count in failures.items()) or "-"]


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
    print("| attack | server | new client ms (longest) | page ms | push p99 ms | grown MiB | "
          "account MiB | kernel MiB | not answered |\n"
          "| --- | --- | --: | --: | --: | --: | --: | --: | --- |",
          flush=True)
    with tempfile.TemporaryDirectory() as folder:
        certificate = Certificate(folder)
        for name in options.attacks or ATTACKS:
            for kind in options.servers.split(","):
                try:
                    cells = measure(name, kind, certificate, options)
                except (OSError, ServerFailed) as error:
                    cells = [str(error)]
                print(f"| {name} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
