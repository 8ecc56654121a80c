"""Centrifugo's JSON protocol from the client's side: what to say, and when. No I/O.

Source: Centrifugo client protocol, version 2.
"""
from __future__ import annotations

import functools
import threading
import time
from typing import Callable

from pushserver.channels.publication import Position
from pushserver.channels.rules import checked_channel

from ..errors import ChannelLost, InvalidSetting
from .commands import SentCommands, Json
from .events import Event, Retry
from .replies import Replies
from .subscription import (AWAITING_TOKEN, BACKING_OFF, OUT, SUBSCRIBED, SUBSCRIBING,
                           ChannelsOption, Since, Subscription, checked_channels, checked_options)
from .tokens import ChannelToken, Token, TokenRequest, TokenState, checked_token

PERMISSION_DENIED = 103
"""The server's error for a token that it does not accept; ours if a function returns none."""

TOO_SLOW = "the token function has not returned in time"

PONG = "{}"


class ChannelProtocol:
    """Keep the state of a client's channels, across all its connections. For any thread.

    On each connection, ``begin`` returns what to say first and ``receive`` takes what the server
    says; after ``Connected``, ``enter`` returns what to say next. ``take_requests`` returns the
    tokens that this needs; each is followed by ``token_came`` or ``token_failed``. ``due`` is for
    a channel whose time has come, after ``Retry`` or ``TokenExpiry``.

    Args:
        channels: those to subscribe to.
        token: what says who the client is.
        clock: returns seconds.

    Attributes:
        lock: held from asking what to say until it is said, which keeps the order.
        turn: counts connections: what ``enter`` returns is for the latest only.
        token: the state of the connection's token.
    """

    def __init__(self, channels: ChannelsOption = (), token: Token = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self.turn = 0
        self.token = TokenState(checked_token(token))
        self._subscriptions = {name: Subscription(options)
                               for name, options in checked_channels(channels).items()}
        self._commands = SentCommands()
        self._replies = Replies(self._subscriptions, self.token, self._commands, clock)
        self._tickets = 0
        self._requests: list[TokenRequest] = []

    def __repr__(self) -> str:
        return f"<ChannelProtocol in {len(self.subscribed())} of {len(self._subscriptions)}>"

    def position(self, channel: str) -> Position | None:
        """Return the position reached in a channel; None: none, or it has no history."""
        with self.lock:
            one = self._subscriptions.get(channel)
            return Position(one.offset, one.epoch) if one and one.epoch else None

    def subscribed(self) -> list[str]:
        """Return the channels that the client is in now."""
        with self.lock:
            return [name for name, one in self._subscriptions.items() if one.state == SUBSCRIBED]

    def receive(self, text: str) -> list[Event]:
        """Return what a frame from the server says, in order.

        Raises:
            CommandFailed: it does not belong to this protocol.
        """
        with self.lock:
            return self._replies.read(text)

    # what to say

    def begin(self, token: str = "") -> str:
        """Return the first frame of a new connection; drop what belongs to the last one."""
        with self.lock:
            self.turn += 1
            self._commands.forget()
            self._requests.clear()
            self._replies.is_connected = False
            self.token.ticket = self.token.failures = 0
            subs = {}
            for name, subscription in self._subscriptions.items():
                subscription.reset()
                if subscription.by_server:
                    subs[name] = subscription.request()
            request: Json = {"name": "pushclient"}
            if token:
                request["token"] = token
            if subs:
                request["subs"] = subs
            return self._commands.ask("connect", request)[1]

    def enter(self) -> str:
        """Return a frame that subscribes to what is wanted but not yet requested; or empty."""
        with self.lock:
            if not self._replies.is_connected:
                return ""
            lines = [self._enter(name, one) for name, one in list(self._subscriptions.items())
                     if one.state == OUT and one.is_wanted]
            return "\n".join(filter(None, lines))

    def _enter(self, channel: str, subscription: Subscription) -> str:
        source = subscription.token.source
        if not callable(source):
            return self._subscribe(channel, subscription, source)
        subscription.state = AWAITING_TOKEN
        self._request_token(channel, subscription.token)
        return ""

    def _subscribe(self, channel: str, subscription: Subscription, token: str | None) -> str:
        subscription.state = SUBSCRIBING
        request = {"channel": channel, **subscription.request()}
        if token:
            request["token"] = token
        subscription.command, text = self._commands.ask("subscribe", request, channel)
        return text

    def subscribe(self, channel: str, since: Since = None, token: ChannelToken = None) -> None:
        """Add a channel, which the next ``enter`` subscribes to.

        Raises:
            InvalidSetting: it was added before, or an argument cannot work.
        """
        options = checked_options(since, token)
        with self.lock:
            if channel in self._subscriptions:
                raise InvalidSetting(f"channel {channel!r} is already subscribed to")
            self._subscriptions[checked_channel(channel)] = Subscription(options)

    def unsubscribe(self, channel: str) -> str:
        """Remove a channel; return a frame that says so, or empty if the server need not know."""
        with self.lock:
            subscription = self._subscriptions.pop(channel, None)
            if subscription is None or subscription.state not in (SUBSCRIBING, SUBSCRIBED):
                return ""
            return self.command("unsubscribe", {"channel": channel})[1]

    def command(self, name: str, request: Json) -> tuple[int, str]:
        """Return the number and text of one of the application's commands.

        Raises:
            InvalidData: JSON cannot hold it.
        """
        with self.lock:
            return self._commands.encode(name, request)

    # tokens that functions return

    def take_requests(self) -> list[TokenRequest]:
        """Return the requests for tokens made since the last call."""
        with self.lock:
            requests, self._requests = self._requests, []
            return requests

    def due(self, channel: str) -> list[Event]:
        """Go on with a channel whose time has come, or with the connection's token."""
        with self.lock:
            token = self._token_of(channel)
            if token is None:
                return []
            subscription = self._subscriptions.get(channel)
            state = subscription.state if subscription is not None else SUBSCRIBED
            if subscription is not None and state == BACKING_OFF:
                subscription.state = OUT
            elif state == AWAITING_TOKEN:
                return [self._without_token(channel, token, TOO_SLOW)]  # but it may still come
            elif token.ticket:
                token.ticket = 0
                return [self._without_token(channel, token, TOO_SLOW)]
            elif token.is_renewable and state == SUBSCRIBED:
                self._request_token(channel, token)
            return []

    def token_came(self, request: TokenRequest, token: str) -> str:
        """Return a frame that uses a token; empty: it is no longer needed."""
        with self.lock:
            if self._take(request) is None:
                return ""
            channel = request.channel
            if not channel:
                return self._commands.ask("refresh", {"token": token})[1]
            subscription = self._subscriptions[channel]
            if subscription.state in (AWAITING_TOKEN, BACKING_OFF):
                return self._subscribe(channel, subscription, token)
            refresh = {"channel": channel, "token": token}
            subscription.command, text = self._commands.ask("sub_refresh", refresh, channel)
            return text

    def token_failed(self, request: TokenRequest, why: str, *, for_good: bool = False
                     ) -> list[Event]:
        """Take note that there is no token; return what follows.

        Args:
            request: the one that failed.
            why: in a few words.
            for_good: there will be none. If the client is subscribed, it stays until the server
                ends that.
        """
        with self.lock:
            token = self._take(request)
            if token is None:
                return []
            channel = request.channel
            state = self._subscriptions[channel].state if channel else SUBSCRIBED
            if for_good and state in (AWAITING_TOKEN, BACKING_OFF):
                del self._subscriptions[channel]
                return [ChannelLost(channel, PERMISSION_DENIED, why)]
            if state == BACKING_OFF:
                return []  # the next attempt asks for another
            return [self._without_token(channel, token, why)]

    def _without_token(self, channel: str, token: TokenState, why: str) -> Retry:
        subscription = self._subscriptions.get(channel)
        if subscription is not None and subscription.state == AWAITING_TOKEN:
            return Retry(channel, subscription.fail(), why)
        token.failures += 1
        return Retry(channel, token.failures, why)

    def _token_of(self, channel: str) -> TokenState | None:
        if not channel:
            return self.token
        subscription = self._subscriptions.get(channel)
        return subscription.token if subscription is not None else None

    def _request_token(self, channel: str, token: TokenState) -> None:
        assert callable(token.source)
        self._tickets += 1
        token.ticket = self._tickets
        get = functools.partial(token.source, channel) if channel else token.source
        self._requests.append(TokenRequest(channel, token.ticket, get))

    def _take(self, request: TokenRequest) -> TokenState | None:
        """Return the state that a token is for, None if it is no longer needed."""
        token = self._token_of(request.channel)
        if token is None or token.ticket != request.ticket:
            return None
        token.ticket = 0
        return token
