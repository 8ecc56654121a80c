"""The part of the push server that has to do with channels."""
from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable, Iterable, Mapping, Sequence

from ..channels.publication import Page, Position, Publication
from ..channels.hub import Hub
from ..channels.node import Answer, Exchange, Wanted
from ..channels.presence import Info, Stats
from ..channels.rules import ChannelRule, checked_channel
from ..errors import ConnectionClosed, InvalidSetting, MessageTooLarge
from ..runtime.delayed_job import Chore
from ..runtime.runtime import Home
from ..runtime.workers import Mailbox
from ..settings import Settings
from ..wire.disconnects import REPLACED, Disconnect
from ..wire.frames import Data, encode_payload
from .connection import Connection
from .link import Link
from .plain import Protocol

logger = logging.getLogger(__name__)

MAX_KEY = 255
"""Characters of an idempotency key."""

SWEEP_INTERVAL = 10.0
"""Seconds between two looks for histories that are too old."""

_SHORTEST = 0.05
"""Seconds to wait at least for somebody who lingers, so that many are done with at once."""


def checked_id(Id: str) -> str:
    """Return an Id that a site has passed; a number, say, would silently match nobody.

    Raises:
        InvalidSetting: it is not text.
    """
    if not isinstance(Id, str):
        raise InvalidSetting(f"Id is {Id!r:.80}: use text, as in the URL")
    return Id


class Publishing:
    """Publish to channels, and let connections in and out; ``PushServer`` has the rest."""

    settings: Settings

    def __init__(self, settings: Settings, channels: Iterable[ChannelRule]) -> None:
        self.settings = settings
        self._hub: Hub[Link] = Hub(max_connections=settings.max_connections,
                                   max_per_id=settings.max_connections_per_id,
                                   duplicates=settings.duplicates)
        self._exchange = Exchange(self._hub, channels, self._deliver, self._expect_departures)
        self._home: Home[Link] | None = None
        self._mailbox = Mailbox()
        self._departures = threading.Lock()
        self._departure: Chore | None = None
        self._departure_due = 0.0

    def _deliver(self, links: tuple[Link, ...], data: bytes) -> None:
        """Queue a frame for connections."""
        raise NotImplementedError

    def _close(self, link: Link, disconnect: Disconnect) -> bool:
        """Begin to close a connection."""
        raise NotImplementedError

    def check_size(self, size: int) -> None:
        """Look at the size of what a site or a client passes on: once, and before it is encoded.

        What it becomes in a protocol is not looked at again; an outbox has room for it.

        Raises:
            MessageTooLarge: it is more than ``max_outbox`` bytes.
        """
        if size > self.settings.max_outbox:
            raise MessageTooLarge(f"a message of {size} bytes: send at most "
                                  f"{self.settings.max_outbox}, or raise max_outbox")

    def _publication(self, data: Data, *, info: bytes | None = None,
                     tags: Mapping[str, str] | None = None) -> Publication:
        """Encode what is published, once for all, and check it."""
        made = Publication.of(data, info=info, tags=_encoded_tags(tags))
        self.check_size(made.size)
        return made

    def publish(self, channel: str, data: Data, *, key: str | None = None,
                tags: Mapping[str, str] | None = None, remember: bool = True) -> Position:
        """Append one publication to a channel and queue it for every connection in it.

        Args:
            channel: 1 to 255 characters.
            data: see ``broadcast``.
            key: an idempotency key, at most 255 characters: a second publication to the channel
                under the same key within five minutes is not made.
            tags: names and values that clients of Centrifugo's protocol get with it.
            remember: False: queue it only, as in a channel that remembers nothing.

        Returns:
            the publication's position (offset from 1, epoch), or that of the first one with this
            key. ``(0, "")`` in a channel that remembers nothing.

        Raises:
            InvalidSetting: this cannot be a channel's name, a key or tags.
            InvalidData, MessageTooLarge: see ``broadcast``.
        """
        return self.publish_from(channel, data, key=key, tags=tags, remember=remember)

    def publish_from(self, channel: str, data: Data, *, info: bytes | None = None,
                     key: str | None = None,
                     tags: Mapping[str, str] | None = None,
                     remember: bool = True) -> Position:
        """Publish as ``publish`` does, for a client.

        Args:
            info: the client, as JSON.
        """
        checked_channel(channel)
        if key is not None and (not isinstance(key, str) or not 0 < len(key) <= MAX_KEY):
            raise InvalidSetting(f"key is {key!r:.80}: use text of 1 to {MAX_KEY} characters")
        made = self._publication(data, info=info, tags=tags)
        return self._exchange.publish(channel, made, key, remember)

    # What a channel remembers

    def rule(self, channel: str) -> ChannelRule:
        """Return the rule that holds for a channel."""
        return self._exchange.channels.rule(checked_channel(channel))

    def history(self, channel: str, limit: int | None = None, since: Position | None = None,
                reverse: bool = False) -> Page:
        """Return what a channel remembers, the oldest publication first.

        Args:
            channel: its name.
            limit: publications at most; 0: none, only where the history stands; None: all.
            since: only those behind this position, or before it if reversed.
            reverse: the newest first.

        Returns:
            a page: ``publications`` (each with ``data``, ``offset``, ``time``), ``top``, the
            position of the newest, and ``recovered``, whether ``since`` was known and nothing
            between it and the publications is lost.

        Raises:
            InvalidSetting: this cannot be a channel's name.
        """
        return self._exchange.history(checked_channel(channel), limit, since, reverse)

    def remove_history(self, channel: str) -> None:
        """Forget what a channel remembers; its offsets go on.

        Raises:
            InvalidSetting: this cannot be a channel's name.
        """
        self._exchange.broker.remove_history(checked_channel(channel))

    # Who is there

    def presence(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client: ``client``, ``user``, ``connection``, ``channel``.

        Those who vanished are there until their linger is over, where the channel's rule keeps
        presence; where it does not, those who are connected.

        Raises:
            InvalidSetting: this cannot be a channel's name.
        """
        if self.rule(channel).keeps_presence:
            return self._exchange.presence(channel)
        infos = (link.connection.presence_info() for link in self._hub.members(channel))
        return {info.client: info for info in infos}

    def presence_stats(self, channel: str) -> Stats:
        """Return how many ``clients`` and ``users`` are in a channel; see ``presence``."""
        if self.rule(channel).keeps_presence:
            return self._exchange.presence_stats(channel)
        found = self.presence(channel).values()
        return Stats(len(found), len({info.user for info in found}))

    def channels(self) -> dict[str, int]:
        """Return the channels that somebody is in, with the number of their connections."""
        return self._hub.channels()

    def subscribe_id(self, Id: str, channel: str) -> int:
        """Let every connection of one Id into a channel; return how many were not in it before.

        Raises:
            InvalidSetting: ``Id`` is not text, or this cannot be a channel's name.
        """
        checked_channel(channel)
        links = self._hub.of_id(checked_id(Id))
        return sum(bool(link.connection.subscribe(channel)) for link in links)

    def unsubscribe_id(self, Id: str, channel: str) -> int:
        """Take every connection of one Id out of a channel; return how many were in it.

        Raises:
            InvalidSetting: ``Id`` is not text, or this cannot be a channel's name.
        """
        checked_channel(channel)
        links = self._hub.of_id(checked_id(Id))
        return sum(bool(link.connection.unsubscribe(channel)) for link in links)

    # For connections

    def _link(self, connection: Connection) -> Link | None:
        for link in self._hub.of_id(connection.Id):
            if link.connection is connection:
                return link
        return None

    def deliver_frames(self, connection: Connection, data: bytes) -> bool:
        """Queue whole frames for one connection; False if it no longer takes any.

        Args:
            data: made of what ``check_size`` has seen, or of what the server itself has to say.
        """
        link = self._link(connection)
        if link is None:
            return False
        self._deliver((link,), data)
        return True

    def subscribe_connection(self, connection: Connection, channel: str) -> bool:
        """Add one connection to a channel; False if it is in it, or closed."""
        link = self._link(connection)
        return link is not None and self._exchange.subscribe(link, checked_channel(channel),
                                                             connection.presence_info)

    def join_connection(self, connection: Connection, wanted: Sequence[Wanted],
                        info: Callable[[str], Info], answer: Answer) -> bool | None:
        """Add one connection to channels with what it has missed; see ``Exchange.join``."""
        link = self._link(connection)
        return False if link is None else self._exchange.join(link, wanted, info, answer)

    def unsubscribe_connection(self, connection: Connection, channel: str) -> bool:
        """Take one connection out of a channel; tell whether it was in it."""
        link = self._link(connection)
        return link is not None and self._exchange.unsubscribe(link, checked_channel(channel),
                                                               connection.client)

    def is_subscribed(self, connection: Connection, channel: str) -> bool:
        """Tell whether one connection is in a channel."""
        link = self._link(connection)
        return link is not None and self._hub.is_in(link, channel)

    def rename_connection(self, connection: Connection, Id: str) -> None:
        """Give a connection that came without one its Id, and close those that it replaces.

        Raises:
            ConnectionClosed: it has ended.
            HandshakeRefused: 429: the Id has too many.
        """
        link = self._link(connection)
        if link is None:
            raise ConnectionClosed("connection is closed: it gets no Id")
        replaced = self._hub.rename(link, Id)
        connection.Id = Id
        for older in replaced:
            self._close(older, REPLACED)

    def admit_connection(self, connection: Connection, protocol: Protocol, data: bytes) -> bool:
        """Have a connection hear what is sent to its Id and to all, behind a first frame."""
        link, home = self._link(connection), self._home
        if link is None or home is None:
            return False
        admitted = self._hub.admit(link, protocol, lambda: home.loop.put((link,), data))
        home.loop.wake()
        return admitted

    def later(self, connection: Connection, seconds: float,
              job: Callable[[], Any]) -> Chore | None:
        """Have something done for a connection after some seconds, in order with its callbacks.

        Returns:
            what can take it back; None if the connection has ended.
        """
        link, home = self._link(connection), self._home
        if link is None or home is None:
            return None
        return Chore(home, link.inbox, seconds, lambda: link.inbox.run(job))

    # Chores

    def _begin_chores(self, home: Home[Link]) -> None:
        Chore(home, self._mailbox, SWEEP_INTERVAL, lambda: self._sweep(home))
        self._departure = None
        self._expect_departures()

    def _sweep(self, home: Home[Link]) -> None:
        try:
            self._exchange.broker.sweep()
        finally:
            Chore(home, self._mailbox, SWEEP_INTERVAL, lambda: self._sweep(home))

    def _expect_departures(self) -> None:
        """See to it that those who linger are looked at when their time is over."""
        home, seconds = self._home, self._exchange.next_departure()
        if home is None or seconds is None:
            return
        seconds = max(_SHORTEST, seconds)
        with self._departures:
            due = time.monotonic() + seconds
            if self._departure is not None:
                if due > self._departure_due - _SHORTEST:
                    return  # soon enough: most come here for one that is expected already
                self._departure.cancel()
            self._departure_due = due
            self._departure = Chore(home, self._mailbox, seconds, self._depart)

    def _depart(self) -> None:
        with self._departures:
            self._departure = None
        try:
            self._exchange.depart()
        finally:
            self._expect_departures()


def _encoded_tags(tags: Mapping[str, str] | None) -> bytes | None:
    if not tags:
        return None
    if not isinstance(tags, Mapping) or not all(
            isinstance(text, str) for item in tags.items() for text in item):
        raise InvalidSetting(f"tags are {tags!r:.80}: use a dict of text to text")
    return encode_payload(dict(tags))[1]
