"""One of the connections that a ``PushClient`` goes through."""
from __future__ import annotations

from typing import Any, Protocol, Sequence

from pushserver.wire.disconnects import ABNORMAL, Disconnect
from pushserver.wire.parser import FrameReader, Received

from .connection import WebSocketClient
from .connect import Resolver
from ..errors import PushError
from ..inbox import Value
from .waker import Waker
from .transport import LOST

VALUES = frozenset({str, bytes})


class Owner(Protocol):
    """What a link asks of its client; on the client's thread."""

    waker: Waker
    resolver: Resolver

    def link_opened(self) -> None:
        """Take note that the server agreed."""

    def link_received(self, values: Sequence[Value]) -> None:
        """Take messages; return once they are stored or handled."""


class Link(WebSocketClient):
    """A connection that runs on its client's thread and hands on messages as plain values.

    Args:
        owner: the client.
        url: see ``WebSocketClient``, which also takes the rest.

    Attributes:
        has_received: whether a message has come.
        failure: what says more of the end than its code, or None.
    """

    def __init__(self, owner: Owner, url: str, **rest: Any) -> None:
        self._owner = owner
        self.has_received = False
        self.failure: PushError | None = None
        super().__init__(url, **rest)

    @property
    def ended(self) -> Disconnect:
        """Return how the connection ended."""
        return self._end or Disconnect(ABNORMAL.code, LOST)

    def handshake_ok(self) -> None:
        """Start no thread: the client's calls ``run``."""

    def opened(self) -> None:
        """Tell the client."""
        self._owner.link_opened()

    def give_up_calls(self) -> None:
        """End calls that wait for an answer: here are none."""

    def wait_without_reading(self) -> None:
        """Write what waits to be written, until the client is woken."""
        if self._wire is not None:
            self._wire.wait(None, reading=False)

    def _take(self, received: Sequence[Received]) -> None:
        values: Sequence[Any] = received
        if not VALUES.issuperset(map(type, received)):
            values = [item for item in received if type(item) in VALUES]
            for item in received:
                if type(item) not in VALUES and not isinstance(item, Disconnect):
                    self._control(item)
        if values:
            self._take_values(values)
        if received and isinstance(received[-1], Disconnect):  # nothing comes behind it
            self._control(received[-1])

    def _take_values(self, values: Sequence[Any]) -> None:
        """Hand messages on."""
        self.has_received = True
        self._owner.link_received(values)

    def _make_reader(self, max_message_size: int) -> FrameReader:
        return FrameReader(max_message_size, from_client=False, values=True)

    def _make_waker(self) -> Waker:
        return self._owner.waker

    def _make_resolver(self) -> Resolver:
        return self._owner.resolver

    def _dispose(self) -> None:
        self._ended.set()  # the waker is the client's
