"""Centrifugo's JSON protocol from the client's side: what to say. No I/O.

Source: Centrifugo client protocol, version 2.
"""
from __future__ import annotations

import functools
import threading
import time
from typing import Callable

from pushserver.channels.rules import checked_channel
from pushserver.errors import InvalidSetting
from pushserver.wire.payloads import encode_json
from pushserver.channels.publication import Position

from ..errors import ChannelLost
from .events import Again, Event
from .replies import Hearing, Json
from .subscription import ASKED, IN, LATER, OUT, WAITS, Pass, Place
from .tokens import Need
from .wanted import ChannelToken, Since, Token, Wanted, checked_channels, checked_wish

PERMISSION_DENIED = 103
"""The error of a server for a token that it does not take; ours where there is none."""

TOO_SLOW = "the token function has not returned in time"

PONG = "{}"


class Channels(Hearing):
    """Keep what a client knows of its channels, over all its connections. Any thread may call it.

    Of each connection, ``begin`` gives the first words, then ``receive`` takes what the server
    says, and ``enter`` gives what to say once it has said ``Connected``. The tokens that this
    needs are in ``take_needs``; their coming is told by ``given`` or ``not_given``. ``due`` is
    for a channel whose time has come, after ``Again`` or ``Expires``.

    Args:
        wanted: the channels to be in.
        token: what says who the client is.
        clock: seconds.

    Attributes:
        lock: held by who says what it was just told to, so that it is said in that order.
        turn: counts connections: what ``enter`` gives is only for the one that began last.
    """

    def __init__(self, wanted: Wanted = (), token: Token = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self.turn = 0
        self._places = {name: Place(wish) for name, wish in checked_channels(wanted).items()}
        self._mine = Pass(token)
        self._clock = clock
        self._number = 0
        self._tickets = 0
        self._needs: list[Need] = []
        self._asked: dict[int, tuple[str, str]] = {}    # commands of our own: name and channel
        self._is_connected = False

    def __repr__(self) -> str:
        states = [place.state for place in self._places.values()]
        return f"<Channels {states.count(IN)} of {len(states)}>"

    def position(self, channel: str) -> Position | None:
        """Return what has been seen of a channel; None: nothing, or it remembers nothing."""
        with self.lock:
            place = self._places.get(channel)
            return Position(place.offset, place.epoch) if place and place.epoch else None

    def subscribed(self) -> list[str]:
        """Return the channels that the client is in at this moment."""
        with self.lock:
            return [name for name, place in self._places.items() if place.state == IN]

    # what to say

    def begin(self, token: str = "") -> str:
        """Return the first frame of a new connection: all that was said before is over."""
        with self.lock:
            self.turn += 1
            self._asked.clear()
            self._needs.clear()
            self._is_connected = False
            self._mine.ticket = self._mine.failures = 0
            subs = {}
            for name, place in self._places.items():
                place.state, place.failures, place.shown.ticket = OUT, 0, 0
                if place.by_server:
                    subs[name] = place.request()
            request: Json = {"name": "pushclient"}
            if token:
                request["token"] = token
            if subs:
                request["subs"] = subs
            return self._ask("connect", request)[1]

    def enter(self) -> str:
        """Return a frame that subscribes to what is wanted and not asked for; empty: nothing."""
        with self.lock:
            if not self._is_connected:
                return ""
            lines = [self._enter(name, place) for name, place in self._places.items()
                     if place.state == OUT and place.is_ours]
            return "\n".join(filter(None, lines))

    def _enter(self, channel: str, place: Place) -> str:
        if not place.shown.renews:
            return self._subscribe(channel, place, place.shown.token)
        place.state = WAITS
        self._need(channel, place.shown)
        return ""

    def _subscribe(self, channel: str, place: Place, token: str | None) -> str:
        place.state = ASKED
        request = {"channel": channel, **place.request()}
        if token:
            request["token"] = token
        place.asked, text = self._ask("subscribe", request, channel)
        return text

    def want(self, channel: str, since: Since = None, token: ChannelToken = None) -> None:
        """Want one more channel; ``enter`` then subscribes to it.

        Raises:
            InvalidSetting: it is wanted already, or this cannot be a channel.
        """
        wish = checked_wish(since, token)
        with self.lock:
            if channel in self._places:
                raise InvalidSetting(f"channel {channel!r} is subscribed to already")
            self._places[checked_channel(channel)] = Place(wish)

    def leave(self, channel: str) -> str:
        """Want a channel no more; return a frame that says so, empty where there is no need."""
        with self.lock:
            place = self._places.pop(channel, None)
            if place is None or place.state not in (ASKED, IN):
                return ""
            return self.command("unsubscribe", {"channel": channel})[1]

    def command(self, name: str, request: Json) -> tuple[int, str]:
        """Return a command of the application, and the number that its answer will have.

        Raises:
            InvalidData: JSON cannot hold it.
        """
        with self.lock:
            self._number += 1
            return self._number, encode_json({"id": self._number, name: request}).decode("utf-8")

    def _ask(self, name: str, request: Json, channel: str = "") -> tuple[int, str]:
        number, text = self.command(name, request)
        self._asked[number] = name, channel
        return number, text

    # tokens that functions return

    def take_needs(self) -> list[Need]:
        """Return the tokens that have come to be needed since the last time."""
        with self.lock:
            needs, self._needs = self._needs, []
            return needs

    def due(self, channel: str) -> list[Event]:
        """Go on with a channel whose time has come, or with the connection's token."""
        with self.lock:
            shown = self._shown(channel)
            if shown is None:
                return []
            place = self._places.get(channel)
            if place is not None and place.state == LATER:
                place.state = OUT
            elif place is not None and place.state == WAITS:
                return [self._without(channel, shown, TOO_SLOW)]  # and yet it may come
            elif shown.ticket:
                shown.ticket = 0
                return [self._without(channel, shown, TOO_SLOW)]
            elif shown.renews and (place is None or place.state == IN):
                self._need(channel, shown)
            return []

    def given(self, need: Need, token: str) -> str:
        """Return what to say with a token that has come; empty: it is no longer needed."""
        with self.lock:
            if self._take(need) is None:
                return ""
            if not need.channel:
                return self._ask("refresh", {"token": token})[1]
            place = self._places[need.channel]
            if place.state in (WAITS, LATER):
                return self._subscribe(need.channel, place, token)
            request = {"channel": need.channel, "token": token}
            place.asked, text = self._ask("sub_refresh", request, need.channel)
            return text

    def not_given(self, need: Need, why: str, *, for_good: bool = False) -> list[Event]:
        """Take note that there is no token; return what to make of that.

        Args:
            need: as it was told.
            why: in a few words.
            for_good: there will be none. What the client is in already, it stays in until the
                server ends that.
        """
        with self.lock:
            shown = self._take(need)
            if shown is None:
                return []
            state = self._places[need.channel].state if need.channel else IN
            if for_good and state in (WAITS, LATER):
                del self._places[need.channel]
                return [ChannelLost(need.channel, PERMISSION_DENIED, why)]
            if state == LATER:
                return []  # it is asked again anyway
            return [self._without(need.channel, shown, why)]

    def _without(self, channel: str, shown: Pass, why: str) -> Again:
        place = self._places.get(channel)
        if place is not None and place.state == WAITS:
            return Again(channel, place.refused(), why)
        shown.failures += 1
        return Again(channel, shown.failures, why)

    def _shown(self, channel: str) -> Pass | None:
        if not channel:
            return self._mine
        place = self._places.get(channel)
        return place.shown if place is not None else None

    def _need(self, channel: str, shown: Pass) -> None:
        assert callable(shown.token)
        self._tickets += 1
        shown.ticket = self._tickets
        get = functools.partial(shown.token, channel) if channel else shown.token
        self._needs.append(Need(channel, shown.ticket, get))

    def _take(self, need: Need) -> Pass | None:
        """Return what a token is for, None if it is no longer needed."""
        shown = self._shown(need.channel)
        if shown is None or shown.ticket != need.ticket:
            return None
        shown.ticket = 0
        return shown
