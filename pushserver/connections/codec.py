"""What a connection speaks: how a message becomes a payload, and a payload becomes bytes."""
from __future__ import annotations

from functools import lru_cache
from typing import Hashable, Protocol, Tuple

from ..channels.presence import Info
from ..channels.publication import BINARY, Publication
from ..transports.transport import Framing


Payload = Tuple[bool, bytes]
"""The contents of one message: whether it is binary, and its bytes."""


class Codec(Hashable, Protocol):
    """Turn what a server sends into payloads. It keeps no state; any thread may call it.

    Attributes:
        keeps_positions: its clients know which publication they saw last.
        awaits_pings: its clients expect pings, so even those that are not silent get them.
        reason: the default reason in a close frame; may be empty.
    """

    keeps_positions: bool
    awaits_pings: bool
    reason: str

    def publication(self, channel: str, publication: Publication) -> Payload:
        """Encode a publication to a channel."""

    def message(self, publication: Publication) -> Payload | None:
        """Encode a message to an Id or to all; None: its clients do not get it."""

    def of_channel(self, channel: str) -> tuple[bytes, ...]:
        """Return how payloads that belong to a channel begin; empty: they do not show it."""

    def presence(self, channel: str, info: Info, joined: bool) -> Payload | None:
        """Encode that a client joined or left; None: its clients are not told."""

    def ping(self) -> Payload | None:
        """Return the ping of this protocol; None: the transport's own ping is used."""


class PlainCodec:
    """Send payloads as they were published; see ``Codec``."""

    keeps_positions = False
    awaits_pings = False
    reason = ""

    def __repr__(self) -> str:
        return "<PlainCodec>"

    def publication(self, channel: str, publication: Publication) -> Payload:
        """See ``Codec``."""
        return publication.kind == BINARY, publication.payload

    def message(self, publication: Publication) -> Payload:
        """See ``Codec``."""
        return publication.kind == BINARY, publication.payload

    def of_channel(self, channel: str) -> tuple[bytes, ...]:
        """See ``Codec``."""
        return ()

    def presence(self, channel: str, info: Info, joined: bool) -> None:
        """See ``Codec``: clients could not tell this from a publication."""

    def ping(self) -> None:
        """See ``Codec``."""


PLAIN: Codec = PlainCodec()


class FramedCodec:
    """One codec in one transport's framing: an ``Encoding``. ``encoding`` makes each only once.

    Attributes:
        ping: the bytes of a ping.
    """

    def __init__(self, codec: Codec, framing: Framing) -> None:
        self.codec = codec
        self.keeps_positions = codec.keeps_positions
        self._frame = framing.message
        ping = codec.ping()
        self.ping = framing.ping if ping is None else framing.message(*ping)

    def __repr__(self) -> str:
        return f"<{self.codec!r} framed>"

    def publication(self, channel: str, publication: Publication) -> bytes:
        """See ``Encoding``."""
        return self._frame(*self.codec.publication(channel, publication))

    def message(self, publication: Publication) -> bytes | None:
        """See ``Encoding``."""
        payload = self.codec.message(publication)
        return None if payload is None else self._frame(*payload)

    def presence(self, channel: str, info: Info, joined: bool) -> bytes | None:
        """See ``Encoding``."""
        payload = self.codec.presence(channel, info, joined)
        return None if payload is None else self._frame(*payload)


@lru_cache(maxsize=None)
def encoding(codec: Codec, framing: Framing) -> FramedCodec:
    """Return the one object for a codec in a framing: those that share it get the same bytes."""
    return FramedCodec(codec, framing)
