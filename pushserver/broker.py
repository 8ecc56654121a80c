"""Where publications pass on their way from a site's threads to the hub.

This is the place for history, positions and the way to other nodes. ``LocalBroker`` has none of
these: what is published goes straight to the connections of this process.
"""
from __future__ import annotations

from typing import Callable, Protocol

from .frames import Data

Deliver = Callable[[str, Data], None]
"""Queues one publication for the subscribers of a channel: ``deliver(channel, data)``."""


class Broker(Protocol):
    """Take publications and hand each to every node, in one order for each channel.

    ``publish`` may be called from any thread and never waits for a client's socket.
    """

    def publish(self, channel: str, data: Data) -> None:
        """Append one publication to a channel and have it delivered to its subscribers.

        Raises:
            InvalidData: ``data`` cannot be put into a message; nothing was published.
            MessageTooLarge: it would not fit any outbox; nothing was published.
        """


class LocalBroker:
    """Deliver each publication at once, in this process, and remember nothing."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def publish(self, channel: str, data: Data) -> None:
        """See ``Broker.publish``."""
        self._deliver(channel, data)
