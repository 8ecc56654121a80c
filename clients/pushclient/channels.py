"""Centrifugo's JSON protocol from the client's side: what to say, and what was said. No I/O.

Source: Centrifugo client protocol, version 2.
"""
from __future__ import annotations

import json
import threading
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Union

from pushserver.channels import checked_channel
from pushserver.errors import InvalidSetting
from pushserver.frames import encode_json
from pushserver.history import Position

from .errors import ChannelLost, CommandFailed

ALREADY_SUBSCRIBED = 105
"""The error for a channel that the server has put the client into by itself."""

FIRST_RESUBSCRIBE = 2500
"""From this code on, an unsubscription by the server means: subscribe again."""

UNSUBSCRIBED_BY_SERVER = 2000, "server unsubscribe"

Wanted = Union[Iterable[str], Mapping[str, "tuple[int, str] | None"]]
"""Names of channels, or also what has been seen of each: an offset and an epoch."""

Json = dict[str, Any]


class Publication(NamedTuple):
    """What was published to a channel.

    Attributes:
        channel: its name; empty for what the site sent to the Id or to all.
        data: what JSON made of it.
        offset: its place in the channel's history, from 1; 0 where nothing is remembered.
        epoch: names the history; with ``offset`` this is where to go on from.
        info: the client that published it: ``user``, ``client``; None: the site did.
        tags: names and values that came with it, or None.
        after_gap: right before this one, publications may have been lost.
        size: characters that it had on the way.
    """

    channel: str
    data: Any
    offset: int = 0
    epoch: str = ""
    info: Any = None
    tags: Any = None
    after_gap: bool = False
    size: int = 0


def size_of(publication: Publication) -> int:
    """Return what a publication counts with in a queue."""
    return publication.size


class Presence(NamedTuple):
    """Who came into a channel, or left it; ``info`` has ``user`` and ``client``."""

    channel: str
    info: Any
    joined: bool


class Ping(NamedTuple):
    """The server wants to hear that the client is there."""


class Connected(NamedTuple):
    """The server knows the client, and calls it so; ``data`` is what it sent along, or None."""

    client: str
    data: Any


class Gap(NamedTuple):
    """What the client has missed of a channel could not be made up for."""

    channel: str


class Again(NamedTuple):
    """A channel is to be subscribed to once more: at once, or after a while."""

    channel: str
    at_once: bool


class Answer(NamedTuple):
    """What a command of the application came to: a result, or an error."""

    number: int
    result: Json
    error: CommandFailed | None


Event = Union[Publication, Presence, Ping, Connected, Gap, Again, Answer, CommandFailed]

PONG = "{}"

_OUT, _ASKED, _IN = range(3)


class _Place:
    """Where the client is in one channel."""

    __slots__ = ("offset", "epoch", "state", "asked", "is_ours", "by_server", "resumes", "can_ask",
                 "gap")

    def __init__(self, since: tuple[int, str] | None = None, *, is_ours: bool = True) -> None:
        self.offset, self.epoch = since or (0, "")
        self.state = _OUT
        self.asked = 0                      # the command whose answer counts
        self.is_ours = is_ours              # this client wants it
        self.by_server = False              # the server has put the client into it
        self.resumes = since is not None    # something has been seen: what follows must be whole
        self.can_ask = since is not None and bool(self.epoch or not self.offset)
        self.gap = False

    def request(self) -> Json:
        return {"recover": True, "offset": self.offset, "epoch": self.epoch} \
            if self.can_ask else {}


def checked_channels(wanted: Wanted) -> dict[str, tuple[int, str] | None]:
    """Return channels by name, with what has been seen of each.

    Raises:
        InvalidSetting: these are none.
    """
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Iterable):
        raise InvalidSetting(f"channels is {wanted!r:.80}: use a list of names")
    pairs = wanted.items() if isinstance(wanted, Mapping) else ((name, None) for name in wanted)
    return {checked_channel(name): checked_position(since) for name, since in pairs}


def checked_position(since: Any) -> tuple[int, str] | None:
    """Return a position, or None.

    Raises:
        InvalidSetting: it is none.
    """
    if since is None:
        return None
    try:
        offset, epoch = since
    except (TypeError, ValueError):
        offset, epoch = None, None
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0 \
            or not isinstance(epoch, str):
        raise InvalidSetting(f"position is {since!r:.80}: use an offset and an epoch")
    return offset, epoch


class Channels:
    """Keep what a client knows of its channels, over all its connections. Any thread may call it.

    Of each connection, ``begin`` gives the first words, then ``receive`` takes what the server
    says, and ``enter`` gives what to say once it has said ``Connected`` or ``Again``.

    Args:
        wanted: the channels to be in.

    Attributes:
        lock: held by who says what it was just told to, so that it is said in that order.
        turn: counts connections: what ``enter`` gives is only for the one that began last.
    """

    def __init__(self, wanted: Wanted = ()) -> None:
        self.lock = threading.RLock()
        self.turn = 0
        self._places = {name: _Place(since) for name, since in checked_channels(wanted).items()}
        self._number = 0
        self._asked: dict[int, str] = {}    # commands of our own: the channel, empty for connect
        self._is_connected = False

    def __repr__(self) -> str:
        states = [place.state for place in self._places.values()]
        return f"<Channels {states.count(_IN)} of {len(states)}>"

    def position(self, channel: str) -> Position | None:
        """Return what has been seen of a channel; None: nothing, or it remembers nothing."""
        with self.lock:
            place = self._places.get(channel)
            return Position(place.offset, place.epoch) if place and place.epoch else None

    def subscribed(self) -> list[str]:
        """Return the channels that the client is in at this moment."""
        with self.lock:
            return [name for name, place in self._places.items() if place.state == _IN]

    # what to say

    def begin(self, token: str = "") -> str:
        """Return the first frame of a new connection: all that was said before is over."""
        with self.lock:
            self.turn += 1
            self._asked.clear()
            self._is_connected = False
            subs = {}
            for name, place in self._places.items():
                place.state = _OUT
                if place.by_server:
                    subs[name] = place.request()
            request: Json = {"name": "pushclient"}
            if token:
                request["token"] = token
            if subs:
                request["subs"] = subs
            return self._ask("connect", request, "")

    def enter(self) -> str:
        """Return a frame that subscribes to what is wanted and not asked for; empty: nothing."""
        with self.lock:
            if not self._is_connected:
                return ""
            return "\n".join(self._enter(name, place) for name, place in self._places.items()
                             if place.state == _OUT and place.is_ours)

    def _enter(self, channel: str, place: _Place) -> str:
        place.state = _ASKED
        text = self._ask("subscribe", {"channel": channel, **place.request()}, channel)
        place.asked = self._number
        return text

    def want(self, channel: str, since: tuple[int, str] | None = None) -> None:
        """Want one more channel; ``enter`` then subscribes to it.

        Raises:
            InvalidSetting: it is wanted already, or this cannot be a channel.
        """
        with self.lock:
            if channel in self._places:
                raise InvalidSetting(f"channel {channel!r} is subscribed to already")
            self._places[checked_channel(channel)] = _Place(checked_position(since))

    def leave(self, channel: str) -> str:
        """Want a channel no more; return a frame that says so, empty where there is no need."""
        with self.lock:
            place = self._places.pop(channel, None)
            if place is None or place.state == _OUT:
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

    def _ask(self, name: str, request: Json, channel: str) -> str:
        number, text = self.command(name, request)
        self._asked[number] = channel
        return text

    # what was said

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
            if place is not None and place.state == _IN:
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
        channel = self._asked.pop(number, None)
        failed = error is not None and (error["code"], error.get("message", ""),
                                        error.get("temporary", False))
        result: Json = next((value for name, value in said.items()
                             if name not in ("id", "error")), {})
        if channel is None:
            yield Answer(number, result, CommandFailed(*failed) if failed else None)
        elif not channel:
            yield from [CommandFailed(*failed)] if failed else self._connected(result, size)
        elif channel in self._places and self._places[channel].asked == number:
            yield from self._refused(channel, *failed) if failed \
                else self._entered(channel, self._places[channel], result, size)

    def _connected(self, result: Json, size: int) -> Iterator[Event]:
        self._is_connected = True
        yield Connected(result["client"], result.get("data"))
        subs = result.get("subs", {})
        for channel, found in subs.items():
            yield from self._entered_by_server(channel, found, size)
        for channel in [name for name, place in self._places.items()
                        if place.by_server and name not in subs]:
            self._places[channel].by_server = False
            if not self._places[channel].is_ours:
                yield from self._left(channel, *UNSUBSCRIBED_BY_SERVER)

    def _entered_by_server(self, channel: str, found: Json, size: int) -> Iterator[Event]:
        place = self._places.setdefault(channel, _Place(is_ours=False))
        place.by_server = True
        yield from self._entered(channel, place, found, size)

    def _entered(self, channel: str, place: _Place, found: Json, size: int) -> Iterator[Event]:
        if place.resumes and not found.get("recovered"):
            place.gap = True
            yield Gap(channel)
        place.state, place.resumes = _IN, True
        place.offset, place.epoch = found.get("offset", 0), found.get("epoch", "")
        place.can_ask = bool(place.epoch)
        missed = found.get("publications", ())
        for one in missed:
            yield self._publication(channel, place, one, size // len(missed))

    def _publication(self, channel: str, place: _Place, one: Json, size: int) -> Publication:
        gap, place.gap = place.gap, False
        offset = one.get("offset", 0)
        place.offset = offset or place.offset  # what is not remembered has none, and moves nothing
        return Publication(channel, one["data"], offset, place.epoch, one.get("info"),
                           one.get("tags"), gap, size)

    def _refused(self, channel: str, code: int, message: str, temporary: bool) -> Iterator[Event]:
        place = self._places[channel]
        if code == ALREADY_SUBSCRIBED:
            place.state = _IN
        elif temporary:
            place.state = _OUT
            yield Again(channel, False)
        else:
            del self._places[channel]
            yield ChannelLost(channel, code, message)

    def _left(self, channel: str, code: int, reason: str) -> Iterator[Event]:
        place = self._places.get(channel)
        if place is None:
            return
        if code >= FIRST_RESUBSCRIBE and place.is_ours:
            place.state = _OUT
            yield Again(channel, True)
        else:
            del self._places[channel]
            yield ChannelLost(channel, code, reason)
