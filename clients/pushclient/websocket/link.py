"""The link of a ``PushClient`` without channels: one of its connections."""
from __future__ import annotations

from typing import Callable, Sequence, Union

from pushserver.wire.disconnects import Disconnect
from ws4py.messaging import PongControlMessage

from ..options import ConnectionOptions
from .connection import Connection
from .waker import NEVER

DeliverMessages = Callable[[Sequence[Union[str, bytes]], Connection], None]
"""Takes messages and their connection; returns once they are stored or handled."""


class PlainLink:
    """A connection whose messages are what the site sends: text and bytes.

    Args:
        options: the connection's.
        deliver: gets the messages.
        opened: called when the server has agreed.

    Attributes:
        connection: the connection.
        failure: always None: the close code says it all.
        has_received: whether a message has come.
    """

    due = NEVER
    failure = None

    def __init__(self, options: ConnectionOptions, deliver: DeliverMessages,
                 opened: Callable[[], None]) -> None:
        self.connection = Connection(self, options, values=True)
        self.has_received = False
        self._opened = opened
        self._deliver = deliver

    def opened(self) -> None:
        """Tell the client."""
        self._opened()

    def received(self, messages: Sequence[Union[str, bytes]]) -> None:
        """Pass messages on."""
        self.has_received = True
        self._deliver(messages, self.connection)

    def ponged(self, pong: PongControlMessage) -> None:
        """Do nothing: any traffic counts as an answer."""

    def run_due(self) -> None:
        """Do nothing: nothing is ever due."""

    def closed(self, end: Disconnect) -> None:
        """Do nothing: the client asks the connection how it ended."""
