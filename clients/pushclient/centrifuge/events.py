"""What a server that speaks Centrifugo's protocol can say, as values."""
from __future__ import annotations

from typing import Any, NamedTuple, Union

from ..errors import CommandFailed


class Publication(NamedTuple):
    """Something that was published to a channel.

    Attributes:
        channel: its name; empty if the site sent this to the Id or to everybody.
        data: what was published, decoded from JSON.
        offset: its place in the channel's history, from 1; 0 if the channel remembers nothing.
        epoch: identifies the history; with ``offset``, the position to resume from.
        info: the client that published it, as ``user`` and ``client``; None: the site.
        tags: a mapping that came with it, or None.
        after_gap: publications may have been lost right before this one.
        size: its length in transit, in characters.
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
    """Return the size of a publication in a queue."""
    return publication.size


class Presence(NamedTuple):
    """Who joined a channel, or left it; ``info`` has ``user`` and ``client``."""

    channel: str
    info: Any
    joined: bool


class Ping(NamedTuple):
    """The server asks whether the client is there."""


class Connected(NamedTuple):
    """The server has accepted the client under this name; ``data`` came with that, or None."""

    client: str
    data: Any


class Gap(NamedTuple):
    """What the client missed in a channel is lost."""

    channel: str


class Retry(NamedTuple):
    """A subscription or a token has failed and is to be tried again.

    Attributes:
        channel: its name; empty for the connection's token.
        failures: how many in a row, which sets the delay; 0: try again at once.
        why: what went wrong.
    """

    channel: str
    failures: int
    why: str = ""


class TokenExpiry(NamedTuple):
    """A token is valid for ``ttl`` more seconds; without ``channel`` it is the connection's."""

    channel: str
    ttl: float


class Reply(NamedTuple):
    """The server's answer to one of the application's commands: a result or an error."""

    number: int
    result: dict[str, Any]
    error: CommandFailed | None


Event = Union[Publication, Presence, Ping, Connected, Gap, Retry, TokenExpiry, Reply,
              CommandFailed]
