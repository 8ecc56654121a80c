"""One of the connections that a ``PushClient`` without channels goes through."""
from __future__ import annotations

from typing import Callable, Sequence, Union

from pushserver.wire.disconnects import Disconnect
from ws4py.messaging import PongControlMessage

from ..options import ConnectionOptions
from .connection import Connection
from .waker import NEVER

DeliverMessages = Callable[[Sequence[Union[str, bytes]], Connection], None]
"""Takes messages, and the connection that they came on; returns once they are stored or handled."""


class PlainLink:
    """A connection whose messages are what the site sends: text and bytes.

    Args:
        options: of the connection.
        deliver: gets the messages.
        opened: called when the server has agreed.

    Attributes:
        connection: the connection.
        failure: None: how it ended says all there is to say.
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
        """Hand messages on."""
        self.has_received = True
        self._deliver(messages, self.connection)

    def ponged(self, pong: PongControlMessage) -> None:
        """Do nothing: any traffic counts as an answer."""

    def run_due(self) -> None:
        """Do nothing: nothing is ever due."""

    def closed(self, end: Disconnect) -> None:
        """Do nothing: the client asks the connection how it ended."""
