"""The interface of a codec of the protocol: it converts between bytes and ``values``."""
from __future__ import annotations

from typing import Iterator, Mapping, Protocol, Sequence

from ..channels.presence import Info
from ..channels.publication import Publication
from ..connections.codec import Codec, Payload
from .errors import CommandError
from .values import Command, Result, SubscribeResult


class ProtocolCodec(Codec, Protocol):
    """Read commands, and write replies and pushes. It keeps no state; any thread may call it.

    Attributes:
        is_binary: whether clients send and get binary messages.
    """

    is_binary: bool

    @property
    def connected(self) -> Codec:
        """Return what a client speaks once its ``connect`` has been answered."""

    def commands(self, data: bytes) -> Iterator[Command]:
        """Return the commands of one message. Each is decoded only after the previous one has run.

        Raises:
            CloseConnection: 3501: one is malformed, or there is none.
        """

    def encoded(self, publications: Sequence[Publication]) -> list[bytes]:
        """Return publications in the form that results hold."""

    def clients(self, found: Mapping[str, Info]) -> bytes:
        """Return who is in a channel, in the form that results hold. It has no state."""

    def reply(self, number: int, result: Result) -> bytes:
        """Return the reply to a command.

        Raises:
            InvalidData: it holds something that this codec cannot encode.
        """

    def error(self, number: int, error: CommandError) -> bytes:
        """Return the reply to a command that failed.

        Raises:
            InvalidData: its message is not text that UTF-8 can hold.
        """

    def join(self, replies: Sequence[bytes]) -> bytes:
        """Join several replies into the contents of one message."""

    def subscribed(self, channel: str, result: SubscribeResult) -> bytes:
        """Encode that the site has subscribed the client to a channel."""

    def unsubscribed(self, channel: str, code: int, reason: str) -> bytes:
        """Encode that the client was unsubscribed from a channel, and why."""

    def message(self, publication: Publication) -> Payload | None:
        """Encode a message that belongs to no channel; see ``Codec``."""
