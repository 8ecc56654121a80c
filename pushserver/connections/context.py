"""What all connections of one run of the server share."""
from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ..channels.hub import Hub
from ..channels.node import Node
from ..runtime.account import Account
from ..runtime.runtime import Runtime
from ..settings import Settings
from ..tokens import Tokens
from .backpressure import Backpressure


class Events(Protocol):
    """Told, on a worker thread, what happens to connections."""

    def opened(self, connection: Any) -> None:
        """A connection is open."""

    def received(self, connection: Any, message: Any) -> None:
        """A connection has received a message."""

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """A connection has ended."""


class Context(NamedTuple):
    """What a connection's parts need from the rest of the server.

    Attributes:
        settings: the site's settings.
        tokens: checks tokens, or None.
        runtime: the threads.
        hub: the connections.
        node: the channels.
        account: the bytes that all connections hold.
        backpressure: has publishers wait for connections.
        events: told what happens to connections.
        server: the push server, for the site's own handlers.
    """

    settings: Settings
    tokens: Tokens | None
    runtime: Runtime
    hub: Hub[Any]
    node: Node[Any]
    account: Account
    backpressure: Backpressure
    events: Events
    server: object
