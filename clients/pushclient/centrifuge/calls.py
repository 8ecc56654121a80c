"""The application's calls: channels and commands."""
from __future__ import annotations

import logging
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from pushserver.channels.publication import Position

from ..errors import ConnectionClosed
from .answers import Answers
from .link import ChannelLink
from .protocol import ChannelProtocol
from .subscription import Since
from .tokens import ChannelToken

logger = logging.getLogger("pushclient")


class Links(Protocol):
    """Where calls find their connection. For any thread."""

    @property
    def link(self) -> ChannelLink | None:
        """Return the current link, open or not yet; None: there is none."""

    @property
    def is_nested(self) -> bool:
        """Tell whether the caller is a signal handler that has interrupted another call."""

    @property
    def must_not_wait(self) -> bool:
        """Tell whether the caller is that, or on the client's thread, which must read."""

    def open_link(self, timeout: float) -> ChannelLink:
        """Return an open link; wait for one if need be.

        Raises:
            NotConnected: none was open in time.
            ConnectionClosed: the client is closed.
        """


class Calls:
    """Enter and leave channels, and run commands on the server. For any thread.

    Args:
        protocol: what the client knows of its channels.
        answers: hold a future for each command.
        links: where the connection is found.
        timeout: seconds to wait for a connection, and then for an answer.
    """

    def __init__(self, protocol: ChannelProtocol, answers: Answers, links: Links,
                 timeout: float) -> None:
        self._protocol = protocol
        self._answers = answers
        self._links = links
        self._timeout = timeout

    def subscribe(self, channel: str, since: Since, token: ChannelToken) -> None:
        """See ``PushClient.subscribe``."""
        self._protocol.subscribe(channel, since, token)
        link = self._links.link
        if link is not None:
            link.enter()

    def unsubscribe(self, channel: str) -> None:
        """See ``PushClient.unsubscribe``."""
        with self._protocol.lock:  # else a connection that begins meanwhile subscribes to it
            link = self._links.link
            if link is not None:
                link.leave(channel)
            else:
                self._protocol.unsubscribe(channel)

    def position(self, channel: str) -> Position | None:
        """See ``PushClient.position``."""
        return self._protocol.position(channel)

    def run(self, name: str, request: dict[str, Any], timeout: float | None = None) -> Any:
        """Run a command on the server and return its result.

        Raises:
            PushError, TimeoutError: see ``PushClient``.
        """
        if self._links.must_not_wait:
            raise ConnectionClosed("a callback, or a signal handler that has interrupted another "
                                   f"call, cannot wait for an answer: call {name} elsewhere")
        seconds = self._timeout if timeout is None else timeout
        with self._answers.awaited():
            future = self._links.open_link(seconds).command(name, request, wake=True)
            try:
                return future.result(seconds)
            except FutureTimeout:
                raise TimeoutError(f"no answer within {seconds:g} s") from None

    def publish(self, request: dict[str, Any], timeout: float | None = None) -> None:
        """Publish and wait for the server, or where that cannot be, log a later error."""
        if self._links.must_not_wait:
            link = self._links.open_link(self._timeout if timeout is None else timeout)
            future = link.command("publish", request, wait=not self._links.is_nested)
            future.add_done_callback(_log_failure)
        else:
            self.run("publish", request, timeout)


def _log_failure(future: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        logger.error("publishing from a callback failed: %s", error)
