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
from .made_once import MadeOnce
from .presence import Info
from .publication import NOTHING, Page, Position, Publication
from .rules import ChannelRule, ChannelRules

logger = logging.getLogger(__name__)


class JoinRequest(NamedTuple):
    """A channel to join, and the last position the client has seen; None: no recovery."""

    channel: str
    since: Position | None


Queue = Callable[..., None]
"""Queues an answer, then the publications that have come since: one argument for each channel."""

Answer = Callable[[Sequence[Page]], tuple[Queue, Sequence["Position | None"]]]
"""Makes the answer to subscriptions from what their histories returned, in the order of the
requests. Returns what queues it, and for each channel None, or the position that the answer reaches
if it does not hold all of the page: ``catch_up`` must follow."""


class Arrival(NamedTuple):
    """A client that was noted as present in a channel.

    Attributes:
        channel: its name.
        info: what others see of the client.
        is_told: the others are to be told; false if its user was already there.
    """

    channel: str
    info: Info
    is_told: bool


class Node(Generic[M]):
    """Publish to channels, add connections to them, and track presence.

    Any thread except the loop's may call it, with no lock held: calls to the broker and its
    presence may wait for a network. Nothing here waits for a client.

    Args:
        hub: the connections of this node.
        rules: the channels' rules.
        broker: connects this node with any others.
        delivery: queues bytes for connections.
        on_linger: called when a client has vanished but still counts as present: ``depart`` must
            be called after ``next_departure`` seconds.

    Attributes:
        made_of_presence: what was encoded for those who asked who is in a channel.
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
        self.made_of_presence = MadeOnce()
        self._interest = Interest(broker, hub.has_channel)
        self._jobs: deque[Callable[[], None]] = deque()     # for when no lock is held

    def __repr__(self) -> str:
        return f"<Node {self.rules!r}, {self.broker!r}>"

    def start(self) -> None:
        """Join the other nodes; ``Delivery.begin`` must come first."""
        self._interest = Interest(self.broker, self._hub.has_channel)
        self._presence.start()
        self.broker.start(self)

    def stop(self) -> None:
        """Leave the other nodes; no connection is left."""
        self.broker.stop()
        self._presence.stop()

    # Publishing

    def publish(self, channel: str, publication: Publication, key: str | None = None,
                remember: bool = True, maker: str = "") -> Position:
        """Append one publication to a channel and queue it for every subscriber.

        Args:
            channel: its name, checked.
            publication: see ``Broker.publish``.
            key: see ``Broker.publish``.
            remember: False: only queue it.
            maker: see ``Broker.publish``.
        """
        limits = self.rule(channel).limits if remember else NOTHING
        return self.broker.publish(channel, publication, limits, key, maker)

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
        """Start writing what was delivered; see ``Receiver.wake``."""
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
        # one that knows its position stays until it shows where delivery continues; see ``Feed``
        arrived = tuple(one for one in arrived if epoch or not one.position.epoch)
        if arrived:
            self._hub.arrive(arrived, channel)
        broken = tuple(one.member for one, verdict in verdicts if verdict == BROKEN)
        if broken:
            self._take_out(channel, broken)

    # Holes in what a broker delivers

    def _mend(self, channel: str, feed: Feed, offset: int) -> None:
        """Deliver what was missing, or remove those who keep positions from the channel.

        Args:
            channel: its name.
            feed: how far its delivery has got.
            offset: of the publication that follows the hole.
        """
        logger.warning("channel %r: publications before offset %d have not arrived", channel,
                       offset)
        page = None
        try:
            page = self.broker.recover(channel, self.rule(channel).limits, feed.position)
        except Exception:
            logger.exception("channel %r: its history cannot be read", channel)
        feed.mend(page, partial(self._hand_out_mended, channel, feed))
        self.wake()

    def _hand_out_mended(self, channel: str, feed: Feed,
                         found: Iterable[tuple[Publication, str]], whole: bool) -> None:
        if not whole:
            self._jobs.append(partial(logger.error, "channel %r: publications are lost: "
                                      "telling its clients", channel))
            self._take_out(channel, self._hub.members(channel))
        for publication, epoch in found:
            audience = self._hub.audience(channel)
            if audience.feed is feed:   # else all have left, and new ones have a feed of their own
                self._hand_out(audience, channel, publication, epoch)

    def _take_out(self, channel: str, members: tuple[M, ...]) -> None:
        """Remove those who keep positions from a channel, so that they ask for what they missed.

        They get no more from it: their positions would skip what is lost.
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
        """Add a connection to a channel; False if it is already in it, or has left.

        Args:
            member: the connection.
            channel: its name, checked.
            info: returns what others see of the client; called only if presence is kept.
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
        """Add a connection to channels, with what it has missed.

        By the time a client reads the answer, it counts as present; the others are told later.

        Args:
            member: the connection.
            requests: the channels, their names checked.
            info: returns what others in a channel see; called only if presence is kept.
            answer: called once with a page for each channel, of what was missed. What it returns
                is called at most once, with locks held: it must only queue, and must not wait,
                wake the loop or call this object.

        Returns:
            True: it is in the channels. False: it was already in one, or has left. None: there
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
            settled = _settle([joining for _, joining in entered], pages, *answer(pages))
        finally:
            if not settled:
                self._take_back(member, entered, arrivals)
        self.announce(member, arrivals)
        return settled or None

    def catch_up(self, member: M, channel: str, answer: Answer) -> bool | None:
        """Go on with what a connection has missed, and what ``join`` did not tell it.

        Args:
            member: the connection.
            channel: its name.
            answer: see ``join``; the page is what came after the position reached.

        Returns:
            True: it has got this, and is in the channel. False: it had left, or was not behind.
            None: the rest is lost, or it has left meanwhile; it is no longer in the channel.
        """
        joining = self._hub.joining(member, channel)
        if joining is None or not joining.follow():
            return False
        settled = False
        try:
            page = self._recover(channel, joining.position)
            if page.recovered:
                settled = _settle([joining], [page], *answer([page]))
        finally:
            if not settled:
                self._take_back(member, [(channel, joining)], ())
        self.wake()
        return settled or None

    def _recover(self, channel: str, since: Position | None) -> Page:
        return self.broker.recover(channel, self.rule(channel).limits, since)

    def _take_back(self, member: M, entered: Iterable[tuple[str, Joining]],
                   arrivals: Iterable[Arrival]) -> None:
        """Undo a ``join`` that failed."""
        for channel, joining in entered:
            self._hub.withdraw(member, channel, joining)
        self._forget(arrivals)
        self._tidy()

    def _forget(self, arrivals: Iterable[Arrival]) -> None:
        """Undo arrivals that were never announced; errors are logged."""
        for channel, info, is_told in arrivals:
            try:
                gone = self._presence.leave(channel, info.client)
                if is_told:     # another client of the user has relied on it being announced
                    self._correct(channel, info, False)
                else:
                    self._announce_leave(channel, gone)
            except Exception:
                logger.exception("cannot tell that %s has left %r", info.client, channel)
        self.wake()

    def unsubscribe(self, member: M, channel: str, client: str) -> bool:
        """Remove a connection from a channel; tell whether it was in it."""
        if not self._hub.unsubscribe(member, channel):
            return False
        self.left_channel(channel, client, vanished=False)
        return True

    def left_channel(self, channel: str, client: str, *, vanished: bool) -> None:
        """Note that a client has left one channel, and tell the others; errors are logged.

        Args:
            channel: its name.
            client: the connection's name.
            vanished: it will soon come back, because it was told to subscribe again.
        """
        if self.rule(channel).keeps_presence:
            self._leave(client, lambda: [channel], vanished)
        self._tidy()

    def _leave(self, client: str, channels: Callable[[], Iterable[str]], vanished: bool) -> None:
        try:
            for channel in channels():
                linger = self.rule(channel).linger if vanished else 0.0
                self._leave_one(channel, client, linger)
            if vanished and self.next_departure() is not None:
                self._on_linger()
        except Exception:
            logger.exception("cannot tell that %s has left", client)

    def _leave_one(self, channel: str, client: str, linger: float) -> None:
        try:
            self._announce_leave(channel, self._presence.leave(channel, client, linger))
        except Exception:
            logger.exception("cannot tell that %s has left %r", client, channel)

    def _tidy(self) -> None:
        """Unsubscribe from channels that no longer have connections; start writing the queue."""
        self._let_go(self._hub.take_deserted())
        self.wake()

    def _let_go(self, channels: Iterable[str]) -> None:
        for channel in channels:
            try:
                self._interest.update(channel)
            except Exception:   # ``sweep`` tries again
                logger.exception("channel %r: cannot tell the broker that it is empty", channel)

    # Presence

    def enter(self, channels: Iterable[str], info: Callable[[str], Info]) -> list[Arrival]:
        """Start delivery of channels, and note the client as present where their rules say so.

        Args:
            channels: their names.
            info: returns what others in a channel see.

        Returns:
            The arguments for ``announce``, once the connection may hear about others. If this
            raises, nobody counts as present who did not before.
        """
        arrivals: list[Arrival] = []
        try:
            for channel in channels:
                self._interest.update(channel)
                rule = self.rule(channel)
                if rule.keeps_presence:
                    known = info(channel)
                    is_told = self._presence.join(channel, known) and rule.join_leave
                    arrivals.append(Arrival(channel, known, is_told))
        except BaseException:
            self._forget(arrivals)
            raise
        return arrivals

    def expect(self, channels: Collection[str], info: Callable[[str], Info]) -> list[Arrival]:
        """Do the same as ``enter``, for a connection that the hub does not know yet.

        ``expected`` must follow once it does. If this raises, everything has been undone.
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
        """Complete what ``expect`` began: from now on the hub says who is in these channels."""
        for channel in channels:
            self._interest.release(channel)

    def announce(self, member: M, arrivals: Iterable[Arrival]) -> None:
        """Tell the others who has joined, and who has already left again; errors are logged."""
        for arrival in arrivals:
            try:
                self._announce(member, arrival)
            except Exception:
                logger.exception("cannot tell that %s has joined %r", arrival.info.client,
                                 arrival.channel)
        self.wake()

    def _announce(self, member: M, arrival: Arrival) -> None:
        channel, info, is_told = arrival
        if is_told:
            self._tell(channel, info, True)
        if not self._hub.is_in(member, channel) \
                and not self._presence.lingers(channel, info.client):
            # it may have left before it was noted as present, so nobody else would see it; or the
            # others may have been told that it left before they were told that it joined
            gone = self._presence.leave(channel, info.client)
            if is_told:
                self._correct(channel, info, True)
            else:
                self._announce_leave(channel, gone)

    def left(self, client: str | None, *, vanished: bool) -> None:
        """Note that a connection has ended; errors are logged.

        Args:
            client: its name; None: nothing has ever asked for it.
            vanished: it may soon come back, as after a page reload.
        """
        if client is not None:
            self._leave(client, partial(self._presence.channels, client), vanished)
        self._tidy()

    def depart(self) -> None:
        """Announce that vanished clients have left; an error for one is logged."""
        for channel, info in self._presence.due():
            try:
                self._announce_leave(channel, info)
            except Exception:
                logger.exception("cannot tell that %s has left %r", info.client, channel)
        self.wake()

    def sweep(self) -> None:
        """Free what has expired, and unsubscribe from channels where that failed before."""
        self.broker.sweep()
        self._tidy()
        self._interest.sweep()

    def next_departure(self) -> float | None:
        """Return the seconds until ``depart`` may have something to do; None if it has nothing."""
        return self._presence.next_due()

    def _announce_leave(self, channel: str, info: Info | None) -> None:
        if info is not None and self.rule(channel).join_leave:
            self._tell(channel, info, False)
            self._correct(channel, info, False)

    def _correct(self, channel: str, info: Info, told: bool) -> None:
        """Tell the others again until it is right: a user may come and go while they are told.

        Args:
            channel: its name.
            info: a client of the user.
            told: what the others were told last: the user is there, or not.
        """
        found = self._presence.still(channel, info)
        while told != (found is not None):
            told = not told
            self._tell(channel, found or info, told)
            found = self._presence.still(channel, info)

    def _tell(self, channel: str, info: Info, joined: bool) -> None:
        audience = self._hub.audience(channel)
        arriving = tuple(one.member for one in audience.joining if one.is_answered)
        for encoding, members in (*audience.groups, *grouped(arriving)):
            data = encoding.presence(channel, info, joined)
            if data is not None:
                self._delivery.put(members, data)


def _settle(joinings: Sequence[Joining], pages: Sequence[Page], queue: Queue,
            reached: Sequence[Position | None],
            newer: tuple[Iterable[Publication], ...] = ()) -> bool:
    """Settle all, each inside the previous one, so that one answer covers them all."""
    index = len(newer)
    if len(pages) == 1:
        return joinings[0].settle(pages[0], queue, reached[0])
    if index == len(pages):
        queue(*newer)
        return True
    return joinings[index].settle(
        pages[index], lambda since: _settle(joinings, pages, queue, reached, (*newer, since)),
        reached[index])
