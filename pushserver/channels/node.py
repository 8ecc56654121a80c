"""One node of a site: publishing, joining and presence, between its broker and its connections."""
from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Callable, Collection, Generic, Iterable, NamedTuple, Sequence

from .broker import Broker
from .delivery import Delivery
from .feed import HOLE, NEXT, Feed
from .hub import Audience, Hub, M, grouped
from .interest import Interest
from .joining import BROKEN, LIVE, Joining
from .presence import Info
from .publication import NOTHING, Page, Position, Publication
from .rules import ChannelRule, ChannelRules

logger = logging.getLogger(__name__)


class JoinRequest(NamedTuple):
    """A channel to join, and what a client has seen of it; None: it asks for nothing."""

    channel: str
    since: Position | None


Queue = Callable[..., None]
"""Queues an answer, and after it the publications that have come since, an argument a channel."""

Answer = Callable[[Sequence[Page]], Queue]
"""Makes the answer to subscriptions of what the histories returned, in the order in which they
were asked for, and returns what queues it."""


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


class Node(Generic[M]):
    """Publish to channels, let connections into them, and know who is there.

    Any thread may call it but the loop's, with no lock held: what the broker and its presence are
    asked may take them a network's time. Nothing here waits for a client.

    Args:
        hub: the connections of this node.
        rules: what holds for which channel.
        broker: joins this node with the others, or is all there is.
        delivery: queues bytes for connections.
        on_linger: called when somebody has vanished who still counts as there: ``depart`` has to
            be called after ``next_departure`` seconds.
    """

    def __init__(self, hub: Hub[M], rules: Iterable[ChannelRule], broker: Broker,
                 delivery: Delivery, on_linger: Callable[[], None] = lambda: None) -> None:
        self.rules = ChannelRules(rules)
        self.rule = self.rules.rule
        self.broker = broker
        self._hub = hub
        self._delivery = delivery
        self._on_linger = on_linger
        self._presence = broker.presence
        self._interest = Interest(broker, hub.has_channel)
        self._jobs: deque[Callable[[], None]] = deque()     # for when no lock is held

    def __repr__(self) -> str:
        return f"<Node {self.rules!r}, {self.broker!r}>"

    def start(self) -> None:
        """Join the other nodes; ``Delivery.begin`` comes first."""
        self._interest = Interest(self.broker, self._hub.has_channel)
        self._presence.start()
        self.broker.start(self)

    def stop(self) -> None:
        """Leave the other nodes; nobody is connected any more."""
        self.broker.stop()
        self._presence.stop()

    # Publishing

    def publish(self, channel: str, publication: Publication, key: str | None = None,
                remember: bool = True) -> Position:
        """Append one publication to a channel and queue it for every subscriber."""
        limits = self.rule(channel).limits if remember else NOTHING
        return self.broker.publish(channel, publication, limits, key)

    # What a broker calls

    def deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        """Queue a publication; see ``Receiver.deliver``."""
        audience = self._hub.audience(channel)
        feed = audience.feed
        if feed is None:
            return
        if epoch:
            verdict = feed.take(publication, epoch, audience.joining)
            if verdict == HOLE:
                self._jobs.append(partial(self._mend, channel, feed, publication.offset))
            if verdict != NEXT:
                return
        self._hand_out(audience, channel, publication, epoch)

    def wake(self) -> None:
        """Have what was delivered written; see ``Receiver.wake``."""
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:  # another thread has taken the last one
                break
            self._delivery.run(job)
        self._delivery.wake()

    def _hand_out(self, audience: Audience, channel: str, publication: Publication,
                  epoch: str) -> None:
        if audience.joining:
            self._hand_to_joining(channel, publication, epoch, audience.joining)
        for encoding, members in audience.groups:
            self._delivery.put(members, encoding.publication(channel, publication))

    def _hand_to_joining(self, channel: str, publication: Publication, epoch: str,
                         joining: Iterable[Joining]) -> None:
        verdicts = [(one, one.offer(publication, epoch)) for one in joining]
        arrived = tuple(one for one, verdict in verdicts if verdict == LIVE)
        for encoding, members in grouped(tuple(one.member for one in arrived)):
            self._delivery.put(members, encoding.publication(channel, publication))
        if arrived:
            self._hub.arrive(arrived, channel)
        broken = tuple(one.member for one, verdict in verdicts if verdict == BROKEN)
        if broken:
            self._take_out(channel, broken)

    # Holes in what a broker delivers

    def _mend(self, channel: str, feed: Feed, offset: int) -> None:
        """Deliver what was missing, or take those who keep positions out of the channel.

        Args:
            channel: its name.
            feed: how far its delivery has come.
            offset: that of the publication before which others are missing.
        """
        logger.warning("channel %r: publications before offset %d have not arrived", channel,
                       offset)
        page = None
        try:
            page = self.broker.recover(channel, self.rule(channel).limits, feed.position)
        except Exception:
            logger.exception("channel %r: its history cannot be read", channel)
        feed.mend(page, partial(self._hand_out_mended, channel))
        self.wake()

    def _hand_out_mended(self, channel: str, found: Iterable[tuple[Publication, str]],
                         whole: bool) -> None:
        if not whole:
            self._jobs.append(partial(logger.error, "channel %r: publications are lost: its "
                                      "clients are told", channel))
            self._take_out(channel, self._hub.members(channel))
        for publication, epoch in found:
            self._hand_out(self._hub.audience(channel), channel, publication, epoch)

    def _take_out(self, channel: str, members: tuple[M, ...]) -> None:
        """Take those who keep positions out of a channel, so that they ask for what they missed.

        They get nothing of it from now on: their positions would step over what is lost.
        """
        for member in members:
            if member.encoding.keeps_positions and self._hub.unsubscribe(member, channel):
                self._jobs.append(partial(member.lost, channel))

    # History

    def history(self, channel: str, limit: int | None, since: Position | None = None,
                reverse: bool = False) -> Page:
        """Read what a channel remembers."""
        limits = self.rule(channel).limits
        return self.broker.history(channel, limits, limit, since, reverse)

    # Subscribing

    def subscribe(self, member: M, channel: str, info: Callable[[], Info]) -> bool:
        """Put a connection into a channel from now on; False if it is in it, or has left.

        Args:
            member: the connection.
            channel: its name, checked.
            info: makes what is told of it, where that is kept.
        """
        if not self._hub.subscribe(member, channel):
            return False
        try:
            arrivals = self.enter([channel], lambda _: info())
        except BaseException:
            self._hub.unsubscribe(member, channel)
            raise
        self.announce(member, arrivals)
        return True

    def join(self, member: M, requests: Sequence[JoinRequest], info: Callable[[str], Info],
             answer: Answer) -> bool | None:
        """Put a connection into channels with what it has missed.

        By the time a client has read the answer it is known to be there; the others are told
        after that.

        Args:
            member: the connection.
            requests: the channels, their names checked.
            info: makes what is told of it in a channel, where that is kept.
            answer: called once with what was missed in each channel, or why not. What it returns
                is called at most once, with locks held: it queues, and must neither wait nor wake
                the loop, nor call this object.

        Returns:
            True: it is in the channels. False: it was in one already, or has left. None: there
            was a hole; it is in none, and should begin again. If not True, nothing was queued.
        """
        entered: list[tuple[str, Joining]] = []
        arrivals: list[Arrival] = []
        settled = False
        try:
            for channel, _ in requests:
                joining = Joining(member)
                if not self._hub.join(member, channel, joining):
                    return False
                entered.append((channel, joining))
            arrivals = self.enter([channel for channel, _ in requests], info)
            pages = [self._recover(*one) for one in requests]
            settled = _settle([joining for _, joining in entered], pages, answer(pages))
        finally:
            if not settled:
                self._take_back(member, entered, arrivals)
        self.announce(member, arrivals)
        return settled or None

    def _recover(self, channel: str, since: Position | None) -> Page:
        return self.broker.recover(channel, self.rule(channel).limits, since)

    def _take_back(self, member: M, entered: Iterable[tuple[str, Joining]],
                   arrivals: Iterable[Arrival]) -> None:
        """Undo what a ``join`` did that came to nothing."""
        for channel, joining in entered:
            self._hub.withdraw(member, channel, joining)
        self._forget(arrivals)
        self._tidy()

    def _forget(self, arrivals: Iterable[Arrival]) -> None:
        """Take back that somebody has come, of which nobody was told."""
        for one in arrivals:
            info = self._presence.leave(one.channel, one.info.client)
            if not one.is_told:  # it had taken the place of one that the others know of
                self._announce_leave(one.channel, info)

    def unsubscribe(self, member: M, channel: str, client: str) -> bool:
        """Take a connection out of a channel; tell whether it was in it."""
        if not self._hub.unsubscribe(member, channel):
            return False
        self.left_channel(channel, client)
        return True

    def left_channel(self, channel: str, client: str) -> None:
        """Note that a client has left one channel, and tell the others; what fails is logged."""
        self._leave(channel, client)
        self._tidy()

    def _leave(self, channel: str, client: str, linger: float = 0.0) -> None:
        try:
            self._announce_leave(channel, self._presence.leave(channel, client, linger))
        except Exception:
            logger.exception("cannot tell that %s has left %r", client, channel)

    def _tidy(self) -> None:
        """Let go of channels that nobody is in any more, and write what was queued."""
        self._let_go(self._hub.take_deserted())
        self.wake()

    def _let_go(self, channels: Iterable[str]) -> None:
        for channel in channels:
            try:
                self._interest.update(channel)
            except Exception:   # ``sweep`` tries again
                logger.exception("channel %r: the broker cannot be told that nobody is in it",
                                 channel)

    # Presence

    def enter(self, channels: Iterable[str], info: Callable[[str], Info]) -> list[Arrival]:
        """Have channels delivered, and note who is in them where their rules say so.

        Args:
            channels: their names.
            info: makes what others in a channel see.

        Returns:
            What ``announce`` takes as soon as the connection may hear of others.
        """
        arrivals = []
        for channel in channels:
            self._interest.update(channel)
            rule = self.rule(channel)
            if rule.keeps_presence:
                known = info(channel)
                is_told = self._presence.join(channel, known) and rule.join_leave
                arrivals.append(Arrival(channel, known, is_told))
        return arrivals

    def expect(self, channels: Collection[str], info: Callable[[str], Info]) -> list[Arrival]:
        """Do as ``enter`` for a connection that the hub does not know yet.

        ``expected`` has to follow once it does. What is raised leaves nothing behind.
        """
        arrivals: list[Arrival] = []
        held: list[str] = []
        try:
            for channel in channels:
                self._interest.hold(channel)
                held.append(channel)
                arrivals += self.enter([channel], info)
        except BaseException:
            self.expected(held)
            self._let_go(held)
            self._forget(arrivals)
            raise
        return arrivals

    def expected(self, channels: Iterable[str]) -> None:
        """End what ``expect`` began: from now on the hub says who is in these channels."""
        for channel in channels:
            self._interest.release(channel)

    def announce(self, member: M, arrivals: Iterable[Arrival]) -> None:
        """Tell the others who has come, unless they left in this moment; what fails is logged."""
        for arrival in arrivals:
            try:
                self._announce(member, arrival)
            except Exception:
                logger.exception("cannot tell that %s has come into %r", arrival.info.client,
                                 arrival.channel)
        self.wake()

    def _announce(self, member: M, arrival: Arrival) -> None:
        channel, info, is_told = arrival
        if is_told:
            self._tell(channel, info, True)
        if not self._hub.is_in(member, channel) \
                and not self._presence.lingers(channel, info.client):
            # it may have gone before it was known to be there: nobody else would see it; or the
            # others may have heard of that first
            self._presence.leave(channel, info.client)
            self._announce_leave(channel, info)

    def left(self, client: str | None, *, vanished: bool) -> None:
        """Note that a connection has ended; what fails is logged.

        Args:
            client: names it; None: nobody has ever asked for its name.
            vanished: it may come back at once, as in a reload.
        """
        try:
            if client is not None:
                self._leave_all(client, vanished)
        except Exception:
            logger.exception("cannot tell that %s has left", client)
        self._tidy()

    def _leave_all(self, client: str, vanished: bool) -> None:
        for channel in self._presence.channels(client):
            self._leave(channel, client, self.rule(channel).linger if vanished else 0.0)
        if vanished and self.next_departure() is not None:
            self._on_linger()

    def depart(self) -> None:
        """Tell of those who have vanished and did not come back; what fails for one is logged."""
        for channel, info in self._presence.due():
            try:
                self._announce_leave(channel, info)
            except Exception:
                logger.exception("cannot tell that %s has left %r", info.client, channel)
        self.wake()

    def sweep(self) -> None:
        """Free what is too old, and let go of channels where that has failed before."""
        self.broker.sweep()
        self._tidy()
        self._interest.sweep()

    def next_departure(self) -> float | None:
        """Return the seconds until ``depart`` may have something to do; None: nothing."""
        return self._presence.next_due()

    def _announce_leave(self, channel: str, info: Info | None) -> None:
        if info is not None and self.rule(channel).join_leave:
            self._tell(channel, info, False)

    def _tell(self, channel: str, info: Info, joined: bool) -> None:
        audience = self._hub.audience(channel)
        arriving = tuple(one.member for one in audience.joining if one.is_settled)
        for encoding, members in (*audience.groups, *grouped(arriving)):
            data = encoding.presence(channel, info, joined)
            if data is not None:
                self._delivery.put(members, data)


def _settle(joinings: Sequence[Joining], pages: Sequence[Page], queue: Queue,
            newer: tuple[Iterable[Publication], ...] = ()) -> bool:
    """Settle all, each inside the one before, so that one answer is for them all."""
    index = len(newer)
    if len(pages) == 1:
        return joinings[0].settle(pages[0], queue)
    if index == len(pages):
        queue(*newer)
        return True
    return joinings[index].settle(
        pages[index], lambda since: _settle(joinings, pages, queue, (*newer, since)))
