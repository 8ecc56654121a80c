"""Clients that flood: all in a process of their own, which sends as fast as it is read."""
from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import selectors
import socket
import time

HANDSHAKE = ("GET {path}?Id={Id} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
             "Sec-WebSocket-Version: 13\r\n\r\n")
TEXT, BINARY, PING, FIN = 1, 2, 9, 0x80
MASK = b"\x80\0\0\0\0"
CHUNK = 64 * 1024
COMES_BACK = 0.05
"""Seconds after which a client that was closed connects again."""

PATIENCE = 10.0


def frame(first, payload=b""):
    """Return a frame whose mask changes nothing."""
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + MASK[1:] + payload
    if size < 65536:
        return bytes((first, 0xfe)) + size.to_bytes(2, "big") + MASK[1:] + payload
    return bytes((first, 0xff)) + size.to_bytes(8, "big") + MASK[1:] + payload


def many(one):
    """Return about ``CHUNK`` bytes of one piece."""
    return one * max(1, CHUNK // len(one))


def listed(count, name, **request):
    """Return a frame of commands."""
    line = json.dumps({"id": 1, name: request}, separators=(",", ":"))
    return frame(FIN | TEXT, "\n".join([line] * count).encode())


def toggled(channel):
    """Return a frame that enters and leaves a channel many times."""
    lines = [json.dumps({"id": 1, name: {"channel": channel}})
             for name in ("subscribe", "unsubscribe")] * 300
    return frame(FIN | TEXT, "\n".join(lines).encode())


def to_new_channels(Id, turn):
    """Return a frame that publishes to channels that nobody has used."""
    lines = [json.dumps({"id": 1, "publish": {"channel": f"room:{Id}-{turn}-{number}",
                                              "data": "x" * (CHUNK // 4)}})
             for number in range(3)]
    return frame(FIN | TEXT, "\n".join(lines).encode())


PLAIN, TALK = "/all", "/talk"
CONNECT = frame(FIN | TEXT, b'{"id":1,"connect":{}}')

FLOODS = {
    "empty messages": (PLAIN, 32, b"", many(frame(FIN | TEXT))),
    "pings": (PLAIN, 32, b"", many(frame(FIN | PING))),
    "fragments of 1 byte": (PLAIN, 32, b"", many(
        frame(BINARY, b"x") + frame(0, b"x") * 98 + frame(FIN, b"x"))),
    "empty fragments": (PLAIN, 32, frame(BINARY), many(frame(0))),
    "byte by byte": (PLAIN, 32, b"", None),
    "invalid JSON": (TALK, 8, b"", many(frame(FIN | TEXT, b"{" * 100))),
    "nested JSON": (TALK, 8, b"", frame(FIN | TEXT, b'{"id":1,"rpc":{"data":'
                                        + b"[" * 60_000 + b"]" * 5 + b"}}")),
    "pongs in a list": (TALK, 8, b"", frame(FIN | TEXT, b"{}\n" * 20_000)),
    "1,200 presence in a frame": (TALK, 8, b"", listed(1200, "presence", channel="room:a")),
    "1,200 presence_stats": (TALK, 8, b"", listed(1200, "presence_stats", channel="room:a")),
    "1,000 history": (TALK, 8, b"", listed(1000, "history", channel="room:a", limit=-1)),
    "1,000 rpc": (TALK, 8, b"", listed(1000, "rpc", method="x", data=1)),
    "subscribe, unsubscribe": (TALK, 8, b"", toggled("room:a")),
    "publish": (TALK, 8, b"", listed(1000, "publish", channel="room:a", data=1)),
    "publish to new channels": (TALK, 8, b"", to_new_channels),
}
"""What is sent over and over: the address, how many clients, what each sends first, and then; or a
function that returns that, called with the client's Id and the number of its turn."""


class Flooder:
    """One client: connects, sends, and comes back when it is closed."""

    def __init__(self, port, path, Id, first, again):
        self._port, self._path, self._id = port, path, Id
        self._first = first
        if path == TALK:
            self._first = CONNECT + first
        self._again = again
        self._turn = 0
        self.sock = None
        self.since = 0.0

    def connect(self):
        """Shake hands."""
        self.since = time.monotonic()
        sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(HANDSHAKE.format(path=self._path, Id=self._id).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(4096)
            if not data:
                raise ConnectionError(answer)
            answer += data
        sock.sendall(self._first)
        sock.setblocking(False)
        self.sock, self._rest = sock, b""

    def drop(self):
        """Close."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def write(self):
        """Send as much as is taken."""
        if self._again is None:     # a frame, a byte at a time
            self._rest = self._rest or frame(FIN | TEXT, b"xx")
            self._rest = self._rest[self.sock.send(self._rest[:1]):]
            return
        if not self._rest:
            self._turn += 1
            self._rest = self._again(self._id, self._turn) if callable(self._again) \
                else self._again
        self._rest = self._rest[self.sock.send(self._rest):]


def run(pipe, port, path, count, first, again, members):
    """Flood until told to stop, with what the others leave of the machine."""
    os.nice(10)
    selector = selectors.DefaultSelector()
    enter = frame(FIN | TEXT, b'{"id":2,"subscribe":{"channel":"room:a"}}')
    quiet = [Flooder(port, TALK, f"member-{number}", enter, b"") for number in range(members)]
    flooders = [Flooder(port, path, f"flooder-{number}", first, again) for number in range(count)]
    for one in quiet:
        one.connect()
        selector.register(one.sock, selectors.EVENT_READ, one)
    for one in flooders:
        one.connect()
        selector.register(one.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
    pipe.send("ready")
    while not pipe.poll():
        for key, mask in selector.select(0.1):
            one = key.data
            try:
                if mask & selectors.EVENT_READ and not one.sock.recv(1 << 16):
                    raise ConnectionError
                if mask & selectors.EVENT_WRITE:
                    one.write()
            except BlockingIOError:
                pass
            except OSError:
                selector.unregister(one.sock)
                one.drop()
        for one in flooders:
            if one.sock is None and time.monotonic() - one.since > COMES_BACK:
                with contextlib.suppress(OSError):
                    one.connect()
                    selector.register(one.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
    for one in quiet + flooders:
        one.drop()


@contextlib.contextmanager
def flooding(port, path, count, first, again, members):
    """Flood from another process; ``members`` more clients only listen in a channel."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=run, daemon=True,
                              args=(theirs, port, path, count, first, again, members))
    process.start()
    try:
        if not pipe.poll(PATIENCE * 2):
            raise TimeoutError("the flood does not begin")
        pipe.recv()
        yield
    finally:
        with contextlib.suppress(OSError):
            pipe.send("stop")
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
