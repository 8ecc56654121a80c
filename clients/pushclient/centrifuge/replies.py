"""What a server that speaks Centrifugo's protocol says, as events. No I/O.

Source: Centrifugo client protocol, version 2.
"""
from __future__ import annotations

import json
from typing import Callable, Iterator, NamedTuple

from ..errors import ChannelLost, CommandFailed
from .commands import SentCommands, Json
from .events import (Connected, Event, Gap, Ping, Presence, Publication, Reply, Retry,
                     TokenExpiry)
from .subscription import SUBSCRIBED, Subscription
from .tokens import TokenState

ALREADY_SUBSCRIBED = 105
"""The error for a channel that the server has already subscribed the client to."""

TOKEN_EXPIRED = 109
"""The error for a token that needs replacing."""

FIRST_RESUBSCRIBE = 2500
"""An unsubscription by the server with this code or a higher one means: subscribe again."""

LEFT_BY_SERVER = 2000, "server unsubscribe"

SHORTEST_TTL = 1.0
"""Seconds for which a token is taken to be valid, even if the server says less."""


class Failure(NamedTuple):
    """The error in a reply."""

    code: int
    message: str
    temporary: bool


class Replies:
    """Read what the server says, and update the client's subscriptions.

    Not safe for several threads: the protocol's lock guards it and its arguments.

    Args:
        subscriptions: the client's, by channel.
        token: the connection's.
        commands: those that the client has sent.
        clock: returns seconds.

    Attributes:
        is_connected: the server has answered ``connect`` on this connection.
    """

    def __init__(self, subscriptions: dict[str, Subscription], token: TokenState,
                 commands: SentCommands, clock: Callable[[], float]) -> None:
        self.is_connected = False
        self._subscriptions = subscriptions
        self._token = token
        self._commands = commands
        self._clock = clock

    def read(self, text: str) -> list[Event]:
        """Return what a frame says, in order.

        Raises:
            CommandFailed: it does not belong to this protocol.
        """
        try:
            return [event for line in text.split("\n") if line
                    for event in self._line(json.loads(line), len(line))]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise CommandFailed(0, "the server does not speak Centrifugo's JSON protocol here"
                                ) from None

    def _line(self, said: Json, size: int) -> Iterator[Event]:
        if "push" in said:
            yield from self._push(said["push"], size)
        elif "id" in said:
            yield from self._reply(said, size)
        elif said == {}:
            yield Ping()
        else:
            raise ValueError("neither a reply nor a push")

    def _push(self, push: Json, size: int) -> Iterator[Event]:
        channel = push.get("channel", "")
        if "pub" in push:
            subscription = self._subscriptions.get(channel)
            if subscription is not None and subscription.state == SUBSCRIBED:
                yield _publication(channel, subscription, push["pub"], size)
        elif "message" in push:
            yield Publication("", push["message"].get("data"), size=size)
        elif "join" in push or "leave" in push:
            joined = "join" in push
            yield Presence(channel, push["join" if joined else "leave"]["info"], joined)
        elif "subscribe" in push:
            yield from self._entered_by_server(channel, push["subscribe"], size)
        elif "unsubscribe" in push:
            left = push["unsubscribe"]
            yield from self._left(channel, left.get("code", 0), left.get("reason", ""))

    def _reply(self, said: Json, size: int) -> Iterator[Event]:
        number, error = said["id"], said.get("error")
        name, channel = self._commands.take(number)
        failure = None if error is None else Failure(
            error["code"], error.get("message", ""), error.get("temporary", False))
        result: Json = next((value for key, value in said.items() if key not in ("id", "error")),
                            {})
        if not name:
            yield Reply(number, result, CommandFailed(*failure) if failure else None)
        elif name == "connect":
            yield from [CommandFailed(*failure)] if failure else self._connected(result, size)
        elif name == "refresh":
            yield from _refreshed("", self._token, result, failure)
        elif channel in self._subscriptions \
                and self._subscriptions[channel].command == number:
            subscription = self._subscriptions[channel]
            if name == "sub_refresh":
                yield from _refreshed(channel, subscription.token, result, failure)
            elif failure:
                yield from self._refused(channel, subscription, failure)
            else:
                yield from _entered(channel, subscription, result, size, self._clock())

    def _connected(self, result: Json, size: int) -> Iterator[Event]:
        self.is_connected = True
        yield Connected(result["client"], result.get("data"))
        yield from _expiry("", self._token, result)
        subs = result.get("subs", {})
        for channel, found in subs.items():
            yield from self._entered_by_server(channel, found, size)
        for channel in [name for name, subscription in self._subscriptions.items()
                        if subscription.by_server and name not in subs]:
            self._subscriptions[channel].by_server = False
            if not self._subscriptions[channel].is_wanted:
                yield from self._left(channel, *LEFT_BY_SERVER)

    def _entered_by_server(self, channel: str, result: Json, size: int) -> Iterator[Event]:
        subscription = self._subscriptions.setdefault(channel, Subscription(is_wanted=False))
        subscription.by_server = True
        yield from _entered(channel, subscription, result, size, self._clock())

    def _refused(self, channel: str, subscription: Subscription, failure: Failure
                 ) -> Iterator[Event]:
        code, message, temporary = failure
        if code == ALREADY_SUBSCRIBED:
            subscription.state = SUBSCRIBED
        elif temporary or code == TOKEN_EXPIRED and subscription.token.is_renewable:
            yield Retry(channel, subscription.fail(), f"{code}: {message}")
        else:
            del self._subscriptions[channel]
            yield ChannelLost(channel, code, message)

    def _left(self, channel: str, code: int, reason: str) -> Iterator[Event]:
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            return
        if code >= FIRST_RESUBSCRIBE and subscription.is_wanted:
            yield Retry(channel, subscription.removed(self._clock()), f"{code}: {reason}")
        else:
            del self._subscriptions[channel]
            yield ChannelLost(channel, code, reason)


def _entered(channel: str, subscription: Subscription, result: Json, size: int, now: float
             ) -> Iterator[Event]:
    if not subscription.enter(result, now):
        yield Gap(channel)
    yield from _expiry(channel, subscription.token, result)
    missed = result.get("publications", ())
    for one in missed:
        yield _publication(channel, subscription, one, size // len(missed))


def _publication(channel: str, subscription: Subscription, said: Json, size: int) -> Publication:
    gap, subscription.gap = subscription.gap, False
    offset = said.get("offset", 0)
    subscription.offset = offset or subscription.offset  # 0: not in the history
    return Publication(channel, said["data"], offset, subscription.epoch, said.get("info"),
                       said.get("tags"), gap, size)


def _refreshed(channel: str, token: TokenState, result: Json, failure: Failure | None
               ) -> Iterator[Event]:
    """Take the answer to a new token; if it was refused, the old one remains valid."""
    if failure is not None:
        token.failures += 1
        yield Retry(channel, token.failures, f"{failure.code}: {failure.message}")
    else:
        token.failures = 0
        yield from _expiry(channel, token, result)


def _expiry(channel: str, token: TokenState, result: Json) -> Iterator[Event]:
    """Say when a token expires, if that is known and a new one can be fetched."""
    if result.get("expires") and token.is_renewable:
        yield TokenExpiry(channel, max(SHORTEST_TTL, float(result.get("ttl", 0))))
