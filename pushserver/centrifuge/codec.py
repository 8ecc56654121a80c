"""The interface of a codec of the protocol: between bytes and the values of ``values``."""
from __future__ import annotations

from typing import Iterator, Protocol, Sequence

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
        """Return what a client speaks once it has sent ``connect``, and was answered."""

    def commands(self, data: bytes) -> Iterator[Command]:
        """Return the commands of one message. Each is looked at when the one before has been run.

        Raises:
            CloseConnection: 3501: one is malformed, or there is none.
        """

    def encoded(self, publications: Sequence[Publication]) -> list[bytes]:
        """Return publications as results hold them."""

    def reply(self, number: int, result: Result) -> bytes:
        """Return the reply to a command.

        Raises:
            InvalidData: it holds what this codec has no place for.
        """

    def error(self, number: int, error: CommandError) -> bytes:
        """Return the reply to a command that failed.

        Raises:
            InvalidData: its message is not text that UTF-8 can hold.
        """

    def join(self, replies: Sequence[bytes]) -> bytes:
        """Return several replies as the contents of one message."""

    def subscribed(self, channel: str, result: SubscribeResult) -> bytes:
        """Return that the site has put the client into a channel."""

    def unsubscribed(self, channel: str, code: int, reason: str) -> bytes:
        """Return that the client was taken out of a channel, and why."""

    def message(self, publication: Publication) -> Payload | None:
        """Return a message that belongs to no channel; see ``Codec``."""
