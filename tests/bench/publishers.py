"""Threads of a site that publish as fast as they can, to clients that read at different speeds.

    python -m tests.bench.publishers [--clients 300] [--threads 8] [--size 100000] [--seconds 10]
        [--rates 0.5,2,10,100] [--tls]

The rates are MB a second; 0: nothing is read, so the client does not learn that it was closed.
Tells how many clients are left and, for each rate, how many found that they were closed, and how
much the others read; of the publishers, how often they were told that the site is overloaded,
and how long a call took at most.
"""
from __future__ import annotations

import argparse
import collections
import multiprocessing
import resource
import select
import ssl
import threading
import time

import cherrypy
import trustme

from pushserver import Overloaded
from tests.bench import report
from tests.support.raw_client import Client
from tests.support.site import Root, running_site

WAIT = 60.0
"""Seconds to wait for the reading processes."""

PIECE = 64 * 1024
BUFFER = 128 * 1024


def read(port, count, rate, name, tls, pipe):
    """Connect clients, read at a rate until told to end; for a process of its own."""
    context = ssl._create_unverified_context() if tls else None
    clients = [Client(("127.0.0.1", port), tls=context, receive_buffer=BUFFER)
               for _ in range(count)]
    for number, client in enumerate(clients):
        client.handshake(f"/websocket?Id={name}{number}")
        client.sock.setblocking(False)
    pipe.send("ready")
    got, closed, began = dict.fromkeys(clients, 0), 0, time.monotonic()
    while not pipe.poll():
        allowed = rate * 1e6 * (time.monotonic() - began)
        due = [one for one in got if got[one] + PIECE <= allowed]
        pending = [one for one in due if tls and one.sock.pending()]
        sockets = {one.sock: one for one in due}
        ready = select.select(list(sockets), [], [], 0 if pending else 0.01)[0] if due \
            else time.sleep(0.01)
        for client in {*pending, *(sockets[sock] for sock in ready or ())}:
            try:
                data = client.sock.recv(PIECE)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                data = b""
            if not data:
                closed += 1
                del got[client]
            else:
                got[client] += len(data)
    took = time.monotonic() - began
    pipe.send((closed, sum(got.values()) / 1e6 / took / max(1, len(got))))
    for client in clients:
        client.close()


def publish(push, data, until, counts):
    """Broadcast until a time; count calls, errors and the longest wait."""
    while (began := time.monotonic()) < until:
        try:
            push.broadcast(data)
            counts["published"] += 1
        except Overloaded:
            counts["overloaded"] += 1
        counts["longest"] = max(counts["longest"], time.monotonic() - began)


def run(options):
    """Return a row for each rate, and what the publishers met."""
    authority = trustme.CA()
    rates = [float(rate) for rate in options.rates.split(",")]
    each = options.clients // len(rates)
    spawn = multiprocessing.get_context("spawn")
    with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as pem, \
            running_site(Root(), tls=(pem, pem) if options.tls else None) as site:
        pipes, readers = [], []
        for number, rate in enumerate(rates):
            ours, theirs = spawn.Pipe()
            pipes.append(ours)
            readers.append(spawn.Process(target=read, daemon=True, args=(
                site.port, each, rate, f"{number}-", options.tls, theirs)))
            readers[-1].start()
        try:
            for pipe in pipes:
                assert pipe.poll(WAIT) and pipe.recv() == "ready"
            counts = collections.Counter()
            threads = [threading.Thread(target=publish, args=(
                site.push, "x" * options.size, time.monotonic() + options.seconds, counts))
                for _ in range(options.threads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            counts["left"] = len(site.push)
            counts["held"] = site.push.stats()["memory"]["held"]
            for pipe in pipes:
                pipe.send("end")
            rows = [dict(zip(("closed", "read"), pipe.recv()), rate=rate, clients=each)
                    for pipe, rate in zip(pipes, rates) if pipe.poll(WAIT)]
        finally:
            for reader in readers:
                reader.join(WAIT)
                reader.terminate()
    return rows, counts


def main(arguments=None):
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("clients", 300), ("threads", 8), ("size", 100_000), ("seconds", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rates", default="0.5,2,10,100")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args(arguments)
    cherrypy.log.screen = False
    rows, counts = run(options)
    print("\n".join(report.machine()))
    print("| reads at most MB/s | clients | closed | has read MB/s |\n| --: | --: | --: | --: |")
    for row in rows:
        print(f"| {row['rate']:g} | {row['clients']} | {row['closed']} | {row['read']:.2f} |")
    print(f"{counts['left']} clients left; {counts['published']} published, "
          f"{counts['overloaded']} refused as overloaded, the "
          f"longest call {counts['longest']:.2f} s; {counts['held'] / 1e6:.1f} MB held; memory of "
          f"the site {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
