"""The protocol's commands and results as values, independent of any codec.

Data from the site, such as an answer to ``rpc``, is JSON as bytes. Publications in a result are
also bytes, as the client's codec encodes them: their size counts, and each is encoded once.

Source: Centrifugo client protocol, version 2; centrifugal/protocol, client.proto.
"""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence, Union

from ..channels.publication import Position
from .errors import CommandError


class ConnectRequest(NamedTuple):
    """Introduce the client; ``subs`` has the last position seen of each channel, by name."""

    token: str
    name: str
    data: Any
    subs: Mapping[str, Position | None]


class RefreshRequest(NamedTuple):
    """Send a new token."""

    token: str


class SubscribeRequest(NamedTuple):
    """Enter a channel.

    Attributes:
        channel: its name.
        token: for a private channel; empty: none.
        since: the last position seen of it; None: no recovery.
        must_recover: answer with error 112 if recovery is impossible.
    """

    channel: str
    token: str
    since: Position | None
    must_recover: bool


class UnsubscribeRequest(NamedTuple):
    """Leave a channel."""

    channel: str


class SubRefreshRequest(NamedTuple):
    """Send a new token for a channel."""

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
    """Ask how many clients and users are in a channel."""

    channel: str


class HistoryRequest(NamedTuple):
    """Read a channel's history; see ``PushServer.history``."""

    channel: str
    limit: int | None
    since: Position | None
    reverse: bool


class PingRequest(NamedTuple):
    """Ask whether the server is alive."""


class SendRequest(NamedTuple):
    """Send something that belongs to no channel and has no answer."""

    data: Any


class RpcRequest(NamedTuple):
    """Call a method of the site."""

    method: str
    data: Any


class Pong(NamedTuple):
    """Answer the server's ping."""


Request = Union[ConnectRequest, RefreshRequest, SubscribeRequest, UnsubscribeRequest,
                SubRefreshRequest, PublishRequest, PresenceRequest, PresenceStatsRequest,
                HistoryRequest, PingRequest, SendRequest, RpcRequest, Pong]


class Command(NamedTuple):
    """A client's command.

    Attributes:
        number: the client's, repeated in the reply; 0: it has none.
        request: what it asks for, or the error to answer it with.
    """

    number: int
    request: Request | CommandError


class SubscribeResult(NamedTuple):
    """The client is in the channel.

    Attributes:
        ttl: seconds that its token is valid; None: it does not expire.
        position: where the client continues from; None: the channel has no history.
        recovered: ``publications`` are all that was missed.
        was_recovering: the client had asked for recovery.
        publications: what was missed, each as the codec encodes it.
        data: what the site tells the client with the subscription, as JSON, or None.
    """

    ttl: int | None = None
    position: Position | None = None
    recovered: bool = False
    was_recovering: bool = False
    publications: Sequence[bytes] = ()
    data: bytes | None = None


class ConnectResult(NamedTuple):
    """The client is connected.

    Attributes:
        client: the connection's name.
        version: the server's.
        ttl: seconds that its token is valid; None: it does not expire.
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
    """How many seconds the connection's new token is valid; None: it does not expire."""

    client: str
    ttl: int | None


class UnsubscribeResult(NamedTuple):
    """The client has left the channel."""


class SubRefreshResult(NamedTuple):
    """How many seconds a channel's new token is valid; None: it does not expire."""

    ttl: int | None


class PublishResult(NamedTuple):
    """The data is published."""


class PresenceResult(NamedTuple):
    """Who is in a channel, already encoded; see ``ProtocolCodec.clients``."""

    clients: bytes


class PresenceStatsResult(NamedTuple):
    """How many clients and users are in a channel."""

    clients: int
    users: int


class HistoryResult(NamedTuple):
    """A channel's history, each publication as the codec encodes it."""

    publications: Sequence[bytes]
    top: Position


class RpcResult(NamedTuple):
    """The site's answer, as JSON, or None."""

    data: bytes | None


Result = Union[ConnectResult, RefreshResult, SubscribeResult, UnsubscribeResult, SubRefreshResult,
               PublishResult, PresenceResult, PresenceStatsResult, HistoryResult, RpcResult]
