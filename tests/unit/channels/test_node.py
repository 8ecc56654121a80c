"""Between broker and hub: who gets what, encoded how often, and who is said to be there."""
from __future__ import annotations

import threading

import pytest

from pushserver import ChannelRule
from pushserver.channels.node import Exchange
from pushserver.channels.history import NOWHERE, Position, Publication
from pushserver.channels.hub import Hub
from pushserver.channels.presence import Info
from pushserver.channels.joining import Joining
from tests.support.history import FakeClock

RULES = (ChannelRule("kept:", history=100), ChannelRule("here:", join_leave=True, linger=15))


class Speech:
    """A protocol that counts how often it encodes."""

    def __init__(self, name):
        self.name = name
        self.encoded = 0

    def publication(self, channel, publication):
        self.encoded += 1
        return f"{self.name}:{publication.data}"

    def presence(self, channel, info, joined):
        return f"{'+' if joined else '-'}{info.user}" if self.name == "full" else None


class Member:
    def __init__(self, Id, protocol):
        self.Id = Id
        self.user = Id
        self.protocol = protocol
        self.channels = None
        self.got = []

    def __repr__(self):
        return f"<{self.Id}>"

    def info(self):
        return Info(self.Id, self.user)

    def channel_info(self, channel):
        return self.info()


class World:
    def __init__(self):
        self.hub = Hub(max_connections=1000, max_per_id=16, duplicates="share")
        self.clock = FakeClock()
        self.deliveries = []
        self.woken = 0
        self.plain, self.full = Speech("plain"), Speech("full")
        self.exchange = Exchange(self.hub, RULES, self.send, self.wake, self.clock)

    def wake(self):
        self.woken += 1

    def send(self, members, data):
        self.deliveries.append((members, data))
        for member in members:
            member.got.append(data)

    def member(self, Id="1", full=True):
        member = Member(Id, self.full if full else self.plain)
        self.hub.reserve(Id)
        self.hub.add(member)
        return member

    def join(self, member, *wanted):
        """Join with an answer that is written down."""
        def answer(pages):
            def queue(newer):
                for page, since in zip(pages, newer):
                    member.got.append((page.recovered, [one.data for one in page.publications]))
                    member.got.extend(f"{member.protocol.name}:{one.data}" for one in since)
            return queue
        return self.exchange.join(member, wanted, member.channel_info, answer)

    def publish(self, channel, data):
        return self.exchange.publish(channel, Publication.of(data))


@pytest.fixture
def world():
    return World()


def test_a_publication_is_encoded_once_for_each_protocol(world):
    members = [world.member(str(number), full=number % 2) for number in range(10)]
    for member in members:
        world.exchange.subscribe(member, "c", member.info)
    world.publish("c", "x")
    assert (world.plain.encoded, world.full.encoded) == (1, 1)
    assert [member.got for member in members] == [["plain:x"], ["full:x"]] * 5
    assert len(world.deliveries) == 2


def test_the_same_subscribers_are_the_same_tuple_each_time(world):
    member = world.member()
    assert world.join(member, ("kept:a", None))
    for number in range(4):
        world.publish("kept:a", number)
    tuples = [members for members, _ in world.deliveries]
    assert tuples[1] is tuples[2] is tuples[3]


def test_a_join_brings_what_was_missed_and_then_what_follows(world):
    position = world.publish("kept:a", 1)
    world.publish("kept:a", 2)
    member = world.member()
    assert world.join(member, ("kept:a", position))
    world.publish("kept:a", 3)
    assert member.got == [(True, [2]), "full:3"]
    assert not world.join(member, ("kept:a", position))


def test_several_joins_have_one_reply(world):
    world.publish("kept:a", 1)
    member = world.member()
    assert world.join(member, ("kept:a", NOWHERE), ("kept:b", NOWHERE), ("c", None))
    assert member.got == [(True, [1]), (True, []), (False, [])]
    for channel in ("kept:a", "kept:b", "c"):
        world.publish(channel, channel)
    assert member.got[3:] == ["full:kept:a", "full:kept:b", "full:c"]


def test_who_is_in_one_of_them_joins_none(world):
    member = world.member()
    assert world.exchange.subscribe(member, "b", member.info)
    assert world.join(member, ("a", None), ("b", None)) is False
    assert member.channels == {"b"} and member.got == []
    assert world.join(Member("2", world.full), ("a", None)) is False


def test_a_hole_is_told_and_nothing_is_left_behind(world):
    member = world.member()
    recover = world.exchange.broker.recover

    def behind(channel, limits, since, limit=None):
        page = recover(channel, limits, since, limit)
        world.publish(channel, "after the page")
        world.exchange._deliver(channel, published(9), page.top.epoch)
        return page

    def published(offset):
        found = Publication.of("from afar")
        found.offset = offset
        return found

    world.exchange.broker.recover = behind
    assert world.join(member, ("kept:a", NOWHERE)) is None
    assert not member.channels and not world.hub._joining and member.got == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_join_that_races_with_the_first_publication_has_it_once(world, moment):
    member = world.member()
    recover = world.exchange.broker.recover

    def racing(channel, limits, since, limit=None):
        if moment == "before":
            world.publish(channel, 1)
        page = recover(channel, limits, since, limit)
        if moment == "after":
            world.publish(channel, 1)
        return page

    world.exchange.broker.recover = racing
    assert world.join(member, ("kept:a", NOWHERE))
    world.publish("kept:a", 2)
    first = [(True, [1])] if moment == "before" else [(True, []), "full:1"]
    assert member.got == [*first, "full:2"]


def test_threads_that_race_with_the_first_publications_have_each_once(world):
    failures = []

    def publish(channel):
        start.wait()
        for number in range(3):
            world.publish(channel, number)

    for round_ in range(200):
        channel, member, start = f"kept:{round_}", world.member(str(round_)), threading.Barrier(2)
        thread = threading.Thread(target=publish, args=(channel,))
        thread.start()
        start.wait()
        joined = world.join(member, (channel, NOWHERE))
        thread.join()
        (recovered, first), *live = member.got
        if not joined or not recovered or \
                first + [int(text.split(":")[1]) for text in live] != [0, 1, 2]:
            failures.append(member.got)
    assert not failures


def test_who_joins_anew_while_its_first_joining_arrives_misses_nothing(world):
    """The second joining, not settled yet, must stay one when the first is said to arrive."""
    member = world.member()
    assert world.join(member, ("kept:a", NOWHERE))
    arrive, recover = world.hub.arrive, world.exchange.broker.recover
    second = Joining(member)

    def late(arrived, channel):
        if not again:
            again.append(world.exchange.unsubscribe(member, channel, "1"))
            assert world.hub.join(member, channel, second)
        arrive(arrived, channel)

    again = []
    world.hub.arrive = late
    world.publish("kept:a", 1)
    assert again == [True] and world.hub._joining["kept:a"] == {member: second}
    page = recover("kept:a", RULES[0].limits, NOWHERE)
    world.publish("kept:a", 2)
    assert member.got == [(True, []), "full:1"]
    newer = []
    assert second.settle(page, newer.extend)
    assert [one.data for one in (*page.publications, *newer)] == [1, 2]
    world.publish("kept:a", 3)
    assert member.got[2:] == ["full:3"]
    assert not world.hub._joining and member in world.hub._channels["kept:a"]


def fails(*_):
    raise ValueError("no")


@pytest.mark.parametrize("answer", [fails, lambda pages: fails], ids=["made", "queued"])
def test_an_answer_that_fails_leaves_nothing_behind(world, answer):
    member, other = world.member(), world.member("other")
    world.exchange.subscribe(other, "here:a", other.info)
    other.got.clear()
    with pytest.raises(ValueError):
        world.exchange.join(member, [("here:a", None), ("b", None)], member.channel_info, answer)
    assert not member.channels and not world.hub._joining
    assert set(world.exchange.presence("here:a")) == {"other"} and other.got == []


def test_a_join_that_fails_gives_up_the_place_that_it_has_taken(world):
    """The others know of the one that vanished, and never heard of the one in its place."""
    ann, bob, again = world.member("ann"), world.member("bob"), world.member("again")
    again.user = "bob"
    for member in (ann, bob):
        world.exchange.subscribe(member, "here:a", member.info)
    world.hub.remove(bob)
    world.exchange.left("bob", vanished=True)
    with pytest.raises(ValueError):
        world.exchange.join(again, [("here:a", None)], again.channel_info, fails)
    assert ann.got[-1] == "-bob" and set(world.exchange.presence("here:a")) == {"ann"}


def test_what_failed_does_not_end_what_has_begun_since(world):
    member = world.member()

    def answer(pages):
        world.exchange.unsubscribe(member, "a", "1")
        assert world.join(member, ("a", None))
        fails()

    with pytest.raises(ValueError):
        world.exchange.join(member, [("a", None)], member.channel_info, answer)
    world.publish("a", "x")
    assert member.got == [(False, []), "full:x"]


def test_who_has_the_answer_is_known_to_be_there_and_told_of_behind_it(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.join(ann, ("here:a", None))
    assert ann.got == [(False, []), "+ann"]

    def answer(pages):
        assert set(world.exchange.presence("here:a")) == {"ann", "bob"}
        assert ann.got[2:] == []
        return lambda newer: bob.got.append("answer")

    assert world.exchange.join(bob, [("here:a", None)], bob.channel_info, answer)
    assert ann.got[2:] == ["+bob"] and bob.got == ["answer", "+bob"]


def test_who_has_just_been_answered_is_told_who_comes(world):
    """The answer may be read before the one who queues it has noted that it is out."""
    ann, bob = world.member("ann"), world.member("bob")

    def queue(newer):
        ann.got.append("answer")
        coming.start()
        coming.join(0.2)

    coming = threading.Thread(target=world.exchange.subscribe, args=(bob, "here:a", bob.info))
    assert world.exchange.join(ann, [("here:a", None)], ann.channel_info, lambda pages: queue)
    coming.join()
    assert ann.got[0] == "answer" and set(ann.got[1:]) == {"+ann", "+bob"}


def test_who_leaves_before_the_others_are_told_has_left_for_them(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.exchange.subscribe(ann, "here:a", ann.info)
    world.hub.subscribe(bob, "here:a")
    arrivals = world.exchange.enter(["here:a"], bob.channel_info)
    world.exchange.unsubscribe(bob, "here:a", "bob")
    world.exchange.announce(bob, arrivals)
    assert ann.got[-2:] == ["+bob", "-bob"] and set(world.exchange.presence("here:a")) == {"ann"}


def test_who_vanishes_before_the_others_are_told_lingers(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.exchange.subscribe(ann, "here:a", ann.info)
    world.hub.subscribe(bob, "here:a")
    arrivals = world.exchange.enter(["here:a"], bob.channel_info)
    world.hub.remove(bob)
    world.exchange.left("bob", vanished=True)
    world.exchange.announce(bob, arrivals)
    assert ann.got[-1] == "+bob"
    world.clock.now += 15
    world.exchange.depart()
    assert ann.got[-1] == "-bob" and set(world.exchange.presence("here:a")) == {"ann"}


def test_who_has_left_while_joining_gets_nothing_more(world):
    member = world.member()
    assert world.join(member, ("a", None))
    world.hub.remove(member)
    world.publish("a", "x")
    assert member.got == [(False, [])]
    assert not world.hub._joining and not world.hub._channels and not world.hub._audiences


def test_comings_and_goings_are_told_to_those_who_understand(world):
    ann, bob = world.member("ann"), world.member("bob", full=False)
    world.join(ann, ("here:a", None))
    world.exchange.subscribe(bob, "here:a", bob.info)
    assert ann.got == [(False, []), "+ann", "+bob"] and bob.got == []
    world.exchange.unsubscribe(bob, "here:a", "bob")
    assert ann.got[3:] == ["-bob"]
    assert world.exchange.presence_stats("here:a") == (1, 1)


def test_who_vanishes_is_looked_for_when_its_linger_is_over(world):
    ann, bob = world.member("ann"), world.member("bob")
    for member in (ann, bob):
        world.exchange.subscribe(member, "here:a", member.info)
    world.hub.remove(bob)
    world.exchange.left("bob", vanished=True)
    assert world.woken == 1 and world.exchange.next_departure() == 15
    world.exchange.depart()
    assert "-bob" not in ann.got and set(world.exchange.presence("here:a")) == {"ann", "bob"}
    world.clock.now += 15
    world.exchange.depart()
    assert ann.got[-1] == "-bob" and set(world.exchange.presence("here:a")) == {"ann"}
    world.hub.remove(ann)
    world.exchange.left("ann", vanished=False)
    assert world.exchange.presence("here:a") == {}


@pytest.mark.parametrize("linger", [False, True])
def test_what_fails_for_one_channel_keeps_nobody_in_the_others(world, caplog, linger):
    channels = ["here:a", "here:b", "here:c"]
    ann, bob = world.member("ann"), world.member("bob")
    for channel in channels:
        for member in (ann, bob):
            world.exchange.subscribe(member, channel, member.info)
    world.hub.remove(bob)
    ann.got.clear()
    presence = world.full.presence

    def failing(channel, info, joined):
        if channel == "here:b":
            raise ValueError("no")
        return f"{presence(channel, info, joined)} {channel}"

    world.full.presence = failing
    world.exchange.left("bob", vanished=linger)
    world.clock.now += 15
    world.exchange.depart()
    assert ann.got == ["-bob here:a", "-bob here:c"]
    assert all(set(world.exchange.presence(channel)) == {"ann"} for channel in channels)
    assert [entry.getMessage() for entry in caplog.records] == [
        "cannot tell that bob has left 'here:b'"]


def test_who_left_while_it_entered_is_not_kept(world):
    ann = world.member("ann")
    world.hub.remove(ann)
    world.exchange.announce(ann, world.exchange.enter(["here:a"], ann.channel_info))
    assert world.exchange.presence("here:a") == {}


def test_threads_that_publish_join_and_leave_miss_nothing(world):
    """Each joiner's log must be all of the channel from where it asked to, once and in order."""
    total, channel, over = 3000, "kept:flood", threading.Event()
    world.exchange = Exchange(world.hub, [ChannelRule("kept:", history=total)], world.send)
    world.publish(channel, 0)
    epoch = world.exchange.history(channel, 0).top.epoch
    failures = []

    def publish():
        for number in range(1, total):
            world.publish(channel, number)
        over.set()

    def follow(name):
        round_ = 0
        while not over.is_set() and not failures:
            round_ += 1
            member = world.member(f"{name}-{round_}")
            since = Position(round_ % 7, epoch)
            if not world.join(member, (channel, since)):
                failures.append("refused")
            for _ in range(200):
                if len(member.got) > 3:
                    break
            world.hub.remove(member)
            (recovered, first), *live = list(member.got)
            numbers = first + [int(text.split(":")[1]) for text in live]
            if not recovered or numbers != list(range(since.offset, since.offset + len(numbers))):
                failures.append((since, numbers[:5], numbers[-5:]))

    threads = [threading.Thread(target=publish)]
    threads += [threading.Thread(target=follow, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
