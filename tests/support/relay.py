"""A network in between, which a test can freeze and cut, and which can cut by itself.

    python -m tests.support.relay PORT SECONDS

It forwards connections to a port of this machine, prints its own port, and cuts each connection
after SECONDS on average: in the middle of its data, and half of the time with a reset. A line on
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
from functools import partial

CHUNK = 256 * 1024
ROUND = 0.005
"""Seconds between two checks of the sockets: what comes in between is forwarded at once."""

AT_ONCE = struct.pack("ii", 1, 0)
"""Linger for no time: closing resets."""


def reset(sock):
    """Close so that the peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    sock.close()


class Pair:
    """Both ends of one connection, with what one has sent and the other has not yet taken."""

    def __init__(self, client, server):
        self.ends = client, server
        self.peer = {client: server, server: client}
        self.waiting = {client: b"", server: b""}
        self.cut_at = None
        self._is_over = False

    def pass_on(self, source):
        """Read and write what is possible; False if one end has left and the other has its data."""
        sink = self.peer[source]
        data = self.waiting[sink]
        if len(data) < CHUNK and not self._is_over:
            try:
                new = source.recv(CHUNK)
            except BlockingIOError:
                pass
            else:
                self._is_over = not new
                data += new
        if data:
            try:
                data = data[sink.send(data):]
            except BlockingIOError:
                pass
        self.waiting[sink] = data
        return not self._is_over or any(self.waiting.values())

    def tear(self):
        """Forward part of what has come, and close both ends, half of the time with a reset."""
        try:
            data = self.ends[1].recv(CHUNK)
            self.ends[0].send((self.waiting[self.ends[0]] + data)[:random.randrange(CHUNK)])
        except OSError:
            pass
        if random.random() < 0.5:
            self.reset()
        else:
            self.close()

    def reset(self):
        for end in self.ends:
            reset(end)

    def close(self):
        for end in self.ends:
            end.close()


class Relay:
    """Forward TCP connections to a port of this machine, on a thread of its own.

    Args:
        port: the port to forward to.
        lifetime: seconds after which a connection is torn, on average, while ``is_tearing``.

    Attributes:
        port: where it listens.
        torn: connections that it has torn so far.
    """

    def __init__(self, port, lifetime=1.0):
        self._target = port
        self._lifetime = lifetime
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._pairs = set()
        self._lost = []
        self._is_frozen = False
        self._is_down = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="relay")
        self.is_tearing = False
        self.torn = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        self._thread.join()
        for pair in (*self._pairs, *self._lost):
            pair.close()
        self._selector.close()
        self._listener.close()

    # What a test does to it

    def freeze(self):
        """Silently stop forwarding: open connections stay frozen for good.

        New ones wait until ``thaw``.
        """
        with self._lock:
            self._is_frozen = True
            for pair in list(self._pairs):
                self._drop(pair, partial(self._lost.append, pair))

    def thaw(self):
        """Forward what new connections send."""
        self._is_frozen = False

    def cut(self):
        """Reset all connections, and new ones too, until ``restore``."""
        with self._lock:
            self._is_down = True
            for pair in list(self._pairs):
                self._drop(pair, pair.reset)

    def restore(self):
        """Let new connections through."""
        self._is_down = False

    # Its thread

    def _run(self):
        while not self._is_over:
            found = self._selector.select(ROUND)
            with self._lock:
                self._round(found)
            time.sleep(ROUND)

    def _round(self, found):
        for key, _ in found:
            if key.fileobj is not self._listener:
                self._pass_on(key.data, key.fileobj)
            elif not self._is_frozen:
                self._accept()
        if self.is_tearing:
            self._tear()
        for pair in [pair for pair in self._pairs if any(pair.waiting.values())]:
            for source in pair.ends:
                self._pass_on(pair, source)

    def _tear(self):
        now = time.monotonic()
        for pair in list(self._pairs):
            if pair.cut_at is None:
                pair.cut_at = now + random.expovariate(1 / self._lifetime)
            elif pair.cut_at <= now:
                self._drop(pair, pair.tear)
                self.torn += 1

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            if self._is_down:
                reset(client)
                continue
            pair = Pair(client, socket.create_connection(("127.0.0.1", self._target)))
            self._pairs.add(pair)
            for end in pair.ends:
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(end, selectors.EVENT_READ, pair)

    def _pass_on(self, pair, source):
        if pair not in self._pairs:
            return
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
    with Relay(int(sys.argv[1]), float(sys.argv[2])) as relay:
        print(relay.port, flush=True)
        sys.stdin.readline()
        relay.is_tearing = True
        sys.stdin.readline()
        relay.is_tearing = False
        print(json.dumps({"cuts": relay.torn}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
