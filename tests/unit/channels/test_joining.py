"""Subscribe, replay and live delivery, interleaved in every way: no gap and no double."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.channels.history import History
from pushserver.channels.publication import NOWHERE, Limits, Page, Position, Publication
from pushserver.channels.joining import KEPT, KNOWN, LIVE, Joining

EPOCH = "e"


def publication(offset):
    found = Publication.of(offset)
    found.offset = offset
    return found


def settle(joining, page):
    """Return the offsets that were queued behind the reply, None if nothing was."""
    queued = []
    if not joining.settle(page, lambda newer: queued.extend(newer)):
        assert not queued
        return None
    return [item.offset for item in queued]


def page(top, epoch=EPOCH):
    return Page((), Position(top, epoch), True)


def test_what_comes_during_the_replay_follows_it_once():
    joining = Joining("m")
    assert [joining.offer(publication(offset), EPOCH) for offset in (4, 5, 6)] == [KEPT] * 3
    assert settle(joining, page(5)) == [6]
    assert joining.offer(publication(7), EPOCH) == LIVE


def test_a_replay_that_is_ahead_of_live_delivery_is_not_doubled():
    joining = Joining("m")
    assert settle(joining, page(6)) == []
    assert [joining.offer(publication(offset), EPOCH) for offset in (5, 6)] == [KNOWN] * 2
    assert joining.offer(publication(7), EPOCH) == LIVE


def test_a_hole_behind_the_replay_is_told():
    joining = Joining("m")
    joining.offer(publication(8), EPOCH)
    assert settle(joining, page(6)) is None
    assert joining.offer(publication(9), EPOCH) == KNOWN


def test_a_history_that_began_anew_is_told():
    joining = Joining("m")
    joining.offer(publication(1), "new")
    assert settle(joining, page(6)) is None


def test_a_history_that_begins_anew_later_is_delivered():
    joining = Joining("m")
    assert settle(joining, page(6)) == []
    assert joining.offer(publication(1), "new") == LIVE


def test_a_channel_without_memory_delivers_all_that_comes():
    joining = Joining("m")
    joining.offer(publication(0), "")
    assert settle(joining, Page((), NOWHERE, False)) == [0]
    assert joining.offer(publication(0), "") == LIVE


def test_who_has_left_gets_nothing():
    joining = Joining("m")
    joining.offer(publication(1), EPOCH)
    joining.cancel()
    assert settle(joining, page(0)) is None
    assert joining.offer(publication(2), EPOCH) == KNOWN


@pytest.mark.parametrize("limit, most", [("MAX_KEPT", 2), ("MAX_KEPT_BYTES", 300)])
def test_too_much_at_once_is_told_and_not_kept(monkeypatch, limit, most):
    monkeypatch.setattr(f"pushserver.channels.joining.{limit}", most)
    joining = Joining("m")
    for offset in (1, 2, 3):
        joining.offer(publication(offset), EPOCH)
    assert settle(joining, page(0)) is None


class World:
    """One channel, publishers whose publications travel, and subscribers that come and go.

    What is published is in the history at once and reaches this node later, as with a broker on
    another machine.
    """

    def __init__(self, size, most=1000):
        self.most = most    # publications that are sent at once
        self.history = History(EPOCH, Limits(size, 1 << 30, 0))
        self.travelling = []
        self.subscribers = [Subscriber(self) for _ in range(3)]
        self.published = 0

    def publish(self, _):
        self.published += 1
        item = Publication.of(self.published)
        self.history.append(item)
        self.travelling.append(item)

    def arrive(self, _):
        """Deliver the next publication as the server does."""
        if self.travelling:
            item = self.travelling.pop(0)
            for subscriber in self.subscribers:
                subscriber.arrived(item)

    def finish(self):
        while self.travelling:
            self.arrive(0)
        for subscriber in self.subscribers:
            subscriber.finish()


class Subscriber:
    """A client: what it has read, where it stands, and the connection that it has or not."""

    def __init__(self, world):
        self.world = world
        self.position = None        # before it was ever subscribed
        self.log = []
        self.gaps = []              # offsets at which it was told that some are lost
        self.drop()

    def drop(self):
        self.stage = 0
        self.joining = None
        self.live = False
        self.wire = []

    def cut(self):
        """Lose the connection, with what is on the wire."""
        if self.joining:
            self.joining.cancel()
        self.drop()

    def arrived(self, item):
        if self.live:
            self.wire.append(("push", item.offset))
        elif self.joining:
            fate = self.joining.offer(item, EPOCH)
            if fate == LIVE:
                self.wire.append(("push", item.offset))
                self.live = True

    def step(self):
        """Go one step on: begin, read the history, settle, then read what is on the wire."""
        if self.stage == 0:
            self.joining = Joining(self)
            self.stage = 1
        elif self.stage == 1:
            self.page = self.world.history.since(self.position)
            self.stage = 2
        elif self.stage == 2:
            if self.joining.settle(self.page, self.queue, self.shorten()):
                self.stage = 4 if self.is_behind else 3
            else:
                self.cut()
        elif self.stage == 4:
            assert self.joining.follow()
            self.page = self.world.history.since(self.joining.position)
            self.stage = 5
        elif self.stage == 5:
            if self.page.recovered and self.joining.settle(self.page, self.push, self.shorten()):
                self.stage = 4 if self.is_behind else 3
            else:
                self.cut()
        elif self.wire:
            self.read(self.wire.pop(0))

    def shorten(self):
        """Leave as much of the page as may be sent at once; return the position that it reaches."""
        kept = self.page.publications[:self.world.most]
        left = len(self.page.publications) - len(kept)
        self.is_behind = left > 0
        if not left:
            return None
        top = self.page.top._replace(offset=self.page.top.offset - left)
        self.page = self.page._replace(publications=kept, top=top)
        return top

    def push(self, newer):
        self.wire.extend(("push", item.offset) for item in (*self.page.publications, *newer))

    def queue(self, newer):
        self.wire.append(("reply", self.page, self.position))
        self.wire.extend(("push", item.offset) for item in newer)

    def read(self, message):
        if message[0] == "push":
            self.log.append(message[1])
            self.position = Position(message[1], EPOCH)
            return
        _, reply, asked = message
        if reply.recovered:
            self.log.extend(item.offset for item in reply.publications)
        elif asked is not None:
            self.gaps.append(reply.top.offset)
        else:
            self.first = reply.top.offset
        self.position = reply.top

    def finish(self):
        while self.stage != 3 or self.wire:
            self.step()


STEPS = st.one_of(
    st.tuples(st.just("publish"), st.just(0)), st.tuples(st.just("arrive"), st.just(0)),
    st.tuples(st.just("step"), st.integers(0, 2)), st.tuples(st.just("cut"), st.integers(0, 2)))


@given(st.lists(STEPS, max_size=80), st.integers(1, 6), st.integers(1, 4))
def test_every_subscriber_has_all_once_in_order_or_was_told_of_a_gap(steps, size, most):
    world = World(size, most)
    for name, which in steps:
        if name in ("publish", "arrive"):
            getattr(world, name)(which)
        else:
            getattr(world.subscribers[which], name)()
    world.finish()
    for subscriber in world.subscribers:
        expected, previous = [], subscriber.first
        for offset in subscriber.log:
            if offset != previous + 1:      # only where it was told so
                assert offset - 1 in subscriber.gaps, (subscriber.log, subscriber.gaps)
            assert offset > previous
            previous = offset
            expected.append(offset)
        assert max([previous, *subscriber.gaps]) == world.published


@given(st.lists(STEPS, max_size=80), st.integers(1, 4))
def test_with_enough_history_nobody_ever_misses_one(steps, most):
    world = World(1000, most)
    for name, which in steps:
        if name in ("publish", "arrive"):
            getattr(world, name)(which)
        else:
            getattr(world.subscribers[which], name)()
    world.finish()
    for subscriber in world.subscribers:
        assert subscriber.gaps == []
        assert subscriber.log == list(range(subscriber.first + 1, world.published + 1))
