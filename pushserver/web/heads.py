"""Find out when a request can be read without waiting for its client. No I/O."""
from __future__ import annotations

import re
from enum import Enum

from ..wire.handshake import MAX_HEAD

MAX_BODY = 64 * 1024
"""Bytes of the longest body that is awaited with its head."""

END = b"\r\n\r\n"

_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTHS = re.compile(rb"\ncontent-length:([^\r]*)\r", re.IGNORECASE)
_SIZE = re.compile(rb"\d{1,9}")
_AT_ONCE = re.compile(rb"\n(?:transfer-encoding|expect):", re.IGNORECASE)
"""With these, cheroot has something to do before the body comes."""


class Verdict(Enum):
    """What is to be done with what a client has sent of a request.

    ``HEAD``: wait for more of its head; ``BODY``: for more of its body; ``READY``: cheroot can
    read it, or see what is wrong with it, without waiting; ``TOO_LONG``: refuse it.
    """

    HEAD = "head"
    BODY = "body"
    READY = "ready"
    TOO_LONG = "too long"


class Head:
    """Collect a request's head, and its body if that is short. Not thread-safe.

    It only looks for the end of the head: what is in it, and whether that is valid, cheroot says.

    Args:
        most: bytes of a body that cheroot reads at all; 0: any.

    Attributes:
        data: what has come so far.
        is_long: it is ready, but not the body, which a thread must wait for.
    """

    __slots__ = ("data", "is_long", "_most", "_seen", "_needed", "_knows_protocol")

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self.data = bytearray()
        self.is_long = False
        self._seen = 0          # bytes in which no head ends
        self._needed = 0        # bytes of the head and the body, once that is known
        self._knows_protocol = False

    def __repr__(self) -> str:
        return f"<Head {len(self.data)} bytes>"

    def feed(self, data: bytes) -> Verdict:
        """Add what has come, in any pieces; after ``READY``, ``take`` must follow."""
        self.data += data
        if not self._needed:
            end = self.data.find(END, max(0, self._seen - len(END) + 1))
            size = len(self.data) if end < 0 else end + len(END)
            if size > MAX_HEAD:
                return Verdict.TOO_LONG
            if end < 0:
                return Verdict.READY if self._is_malformed() else Verdict.HEAD
            body = _body_size(bytes(self.data[:size]), self._most or float("inf"))
            self.is_long = body is None
            self._needed = size + (body or 0)
        return Verdict.READY if len(self.data) >= self._needed else Verdict.BODY

    def _is_malformed(self) -> bool:
        """Tell whether cheroot refuses what has come as soon as it reads that."""
        if _BARE_LF.search(self.data, max(0, self._seen - 1)):
            return True
        self._seen = len(self.data)
        if not self._knows_protocol:
            begin = 2 if self.data.startswith(b"\r\n") else 0
            end = self.data.find(b"\n", begin)
            if end >= 0 and self.data.find(b" HTTP/", begin, end) < 0:
                return True
            self._knows_protocol = end >= 0
        return False

    def take(self) -> bytes:
        """Return what has come, and begin anew."""
        data = bytes(self.data)
        self.data.clear()
        self._seen = self._needed = 0
        self._knows_protocol = self.is_long = False
        return data


def _body_size(head: bytes, most: float) -> int | None:
    """Return the bytes to await after a head; None: there may be a body that is not awaited."""
    if _AT_ONCE.search(head):
        return None
    lengths = _LENGTHS.findall(head)
    if not lengths:
        return 0
    told = lengths[0].strip(b" \t")
    if len(lengths) > 1 or not _SIZE.fullmatch(told):
        return None
    size = int(told)
    if size > most:
        return 0
    return size if size <= MAX_BODY else None
