"""Push to many clients of which some never read, and show who got what.

    python -m tests.bench.slow [CLIENTS [SLOW [SECONDS]]]

The clients live in a process of their own. Prints how many messages each reading client got, with
which codes the others ended, and the largest outbox and resident memory of the serving process.
"""
from __future__ import annotations

import collections
import multiprocessing
import selectors
import socket
import sys
import threading
import time

import cherrypy
import psutil

from pushserver import Connection
from tests.support import Client, running_site, wait_until

SIZE = 10 * 1024
RATE = 20
HEADER = 4
SMALL_BUFFER = 4096
END = b"\x82\x03end"


class Ends(Connection):
    """Count the codes with which connections ended."""

    codes: collections.Counter = collections.Counter()

    def closed(self, code, reason=None):
        self.codes[(self.Id, code)] += 1


class Root:
    """One push address."""

    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Ends)
    def websocket(self, Id):
        """Accept everybody."""


def clients(address, readers, slow, results):
    """Connect; read with the readers until the last message; report what each got."""
    found = [connected(address, "reader") for _ in range(readers)]
    idle = [connected(address, "slow", SMALL_BUFFER) for _ in range(slow)]
    selector = selectors.DefaultSelector()
    received = dict.fromkeys(found, 0)
    for client in found:
        client.sock.setblocking(False)
        selector.register(client.sock, selectors.EVENT_READ, client)
    results.put("connected")
    open_readers = set(found)
    while open_readers:
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 20)
            received[key.data] += len(data)
            if not data or data.endswith(END):
                selector.unregister(key.fileobj)
                open_readers.discard(key.data)
    results.put(collections.Counter((size - len(END)) / (SIZE + HEADER)
                                    for size in received.values()))
    results.get()
    del idle


def connected(address, Id, receive_buffer=None):
    client = Client(address, receive_buffer=receive_buffer)
    client.handshake(f"/websocket?Id={Id}")
    return client


def watch_outboxes(push, largest, ending):
    while not ending.wait(0.01):
        for connection in push.connections("slow"):
            link = push._link(connection)
            if link is not None:
                largest.append(link.outbox.size)


def main(count=1000, slow=100, seconds=20):
    settings = {"max_connections_per_id": count}
    with running_site(Root(), settings=settings, threads=20) as site:
        results = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(
            target=clients, args=(site.address, count - slow, slow, results))
        process.start()
        assert results.get() == "connected"
        largest, ending = [0], threading.Event()
        watcher = threading.Thread(target=watch_outboxes, args=(site.push, largest, ending))
        watcher.start()
        before = psutil.Process().memory_info().rss
        cpu = time.process_time()
        most = push_at_rate(site.push, seconds)
        cpu = time.process_time() - cpu
        site.push.send("reader", b"end")
        print(f"{count - slow} readers; messages each got, and how many readers: "
              f"{dict(results.get())} of {seconds * RATE} sent")
        wait_until(lambda: Ends.codes[("slow", 3008)] == slow, what="end of the slow ones")
        print(f"{slow} that never read ended with: "
              f"{ {code: n for (Id, code), n in Ends.codes.items() if Id == 'slow'} }")
        print(f"largest outbox seen: {max(largest)} bytes; resident memory grew by at most "
              f"{(most - before) / 1024 / 1024:.1f} MiB; {cpu / seconds:.2f} CPU s a second")
        ending.set()
        watcher.join()
        results.put("done")
        process.join()


def push_at_rate(push, seconds):
    """Broadcast at the rate; return the largest resident memory seen."""
    data = b"x" * SIZE
    start, most = time.monotonic(), 0
    for number in range(seconds * RATE):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        push.broadcast(data)
        most = max(most, psutil.Process().memory_info().rss)
    return most


if __name__ == "__main__":
    socket.setdefaulttimeout(60)
    main(*map(int, sys.argv[1:]))
