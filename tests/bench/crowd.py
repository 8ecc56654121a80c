"""The clients of a benchmark, all in one process of their own and cheap enough not to be measured.

A ``Crowd`` connects, and counts what comes: every message of a run has the same size, so a
receipt is one ``recv_into`` and a look at the time that the message carries. ``CrowdProcess`` is
the harness's handle on one; its methods are those of ``Crowd``, called through a pipe.
"""
from __future__ import annotations

import gc
import multiprocessing
import select
import socket
import ssl
import struct
import time

from . import echoing
from .shaking import Shaking

BUFFER = 1 << 20
STAMP = 17
TEXT = 0x81
PING = 0x89
CLOSE = 0x88
EVENTS = 4096
MASK = b"\0\0\0\0"
RESET = struct.pack("ii", 1, 0)
PATIENCE = 180
SILENCE = 0.05
ANSWER_EVERY = 0.5
"""Seconds between two looks for pings, while others still connect."""


def frame_length(size):
    """Return the bytes of an unmasked frame, its head first."""
    head = 2 if size < 126 else 4 if size < 65536 else 10
    return head, head + size


class Member:
    """One client: what it has of the frame that is arriving."""

    __slots__ = ("sock", "have", "start", "odd", "code", "is_tls")

    def __init__(self, sock):
        self.sock = sock
        self.have = 0
        self.start = b""
        self.odd = b""
        self.code = None
        self.is_tls = isinstance(sock, ssl.SSLSocket)


class Crowd:
    """Connect many clients and receive with them."""

    member = Member

    def __init__(self, port, tls):
        self._port = port
        self._tls = None
        if tls:
            self._tls = ssl.create_default_context(cafile=tls)
        self._members = {}
        self._idle = []
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self.expect(STAMP)

    # What the harness asks

    def connect(self, path, count, *, first=0, in_flight=64, deadline=60.0, idle=False,
                receive_buffer=None):
        """Connect so many clients; return how it went.

        Args:
            path: the address; each client has a number, from ``first`` on, as its Id.
            in_flight: handshakes under way at a time.
            deadline: seconds after which the rest is given up.
            idle: these never read.
            receive_buffer: bytes that the kernel keeps for each.
        """
        shaking = Shaking(self._port, self._tls, receive_buffer)
        start = answered = time.monotonic()
        for sock, early in shaking.run(path, count, first, in_flight, start + deadline):
            self._add(sock, early, idle)
            if time.monotonic() > answered + ANSWER_EVERY:
                self.receive(0)
                answered = time.monotonic()
        seconds = time.monotonic() - start
        return {"connected": shaking.connected, "seconds": seconds,
                "rate": shaking.connected / seconds, "failures": dict(shaking.failures)}

    def _add(self, sock, early, idle):
        if idle:
            self._idle.append(sock)
            return
        member = self._members[sock.fileno()] = self.member(sock)
        if early:
            self._view[:len(early)] = early
            self._walk(member, len(early), time.monotonic())
        self._poll.register(sock.fileno(), select.EPOLLIN)
        if member.is_tls and sock.pending():
            self._readable(member)

    def expect(self, size):
        """Forget what was received; messages of this size will come."""
        self._head, self._length = frame_length(size)
        self._stamp_end = self._head + STAMP
        self.count = 0
        self._late = []
        self._groups = []

    def wait(self, count, patience):
        """Receive until so many messages have come or the seconds are over; return the count."""
        deadline = time.monotonic() + patience
        while self.count < count and time.monotonic() < deadline:
            self.receive(0.05)
        return self.count

    def result(self):
        """Return how late messages were, in seconds, and who is gone."""
        late = sorted([(late, 1) for late in self._late] + self._groups)
        codes = [member.code for member in self._members.values() if member.code is not None]
        return {"count": self.count, "closed": len(codes), "codes": sorted(set(codes)),
                "p50": quantile(late, self.count, 0.50), "p99": quantile(late, self.count, 0.99),
                "max": late[-1][0] if late else None}

    def idle_ends(self, patience):
        """Read with those that never read; return how many were closed with which codes."""
        codes = {}
        deadline = time.monotonic() + patience
        for sock in self._idle:
            code = _code_at_end(sock, deadline)
            codes[code] = codes.get(code, 0) + 1
        return codes

    def echo(self, size, seconds):
        """Send messages and await each one's echo, then leave; return echoes in a second."""
        socks = [member.sock for member in self._members.values()]
        rate = echoing.run(socks, size, seconds, frame_length(size)[1], self._buffer)
        self.leave()
        return rate

    def leave(self):
        """Reset all connections."""
        for sock in [member.sock for member in self._members.values()] + self._idle:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass
            sock.close()
        self._members.clear()
        self._idle.clear()
        self._poll.close()
        self._poll = select.epoll()

    # Receiving

    def receive(self, timeout):
        """Receive what comes within a time."""
        members, buffer, monotonic = self._members, self._buffer, time.monotonic
        head, length, stamp_end = self._head, self._length, self._stamp_end
        for fd, _ in self._poll.poll(timeout, EVENTS):
            member = members[fd]
            if member.is_tls:
                self._readable(member)
                continue
            try:
                size = member.sock.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError:
                size = 0
            if size == length and not member.have and buffer[0] == TEXT and not member.odd:
                self._late.append(monotonic() - float(buffer[head:stamp_end]))
                self.count += 1
            elif size:
                self._walk(member, size, monotonic())
            else:
                self._gone(member)

    def _readable(self, member):
        """Read one TLS socket until there is nothing left that epoll cannot see."""
        while True:
            try:
                size = member.sock.recv_into(self._buffer)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                size = 0
            if not size:
                self._gone(member)
                return
            self._walk(member, size, time.monotonic())

    def _gone(self, member):
        if member.code is None:
            member.code = 1006
        try:
            self._poll.unregister(member.sock.fileno())
        except (OSError, ValueError):
            pass  # it was never registered

    def _walk(self, member, size, now):
        """Take in what was read, wherever frames begin and end in it."""
        buffer, length = self._buffer, self._length
        place = 0
        while place < size:
            if member.odd or not member.have and buffer[place] != TEXT:
                place = self._odd(member, place, size)
                continue
            whole = (size - place) // length
            if whole and not member.have:
                if whole > 1 and buffer[place + (whole - 1) * length] != TEXT:
                    whole = 1
                self._record(place, whole, now)
                place += whole * length
                continue
            part = min(length - member.have, size - place)
            if member.have < self._stamp_end:
                end = place + min(part, self._stamp_end - member.have)
                member.start += self._view[place:end]
            member.have += part
            place += part
            if member.have == length:
                self.count += 1
                self._late.append(now - float(member.start[self._head:self._stamp_end]))
                member.have = 0
                member.start = b""

    def _record(self, place, whole, now):
        """Record so many messages by the times of the first and of the last."""
        last = place + (whole - 1) * self._length
        self.count += whole
        for at, weight in ((place, whole - whole // 2), (last, whole // 2)):
            if weight:
                stamp = float(self._buffer[at + self._head:at + self._stamp_end])
                self._groups.append((now - stamp, weight))

    def _odd(self, member, place, size):
        """Take in a control frame, answer a ping; return where it ends."""
        while place < size:
            member.odd += self._view[place:place + 1]
            place += 1
            odd = member.odd
            if len(odd) >= 2 and len(odd) == 2 + odd[1]:
                member.odd = b""
                if odd[0] == PING:
                    member.sock.send(bytes([0x8A, 0x80 | odd[1]]) + MASK + odd[2:])
                elif odd[0] == CLOSE:
                    member.code = int.from_bytes(odd[2:4], "big")
                return place
        return place


def quantile(late, count, share):
    """Return the value below which a share of the weighted values lies."""
    left = count * share
    for value, weight in late:
        left -= weight
        if left <= 0:
            return value
    return late[-1][0] if late else None


def _code_at_end(sock, deadline):
    """Read to the end and return the close code, None without one or without an end."""
    tail = b""
    sock.settimeout(SILENCE)
    while time.monotonic() < deadline:
        try:
            data = sock.recv(1 << 16)
        except OSError:
            break
        if not data:
            break
        tail = (tail + data)[-200:]
        at = tail.rfind(CLOSE)
        if at >= 0 and len(tail) >= at + 4 and len(tail) == at + 2 + tail[at + 1]:
            return int.from_bytes(tail[at + 2:at + 4], "big")
    return None


def _serve(pipe, kind, port, tls):
    """Do what comes through the pipe, and receive between."""
    gc.disable()
    crowd = kind(port, tls)
    while True:
        while not pipe.poll():
            crowd.receive(0.02)
        try:
            name, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((getattr(crowd, name)(*args, **kwargs), None))
        except Exception as error:
            pipe.send((None, f"{name}: {error!r}"))


class CrowdProcess:
    """A crowd in a process of its own: ``ask`` calls one of its methods, ``begin`` does not wait.

    Args:
        port: of the server, on 127.0.0.1.
        tls: a file with the authority's certificate, or None.
        kind: the class of the crowd.
    """

    def __init__(self, port, tls=None, kind=Crowd):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, kind, port, tls),
                                        daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, name, *args, **kwargs):
        """Start a call; ``end`` returns what it returns."""
        self._pipe.send((name, args, kwargs))

    def end(self, patience=PATIENCE):
        """Return the result of the call that was begun."""
        if not self._pipe.poll(patience):
            raise TimeoutError("the clients do not answer")
        value, error = self._pipe.recv()
        if error:
            raise RuntimeError(error)
        return value

    def ask(self, name, *args, **kwargs):
        """Call a method of the crowd and return its result."""
        self.begin(name, *args, **kwargs)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
