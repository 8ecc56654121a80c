"""Publications and where they stand in a channel's history. No I/O."""
from __future__ import annotations

import json
from typing import Any, Callable, NamedTuple, Sequence

from ..wire.frames import OPCODE_BINARY, Data, encode_payload

Clock = Callable[[], float]

TEXT, BINARY, JSON = range(3)
"""Kinds of payload: text as it is, bytes, and JSON text."""

PUBLICATION_OVERHEAD = 256
"""Bytes that a publication is counted with beside its payload: about what Python takes for it."""


class Position(NamedTuple):
    """A place in a channel's history.

    Attributes:
        offset: of a publication, from 1 on; 0 is before the first.
        epoch: names the history that the offset counts in: another one starts when a channel's
            history is lost, as in a restart. Empty for a channel that remembers nothing.
    """

    offset: int
    epoch: str


NOWHERE = Position(0, "")
"""Where a client is that has never been in a channel, and what a channel without memory gives."""


class Publication:
    """One message of a channel, encoded once. Nobody changes it once it has its offset.

    Attributes:
        offset: its position's, from 1 on; 0 in a channel that remembers nothing.
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
            InvalidData: neither UTF-8 nor JSON can hold it.
        """
        opcode, payload = encode_payload(data)
        kind = BINARY if opcode == OPCODE_BINARY else TEXT if isinstance(data, str) else JSON
        return cls(kind, payload, info=info, tags=tags)

    @property
    def data(self) -> Any:
        """Return what was published: text, bytes, or what JSON made of it."""
        if self.kind == BINARY:
            return self.payload
        text = self.payload.decode("utf-8")
        return text if self.kind == TEXT else json.loads(text)

    @property
    def size(self) -> int:
        """Return the bytes of all that was published."""
        return len(self.payload) + len(self.info or b"") + len(self.tags or b"")

    @property
    def cost(self) -> int:
        """Return the bytes that it is counted with in a history."""
        return PUBLICATION_OVERHEAD + self.size


class Limits(NamedTuple):
    """What one channel may remember.

    Attributes:
        publications: how many; 0: nothing is remembered.
        size: bytes of them all, by ``Publication.cost``; the last one stays whatever its size.
        age: seconds; 0: however old.
    """

    publications: int
    size: int
    age: float


NOTHING = Limits(0, 0, 0.0)
"""Of what is not remembered."""


class Page(NamedTuple):
    """What was found in a history, and where the history stood at that moment.

    Attributes:
        publications: in the order asked for.
        top: the position of the newest publication, whether it is still held or not.
        recovered: these are all since the position asked for; False: some are lost, or the
            position is none of this history's. Always False where no position was asked for.
    """

    publications: Sequence[Publication]
    top: Position
    recovered: bool
