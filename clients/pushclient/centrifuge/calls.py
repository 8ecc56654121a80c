"""What an application asks of the server's channels."""
from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Callable

from pushserver.channels.publication import Position

from .tokens import Asking
from .link import ChannelLink
from .protocol import Channels
from ..errors import ChannelLost, CommandFailed, ConnectionClosed, InvalidSetting
from .events import Gap, Presence, Publication
from ..websocket.link import Link
from .wanted import ChannelToken, Since, Token, Wanted, checked_token

logger = logging.getLogger("pushclient")


class Calling:
    """The methods of ``PushClient`` that need ``channels``. Safe from any thread.

    Those that return something wait for the server's answer, at most ``timeout`` seconds, the
    client's own by default, and raise

    - ``CommandFailed``: the server answered with an error
    - ``NotConnected``: no connection was open in time; nothing was sent
    - ``ConnectionClosed``: the connection was lost meanwhile; the command may have been run
    - ``QueueFull``: so many messages came meanwhile, which nobody takes, that reading has stopped;
      the command may have been run
    - ``TimeoutError``: no answer came in time
    - ``InvalidSetting``: the client was made without ``channels``
    """

    channels: Channels
    token: Token
    asking: Asking
    _has_channels: bool
    _timeout: float
    _thread: threading.Thread | None
    _link: Link | None

    def _call(self, callback: Callable[[Any], object], argument: Any) -> None:
        raise NotImplementedError

    def _speak(self, channels: Wanted | None, token: Token,
               on_gap: Callable[[Gap], object] | None,
               on_lost: Callable[[ChannelLost], object] | None,
               on_presence: Callable[[Presence], object] | None) -> None:
        """Take what has to do with channels."""
        self._callers = 0       # threads that wait for an answer: until then all is read
        self._callers_lock = threading.RLock()
        self._has_channels = channels is not None
        if channels is None and (token or on_gap or on_lost or on_presence):
            raise InvalidSetting("token and on_gap, on_lost, on_presence need channels=[...]")
        self.token = checked_token(token or None)
        self.channels = Channels(channels or (), self.token)
        self.asking = Asking()
        self._on_gap, self._on_lost, self._on_presence = on_gap, on_lost, on_presence

    def _open_link(self, timeout: float) -> Link:
        raise NotImplementedError

    def subscribe(self, channel: str, since: Since = None, *,
                  token: ChannelToken = None) -> None:
        """Be in one more channel from now on; returns at once, connected or not.

        Args:
            channel: its name.
            since: what has been seen of it, an offset and an epoch; None: nothing.
            token: for a private channel, a JWT, or a function that is called with the channel's
                name and returns one.

        Raises:
            InvalidSetting: the client is in it already, or it cannot be a channel.
        """
        self._check_has_channels()
        self.channels.want(channel, since, token)
        link = self._link
        if isinstance(link, ChannelLink):
            link.enter()

    def unsubscribe(self, channel: str) -> None:
        """Be in a channel no more; returns at once. Nothing of it is delivered after that."""
        self._check_has_channels()
        with self.channels.lock:  # a connection that begins meanwhile would still want it
            link = self._link
            if isinstance(link, ChannelLink):
                link.leave(channel)
            else:
                self.channels.leave(channel)

    def publish(self, channel: str, data: Any, *, timeout: float | None = None) -> None:
        """Publish what JSON can hold, where the server lets clients do that.

        From a callback it returns at once; what the server has against it is logged.
        """
        request = {"channel": channel, "data": data}
        if self._thread is threading.current_thread():
            self._send_command("publish", request, timeout).add_done_callback(_log_failure)
        else:
            self._call_server("publish", request, timeout)

    def rpc(self, method: str, data: Any = None, *, timeout: float | None = None) -> Any:
        """Call a method of the site and return its answer. Not from a callback."""
        request = {"method": method} if data is None else {"method": method, "data": data}
        return self._call_server("rpc", request, timeout).get("data")

    def presence(self, channel: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Return who is in a channel: ``user``, ``client`` by client. Not from a callback."""
        found: dict[str, Any] = self._call_server("presence", {"channel": channel},
                                                  timeout).get("presence", {})
        return found

    def history(self, channel: str, limit: int = -1, since: tuple[int, str] | None = None, *,
                reverse: bool = False, timeout: float | None = None) -> list[Publication]:
        """Return what a channel remembers. Not from a callback.

        Args:
            channel: its name.
            limit: publications at most; -1: all.
            since: only those behind this offset and epoch, or before it if reversed.
            reverse: the newest first.
            timeout: see the class.
        """
        request: dict[str, Any] = {"channel": channel, "limit": limit, "reverse": reverse}
        if since is not None:
            request["since"] = {"offset": since[0], "epoch": since[1]}
        found = self._call_server("history", request, timeout)
        return [Publication(channel, one["data"], one.get("offset", 0), found.get("epoch", ""),
                            one.get("info"), one.get("tags"))
                for one in found.get("publications", ())]

    def position(self, channel: str) -> Position | None:
        """Return the offset and epoch of what was received last; None: nothing to go on from."""
        return self.channels.position(channel)

    def link_told(self, event: Gap | Presence | CommandFailed) -> None:
        """Tell the application of what is no publication; on the client's thread."""
        if isinstance(event, ChannelLost):
            logger.info("%s", event)
            if self._on_lost is not None:
                self._call(self._on_lost, event)
            elif isinstance(self._link, ChannelLink):
                self._link.fail(event)
        elif isinstance(event, Gap) and self._on_gap is not None:
            self._call(self._on_gap, event)
        elif isinstance(event, Presence) and self._on_presence is not None:
            self._call(self._on_presence, event)

    def _check_has_channels(self) -> None:
        if not self._has_channels:
            raise InvalidSetting("this client speaks no protocol: make it with channels=[...]")

    def _send_command(self, name: str, request: dict[str, Any],
                      timeout: float | None) -> "Future[Any]":
        self._check_has_channels()
        link = self._open_link(self._timeout if timeout is None else timeout)
        assert isinstance(link, ChannelLink)
        return link.command(name, request, wake=bool(self._callers))

    def _call_server(self, name: str, request: dict[str, Any], timeout: float | None) -> Any:
        if self._thread is threading.current_thread():
            raise ConnectionClosed(f"a callback cannot wait for an answer: call {name} elsewhere")
        with self._callers_lock:
            self._callers += 1
        try:
            return self._result(self._send_command(name, request, timeout), timeout)
        finally:
            with self._callers_lock:
                self._callers -= 1

    def _result(self, future: "Future[Any]", timeout: float | None) -> Any:
        seconds = self._timeout if timeout is None else timeout
        try:
            return future.result(seconds)
        except FutureTimeout:
            raise TimeoutError(f"no answer within {seconds:g} s") from None


def _log_failure(future: "Future[Any]") -> None:
    error = future.exception()
    if error is not None:
        logger.error("publishing from a callback failed: %s", error)
