"""Clients that send a message, await its echo, and send the next."""
from __future__ import annotations

import select
import struct
import time

BINARY = 0x82
MASK = b"\x11\x22\x33\x44"


def masked(size):
    """Return a masked binary message."""
    head = struct.pack("!BB", BINARY, 0x80 | size) if size < 126 else \
        struct.pack("!BBH", BINARY, 0xFE, size) if size < 65536 else \
        struct.pack("!BBQ", BINARY, 0xFF, size)
    return head + MASK + bytes(1 + i % 97 ^ MASK[i % 4] for i in range(size))


class Turn:
    """One client's message under way: what is still to be sent, what is still to come."""

    __slots__ = ("sock", "to_send", "to_come", "waits")

    def __init__(self, sock):
        self.sock = sock
        self.waits = False
        self.to_send = b""
        self.to_come = 0


def run(socks, size, seconds, length, buffer):
    """Return the echoes a second, all clients together.

    Args:
        socks: connected, non-blocking, with nothing to read.
        length: bytes of an echo's frame.
        buffer: to read into.
    """
    message = memoryview(masked(size))
    poll = select.epoll()
    turns = {sock.fileno(): Turn(sock) for sock in socks}
    for turn in turns.values():
        poll.register(turn.sock.fileno(), select.EPOLLIN)
        _begin(turn, message, length, poll)
    start = now = time.monotonic()
    count = 0
    while now < start + seconds:
        for fd, events in poll.poll(0.1):
            turn = turns[fd]
            if events & select.EPOLLOUT:
                _send(turn, poll)
            if events & ~select.EPOLLOUT:
                turn.to_come -= _receive(turn.sock, buffer)
                if turn.to_come == 0:
                    count += 1
                    _begin(turn, message, length, poll)
        now = time.monotonic()
    poll.close()
    return count / (now - start)


def _receive(sock, buffer):
    try:
        size = sock.recv_into(buffer)
    except BlockingIOError:
        return 0
    if not size:
        raise ConnectionResetError("closed in the middle of an echo")
    return size


def _begin(turn, message, length, poll):
    turn.to_come = length
    turn.to_send = message
    _send(turn, poll)


def _send(turn, poll):
    """Send what is left; watch for room only while some is."""
    try:
        sent = turn.sock.send(turn.to_send)
    except BlockingIOError:
        sent = 0
    turn.to_send = turn.to_send[sent:]
    waits = bool(turn.to_send)
    if waits != turn.waits:
        turn.waits = waits
        poll.modify(turn.sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if waits else 0))
