"""What waits to be written to one socket."""
from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Callable, Union

from .account import Account

Buffer = Union[bytes, memoryview]

JOINED = 16 * 1024
"""From this many bytes on, a buffer is not copied to join it with the next. Also the bytes of a
long payload that are copied after its header, so that the header is not sent alone."""

JOINED_AT_MOST = 64 * 1024
"""Most bytes that are joined for one write; with the shortest frames, that takes milliseconds."""

FRAME_OVERHEAD = 64
"""Bytes that each waiting frame counts in addition to its own, so that empty ones count too."""


SAMPLE = 32
"""Waiting buffers of which the share is found out; the others' is taken to be like it."""


class Head(bytes):
    """The header of a frame whose payload is the next buffer: the two are kept or dropped together.

    This saves copying a long payload to follow its header.
    """

    __slots__ = ()


class Outbox:
    """Hold the bytes that wait for one socket, up to a limit, and how much of the first is written.

    The limit is for what waits after the message being written. That one does not count: any
    message that the server accepts can be sent to a client that reads, however long it has become
    in the client's protocol, and it uses up none of the limit for what follows.

    All outboxes that wait for the same message share its buffer, so its bytes are held once. Only
    the loop's thread may use it, but any may look at ``size``. It does no I/O: ``peek`` returns
    what to write next, and ``advance`` takes how much of it was written.

    Args:
        limit: bytes that may wait after the first message; each frame there counts 64 more.
        account: counts what waits here with what waits elsewhere; None: nobody asks.

    Attributes:
        size: bytes that wait, including those of the first message.
        behind: at least what waits after the first message; see ``measure``.
    """

    __slots__ = ("limit", "size", "behind", "_account", "_buffers", "_cursor", "_begun")

    def __init__(self, limit: int, account: Account | None = None) -> None:
        self.limit = limit
        self.size = self.behind = 0
        self._account = account or Account()
        self._buffers: deque[bytes] | None = None
        self._cursor = 0
        self._begun = False     # the Head of the first buffer has been written

    def __repr__(self) -> str:
        return f"<Outbox {self.size} of {self.limit} bytes>"

    def append(self, *pieces: bytes) -> bool:
        """Queue whole frames unless they would exceed the limit; tell whether they were queued.

        Args:
            pieces: whole frames, or one frame as its ``Head`` and its payload.
        """
        if self._buffers:
            behind = self._behind() + sum(map(len, pieces))
            if behind > self.limit:
                return False
            self.behind = behind
        for data in pieces:
            self.force(data)
        return True

    def measure(self) -> int:
        """Bring ``behind`` up to date and return it."""
        self.behind = self._behind() if self._buffers else 0
        return self.behind

    def _behind(self) -> int:
        """Return how much the frames after the first message count."""
        buffers = self._buffers
        assert buffers
        first = len(buffers[0]) - self._cursor
        count = len(buffers) - 1
        if isinstance(buffers[0], Head):
            first += len(buffers[1])
            count -= 1
        return self.size - first + count * FRAME_OVERHEAD

    def force(self, data: bytes, cursor: int = 0) -> None:
        """Queue whole frames whatever the limit.

        Args:
            data: one or more whole frames.
            cursor: bytes of them that are already written; only while nothing else waits.
        """
        if self._buffers is None:
            self._buffers = deque()
        if cursor:
            assert not self._buffers, "only the first buffer can be partly written"
            self._cursor = cursor
        self._buffers.append(data)
        self._account.add(data)
        self.size += len(data) - cursor

    def peek(self, most: int) -> Buffer:
        """Return the next bytes to write, with small buffers joined; empty if nothing waits.

        Until ``advance`` is called, further calls return the same bytes and perhaps more, as a
        TLS socket that has refused a write requires.

        Args:
            most: bytes to return at most.
        """
        if not self._buffers:
            return b""
        first = self._buffers[0]
        left = len(first) - self._cursor
        if len(self._buffers) == 1 or left >= min(most, JOINED):
            if not self._cursor and len(first) <= most:
                return first
            return memoryview(first)[self._cursor:self._cursor + most]
        return self._join(min(most, JOINED_AT_MOST))

    def _join(self, most: int) -> bytes:
        parts: list[Buffer] = []
        cursor, room = self._cursor, most
        for data in self._buffers or ():
            if isinstance(data, Head):
                room = min(room, len(data) + JOINED)  # copy no more of its payload
            part = data[cursor:cursor + room] if len(data) < JOINED \
                else memoryview(data)[cursor:cursor + room]
            parts.append(part)
            room -= len(part)
            cursor = 0
            if not room:
                break
        return b"".join(parts)

    def advance(self, written: int) -> None:
        """Drop the first bytes, which have been written.

        Args:
            written: how many; at most as many as wait.
        """
        self.size -= written
        buffers = self._buffers
        while written and buffers:
            left = len(buffers[0]) - self._cursor
            if written < left:
                self._cursor += written
                return
            written -= left
            done = buffers.popleft()
            self._account.remove(done)
            self._begun = isinstance(done, Head)
            self._cursor = 0
        if not buffers:
            self._buffers = None

    def sift(self, kept_of: Callable[[bytes], bytes], pinned: int = 0) -> None:
        """Keep only a part of the messages of which nothing has been written.

        Args:
            kept_of: returns what is to be kept of a buffer of whole frames.
            pinned: see ``drop_unsent``.
        """
        kept: deque[bytes] = deque()
        size = 0
        needed = self._begun or bool(self._cursor)
        for data in self._buffers or ():
            if not needed and size >= pinned and not isinstance(data, Head):
                data = kept_of(data)
            size += len(data) - (0 if kept else self._cursor)
            if data:
                kept.append(data)
            needed = isinstance(data, Head)
        self._replace(kept, size)

    def drop_unsent(self, pinned: int = 0) -> None:
        """Drop every message of which nothing has been written, so that a close frame can follow.

        Args:
            pinned: bytes from the cursor on that the TLS layer was offered and that must
                therefore still be written; the buffers that hold them stay.
        """
        kept: deque[bytes] = deque()
        size = 0
        needed = self._begun or bool(self._cursor)
        for data in self._buffers or ():
            if not needed and size >= pinned:
                break
            size += len(data) - (0 if kept else self._cursor)
            kept.append(data)
            needed = isinstance(data, Head)
        self._replace(kept, size)

    def clear(self) -> None:
        """Drop everything: the socket is no more."""
        self._cursor = 0
        self._begun = False
        self._replace(deque(), 0)
        self.limit = 0

    def _replace(self, kept: deque[bytes], size: int) -> None:
        for data in kept:
            self._account.add(data)
        for data in self._buffers or ():
            self._account.remove(data)
        self._buffers = kept or None
        self.size = size
        self.measure()

    @property
    def share(self) -> int:
        """Return about how many of the bytes that wait here are held because of this outbox.

        What also waits in others is divided among them.
        """
        sample = list(islice(self._buffers or (), SAMPLE))
        size = sum(map(len, sample))
        return round(max(1.0, self.size / (size or 1)) * sum(map(self._account.share, sample)))
