"""Channels: publishing, resuming and presence, between the broker and the hub. No I/O happens here.
"""
from __future__ import annotations

import logging
import time
from typing import Any, Callable, Generic, Iterable, NamedTuple, Optional, Sequence

from .broker import Broker, MemoryBroker
from .history import NOTHING, Clock, Page, Position, Publication
from .hub import Hub, M, grouped
from .joining import LIVE, Joining
from .presence import Info, Presence, Stats
from .rules import ChannelRule, ChannelRules

logger = logging.getLogger(__name__)

Send = Callable[[tuple[Any, ...], bytes], None]
"""Queues one frame for several connections."""

Wanted = tuple[str, Optional[Position]]
"""A channel, and what a client has seen of it."""

Queue = Callable[[Sequence[Iterable[Publication]]], None]
"""Queues an answer, and behind it the publications that have come since, for each channel."""

Answer = Callable[[Sequence[Page]], Queue]
"""Makes the answer to subscriptions of what the histories gave, in the order in which they were
wanted, and returns what queues it."""


class Arrival(NamedTuple):
    """Somebody who is known to be in a channel.

    Attributes:
        channel: its name.
        info: what others see of them.
        is_told: the others are to hear of it; not where somebody was only reconnecting.
    """

    channel: str
    info: Info
    is_told: bool


class Exchange(Generic[M]):
    """Publish to channels, let connections into them, and know who is there.

    Any thread may call it, and none waits: frames are queued by ``send``.

    Args:
        hub: the connections.
        rules: what holds for which channel.
        send: queues a frame for connections, all of which speak one protocol.
        on_linger: called when somebody has vanished who is still held to be there: ``depart`` is
            to be called after ``next_departure`` seconds.
        clock: seconds that never go back.
    """

    def __init__(self, hub: Hub[M], rules: Iterable[ChannelRule], send: Send,
                 on_linger: Callable[[], None] = lambda: None,
                 clock: Clock = time.monotonic) -> None:
        self.channels = ChannelRules(rules)
        self.broker: Broker = MemoryBroker(self._deliver, clock)
        self._hub = hub
        self._send = send
        self._on_linger = on_linger
        self._presence = Presence(clock)

    def __repr__(self) -> str:
        return f"<Exchange {self.channels!r}, {self.broker!r}>"

    # Publishing

    def publish(self, channel: str, publication: Publication, key: str | None = None,
                remember: bool = True) -> Position:
        """Append one publication to a channel and queue it for every subscriber."""
        limits = self.channels.rule(channel).limits if remember else NOTHING
        return self.broker.publish(channel, publication, limits, key)

    def _deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        """Queue a publication; the broker calls this in the channel's order."""
        audience = self._hub.audience(channel)
        if audience.joining:
            self._deliver_to_joining(channel, publication, epoch, audience.joining)
        for protocol, members in audience.groups:
            self._send(members, protocol.publication(channel, publication))

    def _deliver_to_joining(self, channel: str, publication: Publication, epoch: str,
                            joining: Iterable[Joining]) -> None:
        arrived = tuple(one for one in joining if one.offer(publication, epoch) == LIVE)
        for protocol, members in grouped(tuple(one.member for one in arrived)):
            self._send(members, protocol.publication(channel, publication))
        if arrived:
            self._hub.arrive(arrived, channel)

    # History

    def history(self, channel: str, limit: int | None, since: Position | None = None,
                reverse: bool = False) -> Page:
        """Read what a channel remembers."""
        limits = self.channels.rule(channel).limits
        return self.broker.history(channel, limits, limit, since, reverse)

    # Subscribing

    def subscribe(self, member: M, channel: str, info: Callable[[], Info]) -> bool:
        """Let a connection into a channel from now on; False if it is in, or has left.

        Args:
            member: the connection.
            channel: its name, checked.
            info: makes what is told of it, where that is kept.
        """
        if not self._hub.subscribe(member, channel):
            return False
        self.announce(member, self.enter([channel], lambda _: info()))
        return True

    def join(self, member: M, wanted: Sequence[Wanted], info: Callable[[str], Info],
             answer: Answer) -> bool | None:
        """Let a connection into channels with what it has missed.

        Whoever has read the answer is known to be there; the others are told behind it.

        Args:
            member: the connection.
            wanted: the channels' names, checked, with what it has seen of each; None: it asks
                for nothing.
            info: makes what is told of it in a channel, where that is kept.
            answer: called once with what was missed in each channel, or why not. What it returns
                is called at most once; that queues, and must neither wait nor call this object.

        Returns:
            True: it is in the channels. False: it was in one already, or has left. None: there
            was a hole; it is in none, and should begin again. If not True, nothing was queued.
        """
        entered: list[tuple[str, Joining]] = []
        arrivals: list[Arrival] = []
        settled = False
        try:
            for channel, _ in wanted:
                joining = Joining(member)
                if not self._hub.join(member, channel, joining):
                    return False
                entered.append((channel, joining))
            arrivals = self.enter([channel for channel, _ in wanted], info)
            pages = [self._recover(*one) for one in wanted]
            settled = _settle([joining for _, joining in entered], pages, answer(pages))
        finally:
            if not settled:
                self._take_back(member, entered, arrivals)
        self.announce(member, arrivals)
        return settled or None

    def _recover(self, channel: str, since: Position | None) -> Page:
        return self.broker.recover(channel, self.channels.rule(channel).limits, since)

    def _take_back(self, member: M, entered: Iterable[tuple[str, Joining]],
                   arrivals: Iterable[Arrival]) -> None:
        """Undo what a ``join`` did that came to nothing."""
        for channel, joining in entered:
            self._hub.withdraw(member, channel, joining)
        for one in arrivals:
            info = self._presence.leave(one.channel, one.info.client)
            if not one.is_told:  # it had taken the place of one that the others know of
                self._announce_leave(one.channel, info)

    def unsubscribe(self, member: M, channel: str, client: str) -> bool:
        """Take a connection out of a channel; tell whether it was in it."""
        if not self._hub.unsubscribe(member, channel):
            return False
        self._announce_leave(channel, self._presence.leave(channel, client))
        return True

    # Presence

    def enter(self, channels: Iterable[str], info: Callable[[str], Info]) -> list[Arrival]:
        """Note who is in channels from now on, where their rules say so.

        Args:
            channels: their names.
            info: makes what others in a channel see.

        Returns:
            what is to be given to ``announce`` as soon as the connection may hear of others.
        """
        arrivals = []
        for channel in channels:
            rule = self.channels.rule(channel)
            if rule.keeps_presence:
                known = info(channel)
                is_told = self._presence.join(channel, known) and rule.join_leave
                arrivals.append(Arrival(channel, known, is_told))
        return arrivals

    def announce(self, member: M, arrivals: Iterable[Arrival]) -> None:
        """Tell the others who has come, unless they left in this moment."""
        for channel, info, is_told in arrivals:
            if is_told:
                self._tell(channel, info, True)
            if self._hub.is_in(member, channel):
                continue
            if not self._presence.lingers(channel, info.client):
                # it may have gone before it was known to be there: nobody else would see it; or
                # the others may have heard of that first
                self._presence.leave(channel, info.client)
                self._announce_leave(channel, info)

    def left(self, client: str, *, vanished: bool) -> None:
        """Note that a connection has ended; what fails for one channel is logged.

        Args:
            client: names it.
            vanished: it may come back at once, as in a reload.
        """
        for channel in self._presence.channels(client):
            try:
                linger = self.channels.rule(channel).linger if vanished else 0.0
                self._announce_leave(channel, self._presence.leave(channel, client, linger))
            except Exception:
                logger.exception("cannot tell that %s has left %r", client, channel)
        if vanished and self.next_departure() is not None:
            self._on_linger()

    def depart(self) -> None:
        """Tell of those who have vanished and did not come back; what fails for one is logged."""
        for channel, info in self._presence.due():
            try:
                self._announce_leave(channel, info)
            except Exception:
                logger.exception("cannot tell that %s has left %r", info.client, channel)

    def next_departure(self) -> float | None:
        """Return the seconds until ``depart`` may have something to do; None: nothing."""
        return self._presence.next_due()

    def _announce_leave(self, channel: str, info: Info | None) -> None:
        if info is not None and self.channels.rule(channel).join_leave:
            self._tell(channel, info, False)

    def _tell(self, channel: str, info: Info, joined: bool) -> None:
        audience = self._hub.audience(channel)
        arriving = tuple(one.member for one in audience.joining if one.is_settled)
        for protocol, members in (*audience.groups, *grouped(arriving)):
            data = protocol.presence(channel, info, joined)
            if data is not None:
                self._send(members, data)

    def presence(self, channel: str) -> dict[str, Info]:
        """Return who is in a channel, by client; without a rule for it, nobody is known."""
        return self._presence.of(channel)

    def presence_stats(self, channel: str) -> Stats:
        """Return how many are in a channel; see ``presence``."""
        return self._presence.stats(channel)


def _settle(joinings: Sequence[Joining], pages: Sequence[Page], queue: Queue,
            newer: tuple[Iterable[Publication], ...] = ()) -> bool:
    """Settle all, each inside the one before, so that one answer is for them all."""
    index = len(newer)
    if index == len(pages):
        queue(newer)
        return True
    return joinings[index].settle(
        pages[index], lambda since: _settle(joinings, pages, queue, (*newer, since)))
