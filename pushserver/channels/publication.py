"""Publications and where they stand in a channel's history. No I/O."""
from __future__ import annotations

import json
from typing import Any, Callable, NamedTuple, Sequence

from ..wire.payloads import Data, encode_payload, encode_text

Clock = Callable[[], float]

TEXT, BINARY, JSON = range(3)
"""Kinds of payload: text as it is, bytes, and JSON text."""

PUBLICATION_OVERHEAD = 256
"""Bytes counted for a publication in addition to its payload: about what Python needs for it."""


ENVELOPE = 2048
"""Bytes, at most, that a client's protocol adds to a publication, with its channel's name."""

_CONTROLS = bytes(range(32)) + b"\x7f"


class Position(NamedTuple):
    """A place in a channel's history.

    Attributes:
        offset: that of a publication, from 1 on; 0 is before the first.
        epoch: the name of the history in which the offset counts. A new one starts when a
            channel's history is lost, for example in a restart. Empty for a channel that
            remembers nothing.
    """

    offset: int
    epoch: str


NOWHERE = Position(0, "")
"""The position of a client that was never in a channel, and of any channel without a history."""


class Publication:
    """One message of a channel, encoded once. It never changes once it has its offset.

    Attributes:
        offset: that of its position, from 1 on; 0 in a channel that remembers nothing.
        kind: TEXT, BINARY or JSON.
        payload: its bytes.
        time: when it was published, in seconds since 1970.
        info: the client that published it, as JSON bytes, or None.
        tags: names and values that the publisher added, as JSON bytes, or None.
    """

    __slots__ = ("offset", "kind", "payload", "time", "info", "tags")

    def __init__(self, kind: int, payload: bytes, *, info: bytes | None = None,
                 tags: bytes | None = None, offset: int = 0, published: float = 0.0) -> None:
        self.offset = offset
        self.kind = kind
        self.payload = payload
        self.time = published
        self.info = info
        self.tags = tags

    def __repr__(self) -> str:
        return f"<Publication {self.offset}, {len(self.payload)} bytes>"

    @classmethod
    def of(cls, data: Data, *, info: bytes | None = None,
           tags: bytes | None = None) -> "Publication":
        """Encode what a site or a client publishes.

        Raises:
            InvalidData: it cannot be encoded as UTF-8 or as JSON.
        """
        if isinstance(data, str):   # what is sent most
            return cls(TEXT, encode_text(data), info=info, tags=tags)
        kind = BINARY if isinstance(data, (bytes, bytearray, memoryview)) else JSON
        return cls(kind, encode_payload(data)[1], info=info, tags=tags)

    @property
    def data(self) -> Any:
        """Return what was published: text, bytes, or the decoded JSON."""
        if self.kind == BINARY:
            return self.payload
        text = self.payload.decode("utf-8")
        return text if self.kind == TEXT else json.loads(text)

    @property
    def size(self) -> int:
        """Return the size of everything that was published, in bytes."""
        return len(self.payload) + len(self.info or b"") + len(self.tags or b"")

    @property
    def longest(self) -> int:
        """Return the most bytes that it may take in a client's protocol."""
        size = self.size + ENVELOPE
        if self.kind == BINARY:
            return size + len(self.payload) // 3
        if self.kind == TEXT:   # as a JSON string, some characters become two, and some six
            payload = self.payload
            return size + len(payload) - len(payload.translate(None, b'"\\')) \
                + 5 * (len(payload) - len(payload.translate(None, _CONTROLS)))
        return size

    @property
    def cost(self) -> int:
        """Return the bytes that it counts for in a history."""
        return PUBLICATION_OVERHEAD + self.size


class Limits(NamedTuple):
    """How much one channel may remember.

    Attributes:
        publications: how many; 0: nothing is remembered.
        size: bytes of all of them, by ``Publication.cost``; the last one stays whatever its size.
        age: seconds; 0: no limit.
    """

    publications: int
    size: int
    age: float


NOTHING = Limits(0, 0, 0.0)
"""The limits of a channel that remembers nothing."""


class Page(NamedTuple):
    """Publications from a history, and the history's position at that moment.

    Attributes:
        publications: in the requested order.
        top: the position of the newest publication, whether or not it is still held.
        recovered: whether these are all the publications since the given position. False if some
            are lost, if the position is not one of this history's, or if none was given.
    """

    publications: Sequence[Publication]
    top: Position
    recovered: bool
