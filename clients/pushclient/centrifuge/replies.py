"""What a server of Centrifugo's protocol says, and what a client makes of it. No I/O.

Source: Centrifugo client protocol, version 2.
"""
from __future__ import annotations

import json
import threading
from typing import Any, Callable, Iterator, Mapping

from ..errors import ChannelLost, CommandFailed
from .events import Again, Answer, Connected, Event, Expires, Gap, Ping, Presence, Publication
from .subscription import IN, Pass, Place

ALREADY_SUBSCRIBED = 105
"""The error for a channel that the server has put the client into by itself."""

TOKEN_EXPIRED = 109
"""The error for a token that has to be replaced."""

FIRST_RESUBSCRIBE = 2500
"""From this code on, an unsubscription by the server means: subscribe again."""

UNSUBSCRIBED_BY_SERVER = 2000, "server unsubscribe"

SHORTEST_TTL = 1.0
"""Seconds that a token is held to be good, whatever less the server says."""

Json = dict[str, Any]
Failure = tuple[int, str, bool]
"""Of an error: code, message, temporary."""


class Hearing:
    """The half of ``Channels`` that listens."""

    lock: threading.RLock
    _places: dict[str, Place]
    _mine: Pass
    _asked: dict[int, tuple[str, str]]
    _is_connected: bool
    _clock: Callable[[], float]

    def receive(self, text: str) -> list[Event]:
        """Return what a frame of the server says, in order.

        Raises:
            CommandFailed: it is not of this protocol.
        """
        try:
            with self.lock:
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
            place = self._places.get(channel)
            if place is not None and place.state == IN:
                yield self._publication(channel, place, push["pub"], size)
        elif "message" in push:
            yield Publication("", push["message"].get("data"), size=size)
        elif "join" in push or "leave" in push:
            joined = "join" in push
            yield Presence(channel, push["join" if joined else "leave"]["info"], joined)
        elif "subscribe" in push:
            yield from self._entered_by_server(channel, push["subscribe"], size)
        elif "unsubscribe" in push:
            told = push["unsubscribe"]
            yield from self._left(channel, told.get("code", 0), told.get("reason", ""))

    def _reply(self, said: Json, size: int) -> Iterator[Event]:
        number = said["id"]
        error = said.get("error")
        name, channel = self._asked.pop(number, ("", ""))
        failed = error is not None and (error["code"], error.get("message", ""),
                                        error.get("temporary", False))
        result: Json = next((value for key, value in said.items()
                             if key not in ("id", "error")), {})
        if not name:
            yield Answer(number, result, CommandFailed(*failed) if failed else None)
        elif name == "connect":
            yield from [CommandFailed(*failed)] if failed else self._connected(result, size)
        elif name == "refresh":
            yield from self._refreshed("", self._mine, result, failed)
        elif channel in self._places and self._places[channel].asked == number:
            place = self._places[channel]
            if name == "sub_refresh":
                yield from self._refreshed(channel, place.shown, result, failed)
            else:
                yield from self._refused(channel, place, *failed) if failed \
                    else self._entered(channel, place, result, size)

    def _connected(self, result: Json, size: int) -> Iterator[Event]:
        self._is_connected = True
        yield Connected(result["client"], result.get("data"))
        yield from _expiry("", self._mine, result)
        subs = result.get("subs", {})
        for channel, found in subs.items():
            yield from self._entered_by_server(channel, found, size)
        for channel in [name for name, place in self._places.items()
                        if place.by_server and name not in subs]:
            self._places[channel].by_server = False
            if not self._places[channel].is_ours:
                yield from self._left(channel, *UNSUBSCRIBED_BY_SERVER)

    def _entered_by_server(self, channel: str, found: Json, size: int) -> Iterator[Event]:
        place = self._places.setdefault(channel, Place(is_ours=False))
        place.by_server = True
        yield from self._entered(channel, place, found, size)

    def _entered(self, channel: str, place: Place, found: Json, size: int) -> Iterator[Event]:
        if not place.enter(found, self._clock()):
            yield Gap(channel)
        yield from _expiry(channel, place.shown, found)
        missed = found.get("publications", ())
        for one in missed:
            yield self._publication(channel, place, one, size // len(missed))

    def _publication(self, channel: str, place: Place, one: Json, size: int) -> Publication:
        gap, place.gap = place.gap, False
        offset = one.get("offset", 0)
        place.offset = offset or place.offset  # what is not remembered has none, and moves nothing
        return Publication(channel, one["data"], offset, place.epoch, one.get("info"),
                           one.get("tags"), gap, size)

    def _refused(self, channel: str, place: Place, code: int, message: str,
                 temporary: bool) -> Iterator[Event]:
        if code == ALREADY_SUBSCRIBED:
            place.state = IN
        elif temporary or code == TOKEN_EXPIRED and place.shown.renews:
            yield Again(channel, place.refused(), f"{code}: {message}")
        else:
            del self._places[channel]
            yield ChannelLost(channel, code, message)

    def _left(self, channel: str, code: int, reason: str) -> Iterator[Event]:
        place = self._places.get(channel)
        if place is None:
            return
        if code >= FIRST_RESUBSCRIBE and place.is_ours:
            yield Again(channel, place.sent_out(self._clock()), f"{code}: {reason}")
        else:
            del self._places[channel]
            yield ChannelLost(channel, code, reason)

    @staticmethod
    def _refreshed(channel: str, shown: Pass, result: Json,
                   failed: Failure | bool) -> Iterator[Event]:
        """Take the answer to a new token: whatever is against it, the one before still holds."""
        if isinstance(failed, tuple):
            shown.failures += 1
            yield Again(channel, shown.failures, "{}: {}".format(*failed))
        else:
            shown.failures = 0
            yield from _expiry(channel, shown, result)


def _expiry(channel: str, shown: Pass, found: Mapping[str, Any]) -> Iterator[Event]:
    """Say when a token is over, if that is known and there will be another."""
    if found.get("expires") and shown.renews:
        yield Expires(channel, max(SHORTEST_TTL, float(found.get("ttl", 0))))
