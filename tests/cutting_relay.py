"""A network in between that cuts each connection at a random moment, again and again.

    python -m tests.cutting_relay PORT SECONDS

It passes connections on to a port of this machine, prints its own port, and cuts each one after a
while of SECONDS on average: in the middle of what it says, half of them with a reset. A line on
stdin begins the cutting, another one ends it, and the end of stdin ends the program.
"""
from __future__ import annotations

import json
import random
import selectors
import socket
import struct
import sys
import threading
import time

CHUNK = 256 * 1024
ROUND = 0.005
"""Seconds between two looks at the sockets: what comes meanwhile is passed on at once."""

AT_ONCE = struct.pack("ii", 1, 0)
"""Linger for no time: closing resets."""


class Pair:
    """Both ends of one connection, with what one said and the other has not taken yet."""

    def __init__(self, client, server):
        self.ends = client, server
        self.peer = {client: server, server: client}
        self.waiting = {client: b"", server: b""}
        self.cut_at = None

    def pass_on(self, source):
        """Read and write what can be; False at the end of it."""
        sink = self.peer[source]
        data = self.waiting[sink]
        if len(data) < CHUNK:
            try:
                new = source.recv(CHUNK)
            except BlockingIOError:
                new = None
            if new == b"":
                return False
            data += new or b""
        if data:
            try:
                data = data[sink.send(data):]
            except BlockingIOError:
                pass
        self.waiting[sink] = data
        return True

    def cut(self):
        """Pass a part of what is there on, and close both ends."""
        try:
            data = self.ends[1].recv(CHUNK)
            self.ends[0].send((self.waiting[self.ends[0]] + data)[:random.randrange(CHUNK)])
        except OSError:
            pass
        if random.random() < 0.5:
            for end in self.ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.close()

    def close(self):
        for end in self.ends:
            end.close()


class Relay:
    """Pass on, and cut.

    Args:
        port: where to.
        lifetime: seconds after which a connection is cut, on average.
    """

    def __init__(self, port, lifetime):
        self._target = port
        self._lifetime = lifetime
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs = set()
        self.cuts = 0
        self.is_cutting = False
        self.is_over = False

    def run(self):
        while not self.is_over:
            for key, _ in self._selector.select(ROUND):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._pairs:
                    self._pass_on(key.data, key.fileobj)
            if self.is_cutting:
                self._cut()
            for pair in [pair for pair in self._pairs if any(pair.waiting.values())]:
                for source in pair.ends:
                    if pair in self._pairs:
                        self._pass_on(pair, source)
            time.sleep(ROUND)
        for pair in self._pairs:
            pair.close()
        self._selector.close()
        self._listener.close()

    def _cut(self):
        now = time.monotonic()
        for pair in list(self._pairs):
            if pair.cut_at is None:
                pair.cut_at = now + random.expovariate(1 / self._lifetime)
            elif pair.cut_at <= now:
                self._drop(pair, pair.cut)
                self.cuts += 1

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            pair = Pair(client, server)
            self._pairs.add(pair)
            for end in pair.ends:
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(end, selectors.EVENT_READ, pair)

    def _pass_on(self, pair, source):
        try:
            if pair.pass_on(source):
                return
        except OSError:
            pass
        self._drop(pair, pair.close)

    def _drop(self, pair, how):
        self._pairs.discard(pair)
        for end in pair.ends:
            self._selector.unregister(end)
        how()


def main():
    """Run until stdin ends."""
    relay = Relay(int(sys.argv[1]), float(sys.argv[2]))
    print(relay.port, flush=True)
    thread = threading.Thread(target=relay.run)
    thread.start()
    sys.stdin.readline()
    relay.is_cutting = True
    sys.stdin.readline()
    relay.is_cutting = False
    print(json.dumps({"cuts": relay.cuts}), flush=True)
    sys.stdin.read()
    relay.is_over = True
    thread.join()


if __name__ == "__main__":
    main()
