"""What a server of Centrifugo's protocol can say, as values."""
from __future__ import annotations

from typing import Any, NamedTuple, Union

from ..errors import CommandFailed


class Publication(NamedTuple):
    """What was published to a channel.

    Attributes:
        channel: its name; empty for what the site sent to the Id or to everybody.
        data: what JSON made of it.
        offset: its place in the channel's history, from 1; 0 if the channel remembers nothing.
        epoch: names the history; with ``offset`` this is the position to go on from.
        info: the client that published it, with ``user`` and ``client``; None: the site.
        tags: names and values that came with it, or None.
        after_gap: right before this one, publications may have been lost.
        size: characters that it had on the way.
    """

    channel: str
    data: Any
    offset: int = 0
    epoch: str = ""
    info: Any = None
    tags: Any = None
    after_gap: bool = False
    size: int = 0


def size_of(publication: Publication) -> int:
    """Return what a publication counts with in a queue."""
    return publication.size


class Presence(NamedTuple):
    """Who came into a channel, or left it; ``info`` has ``user`` and ``client``."""

    channel: str
    info: Any
    joined: bool


class Ping(NamedTuple):
    """The server asks whether the client is there."""


class Connected(NamedTuple):
    """The server knows the client, and calls it so; ``data`` is what it sent along, or None."""

    client: str
    data: Any


class Gap(NamedTuple):
    """What the client has missed of a channel is lost."""

    channel: str


class Retry(NamedTuple):
    """A subscription or a token has failed, so many times in a row, and is to be tried again.

    Attributes:
        channel: its name; empty for the connection's token.
        failures: 0: try again at once; else after a delay of the back-off.
        why: what failed.
    """

    channel: str
    failures: int
    why: str = ""


class TokenExpiry(NamedTuple):
    """A token is good for ``ttl`` seconds more; without a ``channel`` it is the connection's."""

    channel: str
    ttl: float


class Reply(NamedTuple):
    """The server's answer to a command of the application: a result, or an error."""

    number: int
    result: dict[str, Any]
    error: CommandFailed | None


Event = Union[Publication, Presence, Ping, Connected, Gap, Retry, TokenExpiry, Reply,
              CommandFailed]
