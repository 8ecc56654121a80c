"""What the protocol's clients ask, and what they are answered, as values: no codec shows in them.

Data of the site's, such as an answer to ``rpc``, is bytes of JSON. Publications in a result are
bytes, too, as the client's codec encodes them: their size counts, and each is encoded once.

Source: Centrifugo client protocol, version 2; centrifugal/protocol, client.proto.
"""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence, Union

from ..channels.presence import Info
from ..channels.publication import Position
from .errors import CommandError


class ConnectRequest(NamedTuple):
    """Say who one is; ``subs`` is what was seen of channels, by their names."""

    token: str
    name: str
    data: Any
    subs: Mapping[str, Position | None]


class RefreshRequest(NamedTuple):
    """Show a newer token."""

    token: str


class SubscribeRequest(NamedTuple):
    """Enter a channel.

    Attributes:
        channel: its name.
        token: for a private channel; empty: none.
        since: what was seen of it; None: it is not to be recovered.
        must_recover: answer with error 112 if that cannot be done.
    """

    channel: str
    token: str
    since: Position | None
    must_recover: bool


class UnsubscribeRequest(NamedTuple):
    """Leave a channel."""

    channel: str


class SubRefreshRequest(NamedTuple):
    """Show a newer token for a channel."""

    channel: str
    token: str


class PublishRequest(NamedTuple):
    """Publish to a channel."""

    channel: str
    data: Any


class PresenceRequest(NamedTuple):
    """Ask who is in a channel."""

    channel: str


class PresenceStatsRequest(NamedTuple):
    """Ask how many are in a channel."""

    channel: str


class HistoryRequest(NamedTuple):
    """Read what a channel remembers; see ``PushServer.history``."""

    channel: str
    limit: int | None
    since: Position | None
    reverse: bool


class PingRequest(NamedTuple):
    """Ask whether the server is there."""


class SendRequest(NamedTuple):
    """Send something that belongs to no channel and has no answer."""

    data: Any


class RpcRequest(NamedTuple):
    """Call a method of the site's."""

    method: str
    data: Any


class Pong(NamedTuple):
    """Answer a ping of the server's."""


Request = Union[ConnectRequest, RefreshRequest, SubscribeRequest, UnsubscribeRequest,
                SubRefreshRequest, PublishRequest, PresenceRequest, PresenceStatsRequest,
                HistoryRequest, PingRequest, SendRequest, RpcRequest, Pong]


class Command(NamedTuple):
    """What a client asks.

    Attributes:
        number: the client's, to be repeated in the reply; 0: it has none.
        request: what it asks, or the error that has to answer it.
    """

    number: int
    request: Request | CommandError


class SubscribeResult(NamedTuple):
    """A place in a channel.

    Attributes:
        ttl: seconds that its token is good; None: it does not expire.
        position: where the client goes on from; None: the channel remembers nothing.
        recovered: ``publications`` are all that was missed.
        was_recovering: the client had asked for that.
        publications: what was missed, each as the codec encodes it.
        data: what the site tells the client along with it, as JSON, or None.
    """

    ttl: int | None = None
    position: Position | None = None
    recovered: bool = False
    was_recovering: bool = False
    publications: Sequence[bytes] = ()
    data: bytes | None = None


class ConnectResult(NamedTuple):
    """That the server knows the client.

    Attributes:
        client: names the connection.
        version: the server's.
        ttl: seconds that its token is good; None: it does not expire.
        ping: seconds between the server's pings; 0: there are none.
        data: what the site tells the client, as JSON, or None.
        subs: the channels that it is in from the start.
    """

    client: str
    version: str
    ttl: int | None
    ping: int
    data: bytes | None
    subs: Mapping[str, SubscribeResult]


class RefreshResult(NamedTuple):
    """For how many seconds the connection's new token is good; None: it does not expire."""

    client: str
    ttl: int | None


class UnsubscribeResult(NamedTuple):
    """That the client is out of the channel."""


class SubRefreshResult(NamedTuple):
    """For how many seconds a channel's new token is good; None: it does not expire."""

    ttl: int | None


class PublishResult(NamedTuple):
    """That it is published."""


class PresenceResult(NamedTuple):
    """Who is in a channel, by client."""

    clients: Mapping[str, Info]


class PresenceStatsResult(NamedTuple):
    """How many are in a channel."""

    clients: int
    users: int


class HistoryResult(NamedTuple):
    """What a channel remembers, each publication as the codec encodes it."""

    publications: Sequence[bytes]
    top: Position


class RpcResult(NamedTuple):
    """What the site answers, as JSON, or None."""

    data: bytes | None


Result = Union[ConnectResult, RefreshResult, SubscribeResult, UnsubscribeResult, SubRefreshResult,
               PublishResult, PresenceResult, PresenceStatsResult, HistoryResult, RpcResult]
