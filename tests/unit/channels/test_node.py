"""The node: who gets what, encoded how often, holes in delivery, and who is said to be there."""
from __future__ import annotations

import threading
from collections import deque

import pytest

from pushserver import ChannelRule
from pushserver.channels.delivery import Delivery
from pushserver.channels.memory_broker import MemoryBroker
from pushserver.channels.node import Node, JoinRequest
from pushserver.channels.publication import NOWHERE, Page, Position, Publication
from pushserver.channels.hub import Hub
from pushserver.channels.presence import Info
from pushserver.channels.joining import Joining
from tests.support.history import FakeClock
from tests.support.waiting import PATIENCE

RULES = (ChannelRule("kept:", history=100), ChannelRule("here:", join_leave=True, linger=15))


class Codec:
    """An encoding that counts how often it encodes."""

    def __init__(self, name):
        self.name = name
        self.keeps_positions = name == "full"
        self.encoded = 0

    def publication(self, channel, publication):
        self.encoded += 1
        return f"{self.name}:{publication.data}"

    def presence(self, channel, info, joined):
        return f"{'+' if joined else '-'}{info.user}" if self.name == "full" else None


class Member:
    def __init__(self, Id, encoding):
        self.Id = Id
        self.user = Id
        self.encoding = encoding
        self.channels = None
        self.got = []
        self.lost_channels = []

    def __repr__(self):
        return f"<{self.Id}>"

    def lost(self, channel):
        self.lost_channels.append(channel)

    def info(self):
        return Info(self.Id, self.user)

    def channel_info(self, channel):
        return self.info()


def written(member, most):
    """Return an answer that a member writes down; see ``World.join``."""
    def answer(pages):
        shown = [page.publications[:most] for page in pages]

        def queue(*newer):
            for page, publications, since in zip(pages, shown, newer):
                member.got.append((page.recovered, [one.data for one in publications]))
                member.got.extend(f"{member.encoding.name}:{one.data}" for one in since)

        return queue, [reached(page, publications) for page, publications in zip(pages, shown)]

    def reached(page, publications):
        left = len(page.publications) - len(publications)
        return page.top._replace(offset=page.top.offset - left) if left else None

    return answer


class World:
    def __init__(self):
        self.hub = Hub(max_connections=1000, max_per_id=16, duplicates="share")
        self.clock = FakeClock()
        self.deliveries = []
        self.woken = 0
        self.plain, self.full = Codec("plain"), Codec("full")
        self.node = self.make_node(RULES)

    def make_node(self, rules):
        """Return a node that has started; its jobs run at once."""
        delivery, broker = Delivery(), MemoryBroker(self.clock)
        delivery.begin(self.send, lambda: None, lambda job: job())
        self.presence = broker.presence
        node = Node(self.hub, rules, broker, delivery, self.expect_departures)
        node.start()
        return node

    def expect_departures(self):
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

    def join(self, member, *wanted, most=None):
        """Join with an answer that is written down, and holds at most so many of each channel."""
        return self.node.join(member, [JoinRequest(*one) for one in wanted], member.channel_info,
                              written(member, most))

    def catch_up(self, member, channel, most=None):
        return self.node.catch_up(member, channel, written(member, most))

    def publish(self, channel, data):
        return self.node.publish(channel, Publication.of(data))


@pytest.fixture
def world():
    return World()


def test_a_publication_is_encoded_once_for_each_protocol(world):
    members = [world.member(str(number), full=number % 2) for number in range(10)]
    for member in members:
        world.node.subscribe(member, "c", member.info)
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
    assert world.node.subscribe(member, "b", member.info)
    assert world.join(member, ("a", None), ("b", None)) is False
    assert member.channels == {"b"} and member.got == []
    assert world.join(Member("2", world.full), ("a", None)) is False


def test_who_is_expected_and_cannot_come_leaves_nothing_behind(world):
    told, broker, ann = [], world.node.broker, world.member("ann")
    world.node.subscribe(ann, "here:a", ann.info)
    ann.got.clear()
    broker.unsubscribe = lambda channel: told.append(channel)
    broker.subscribe = lambda channel: fails() if channel == "broken" else None
    with pytest.raises(ValueError):
        world.node.expect(["here:a", "here:b", "broken"], lambda channel: Info("bob", "bob"))
    assert set(world.presence.of("here:a")) == {"ann"} and world.presence.of("here:b") == {}
    assert told == ["here:b"] and ann.got == []


def test_a_channel_of_one_who_is_expected_is_delivered_before_it_comes(world):
    told, broker = [], world.node.broker
    broker.subscribe, broker.unsubscribe = told.append, lambda channel: told.append(f"-{channel}")
    world.node.expect(["a"], lambda channel: Info("bob", "bob"))
    assert told == ["a"]
    bob = world.member("bob")
    world.hub.subscribe(bob, "a")
    world.node.expected(["a"])
    assert told == ["a"]
    world.node.unsubscribe(bob, "a", "bob")
    assert told == ["a", "-a"]


def from_afar(offset):
    """Return a publication that another node has made."""
    found = Publication.of(offset)
    found.offset = offset
    return found


def test_a_history_behind_live_delivery_is_told_and_nothing_is_left_behind(world):
    member = world.member()
    world.node.broker.recover = lambda channel, *_: (
        world.node.deliver(channel, from_afar(9), "e"), Page((), Position(3, "e"), False))[1]
    assert world.join(member, ("kept:a", NOWHERE)) is None
    assert not member.channels and not world.hub._rooms and member.got == []


def remembering(world, count):
    """Return two members of a channel, and the epoch, with publications that only its history has.

    The first keeps positions, the second does not; both have seen the first publication.
    """
    full, plain = world.member("full"), world.member("plain", full=False)
    assert world.join(full, ("kept:a", None))
    world.node.subscribe(plain, "kept:a", plain.info)
    epoch = world.publish("kept:a", 1).epoch
    world.node.stop()   # what is published now is remembered and not delivered
    for number in range(2, 2 + count):
        world.publish("kept:a", number)
    world.node.broker.start(world.node)
    full.got.clear(), plain.got.clear()
    return full, plain, epoch


def test_a_hole_in_live_delivery_is_mended_from_the_history(world, caplog):
    full, plain, epoch = remembering(world, 3)
    world.publish("kept:a", 5)
    assert full.got == [f"full:{number}" for number in (2, 3, 4, 5)]
    assert plain.got == [f"plain:{number}" for number in (2, 3, 4, 5)]
    assert "before offset 5 have not arrived" in caplog.text and full.lost_channels == []
    world.publish("kept:a", 6)
    assert full.got[4:] == ["full:6"]


def test_what_comes_while_a_hole_is_mended_waits_behind_it(world):
    full, plain, epoch = remembering(world, 2)
    recover = world.node.broker.recover

    def busy(channel, *rest):
        page = recover(channel, *rest)
        world.publish(channel, 5)
        assert full.got == []
        return page

    world.node.broker.recover = busy
    world.publish("kept:a", 4)
    assert full.got == [f"full:{number}" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize("how", ["too old", "unreadable"])
def test_a_hole_that_the_history_does_not_hold_is_told_to_those_who_keep_positions(
        world, caplog, how):
    full, plain, epoch = remembering(world, 3)
    if how == "too old":
        world.node.broker.remove_history("kept:a")
    else:
        world.node.broker.recover = fails
    world.publish("kept:a", 5)
    assert full.lost_channels == ["kept:a"] and full.got == [] and not full.channels
    assert plain.got == ["plain:5"] and plain.channels == {"kept:a"}
    assert "publications are lost" in caplog.text
    world.publish("kept:a", 6)
    assert full.got == [] and plain.got == ["plain:5", "plain:6"]


def test_a_publication_that_is_delivered_twice_is_handed_out_once(world):
    full, plain, epoch = remembering(world, 0)
    for _ in range(2):
        world.node.deliver("kept:a", from_afar(2), epoch)
    world.node.deliver("kept:a", from_afar(1), epoch)
    assert full.got == ["full:2"] and plain.got == ["plain:2"]


def test_a_new_epoch_begins_with_its_first_publication_or_with_a_hole(world):
    full, plain, epoch = remembering(world, 0)
    world.node.deliver("kept:a", from_afar(1), "new")
    assert full.got == ["full:1"]
    world.node.deliver("kept:a", from_afar(2), "newer")
    world.node.wake()
    assert full.lost_channels == ["kept:a"] and full.got == ["full:1"]
    assert plain.got == ["plain:1", "plain:2"]


def test_a_hole_before_the_first_delivery_is_seen_by_what_the_history_said(world):
    """The room is new, but the one in it knows from the history where it stands."""
    position = world.publish("kept:a", 1)
    member = world.member()
    assert world.join(member, ("kept:a", position))
    world.node.stop()
    world.publish("kept:a", 2)
    world.node.broker.start(world.node)
    world.publish("kept:a", 3)
    assert member.got == [(True, []), "full:2", "full:3"]


def test_a_hole_behind_a_publication_that_is_not_remembered_is_seen_all_the_same(world):
    position = world.publish("kept:a", 1)
    member = world.member()
    assert world.join(member, ("kept:a", position))
    world.node.publish("kept:a", Publication.of("fleeting"), remember=False)
    world.node.stop()
    world.publish("kept:a", 2)
    world.node.broker.start(world.node)
    world.publish("kept:a", 3)
    assert member.got == [(True, []), "full:fleeting", "full:2", "full:3"]
    assert member in world.hub._rooms["kept:a"].members


def test_who_comes_when_all_others_were_taken_out_gets_nothing_of_what_was_held_for_them(world):
    full, plain, epoch = remembering(world, 1)
    world.hub.remove(plain)
    late, take_out = world.member("late"), world.node._take_out

    def racing(channel, members):
        take_out(channel, members)
        assert world.join(late, (channel, None))
        world.publish(channel, 4)

    world.node.broker.remove_history("kept:a")
    world.node._take_out = racing
    world.publish("kept:a", 3)
    assert full.lost_channels == ["kept:a"]
    assert late.got == [(False, []), "full:4"]


@pytest.mark.parametrize("limit, most", [("MAX_HELD", 2), ("MAX_HELD_BYTES", 300)])
def test_more_than_can_be_held_while_a_hole_is_mended_is_lost(world, monkeypatch, limit, most):
    monkeypatch.setattr(f"pushserver.channels.feed.{limit}", most)
    full, plain, epoch = remembering(world, 1)
    recover = world.node.broker.recover

    def slow(channel, *rest):
        for number in range(4, 8):
            world.publish(channel, number)
        return recover(channel, *rest)

    world.node.broker.recover = slow
    world.publish("kept:a", 3)
    assert full.lost_channels == ["kept:a"] and full.got == []


def test_the_broker_is_told_which_channels_somebody_is_in(world):
    told, broker = [], world.node.broker
    broker.subscribe = lambda channel: told.append(f"+{channel}")
    broker.unsubscribe = lambda channel: told.append(f"-{channel}")
    ann, bob = world.member("ann"), world.member("bob")
    world.node.subscribe(ann, "a", ann.info)
    world.join(bob, ("a", None), ("b", None))
    assert told == ["+a", "+b"]
    world.node.unsubscribe(ann, "a", "ann")
    assert told == ["+a", "+b"]
    world.hub.remove(bob)
    world.node.left("bob", vanished=False)
    assert told[:2] == ["+a", "+b"] and sorted(told[2:]) == ["-a", "-b"]


def test_who_joins_while_the_broker_is_told_that_nobody_is_there_waits_for_it(world):
    told, broker, left, go_on = [], world.node.broker, threading.Event(), threading.Event()

    def unsubscribe(channel):
        told.append("-")
        left.set()
        assert go_on.wait(PATIENCE)

    broker.subscribe, broker.unsubscribe = lambda channel: told.append("+"), unsubscribe
    ann, bob = world.member("ann"), world.member("bob")
    world.node.subscribe(ann, "a", ann.info)
    leaving = threading.Thread(target=world.node.unsubscribe, args=(ann, "a", "ann"))
    leaving.start()
    assert left.wait(PATIENCE)
    joined = []
    joining = threading.Thread(target=lambda: joined.append(world.join(bob, ("a", None))))
    joining.start()
    joining.join(0.05)
    assert told == ["+", "-"] and joined == []
    go_on.set()
    leaving.join(PATIENCE), joining.join(PATIENCE)
    assert told == ["+", "-", "+"] and joined == [True]


def test_a_channel_is_delivered_before_its_history_is_read(world):
    told, broker = [], world.node.broker
    recover = broker.recover
    broker.subscribe = lambda channel: told.append("subscribe")
    broker.recover = lambda *rest: (told.append("recover"), recover(*rest))[1]
    world.join(world.member(), ("kept:a", NOWHERE))
    assert told == ["subscribe", "recover"]


def test_a_broker_that_cannot_subscribe_leaves_nothing_behind(world):
    member = world.member()
    world.node.broker.subscribe = fails
    with pytest.raises(ValueError):
        world.node.subscribe(member, "a", member.info)
    with pytest.raises(ValueError):
        world.join(member, ("a", None))
    assert not member.channels and not world.hub._rooms


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_join_that_races_with_the_first_publication_has_it_once(world, moment):
    member = world.member()
    recover = world.node.broker.recover

    def racing(channel, limits, since, limit=None):
        if moment == "before":
            world.publish(channel, 1)
        page = recover(channel, limits, since, limit)
        if moment == "after":
            world.publish(channel, 1)
        return page

    world.node.broker.recover = racing
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
    arrive, recover = world.hub.arrive, world.node.broker.recover
    second = Joining(member)

    def late(arrived, channel):
        if not again:
            again.append(world.node.unsubscribe(member, channel, "1"))
            assert world.hub.join(member, channel, second)
        arrive(arrived, channel)

    again = []
    world.hub.arrive = late
    world.publish("kept:a", 1)
    assert again == [True] and world.hub._rooms["kept:a"].joining == {member: second}
    page = recover("kept:a", RULES[0].limits, NOWHERE)
    world.publish("kept:a", 2)
    assert member.got == [(True, []), "full:1"]
    newer = []
    assert second.settle(page, newer.extend)
    assert [one.data for one in (*page.publications, *newer)] == [1, 2]
    world.publish("kept:a", 3)
    assert member.got[2:] == ["full:3"]
    assert member in world.hub._rooms["kept:a"].members and not world.hub._rooms["kept:a"].joining


def fails(*_):
    raise ValueError("no")


def away(*_):
    raise ConnectionError("away")


@pytest.mark.parametrize("answer", [fails, lambda pages: (fails, [None, None])],
                         ids=["made", "queued"])
def test_an_answer_that_fails_leaves_nothing_behind(world, answer):
    member, other = world.member(), world.member("other")
    world.node.subscribe(other, "here:a", other.info)
    other.got.clear()
    with pytest.raises(ValueError):
        world.node.join(member, [JoinRequest("here:a", None), JoinRequest("b", None)],
                        member.channel_info, answer)
    assert not member.channels and set(world.hub._rooms) == {"here:a"}
    assert set(world.presence.of("here:a")) == {"other"} and other.got == []


def test_who_cannot_enter_one_of_several_channels_is_present_in_none(world):
    member, join = world.member(), world.presence.join
    world.presence.join = lambda channel, info: join(channel, info) if channel == "here:a" \
        else fails()
    with pytest.raises(ValueError):
        world.join(member, ("here:a", None), ("here:b", None))
    assert world.presence.of("here:a") == {} and not member.channels


def test_a_join_that_cannot_be_taken_back_raises_what_it_failed_with(world, caplog):
    member, told = world.member(), []
    world.node.broker.unsubscribe = told.append
    world.node.broker.recover, world.presence.leave = fails, away
    with pytest.raises(ValueError):
        world.join(member, ("here:a", None))
    assert told == ["here:a"] and "cannot tell that 1 has left 'here:a'" in caplog.text


def test_a_join_that_fails_gives_up_the_place_that_it_has_taken(world):
    """The others know of the one that vanished, and never heard of the one in its place."""
    ann, bob, again = world.member("ann"), world.member("bob"), world.member("again")
    again.user = "bob"
    for member in (ann, bob):
        world.node.subscribe(member, "here:a", member.info)
    world.hub.remove(bob)
    world.node.left("bob", vanished=True)
    with pytest.raises(ValueError):
        world.node.join(again, [JoinRequest("here:a", None)], again.channel_info, fails)
    assert ann.got[-1] == "-bob" and set(world.presence.of("here:a")) == {"ann"}


def test_what_failed_does_not_end_what_has_begun_since(world):
    member = world.member()

    def answer(pages):
        world.node.unsubscribe(member, "a", "1")
        assert world.join(member, ("a", None))
        fails()

    with pytest.raises(ValueError):
        world.node.join(member, [JoinRequest("a", None)], member.channel_info, answer)
    world.publish("a", "x")
    assert member.got == [(False, []), "full:x"]


def test_who_has_the_answer_is_known_to_be_there_and_told_of_behind_it(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.join(ann, ("here:a", None))
    assert ann.got == [(False, []), "+ann"]

    def answer(pages):
        assert set(world.presence.of("here:a")) == {"ann", "bob"}
        assert ann.got[2:] == []
        return lambda *newer: bob.got.append("answer"), [None]

    assert world.node.join(bob, [JoinRequest("here:a", None)], bob.channel_info, answer)
    assert ann.got[2:] == ["+bob"] and bob.got == ["answer", "+bob"]


def test_who_has_just_been_answered_is_told_who_comes(world):
    """The answer may be read before the one who queues it has noted that it is out."""
    ann, bob = world.member("ann"), world.member("bob")

    def queue(*newer):
        ann.got.append("answer")
        coming.start()
        coming.join(0.2)

    coming = threading.Thread(target=world.node.subscribe, args=(bob, "here:a", bob.info))
    assert world.node.join(ann, [JoinRequest("here:a", None)], ann.channel_info,
                           lambda pages: (queue, [None]))
    coming.join()
    assert ann.got[0] == "answer" and set(ann.got[1:]) == {"+ann", "+bob"}


def test_who_leaves_before_the_others_are_told_has_left_for_them(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.node.subscribe(ann, "here:a", ann.info)
    world.hub.subscribe(bob, "here:a")
    arrivals = world.node.enter(["here:a"], bob.channel_info)
    world.node.unsubscribe(bob, "here:a", "bob")
    world.node.announce(bob, arrivals)
    assert ann.got[-2:] == ["+bob", "-bob"] and set(world.presence.of("here:a")) == {"ann"}


def of_bob(world, *names):
    """Return a watcher in the channel, and members of one user that are in none yet."""
    ann, bobs = world.member("ann"), [world.member(name) for name in names]
    world.node.subscribe(ann, "here:a", ann.info)
    for bob in bobs:
        bob.user = "bob"
    ann.got.clear()
    return ann, *bobs


def test_who_leaves_before_the_others_are_told_has_not_left_if_its_user_is_there(world):
    ann, bob, again = of_bob(world, "bob", "again")
    world.hub.subscribe(bob, "here:a")
    arrivals = world.node.enter(["here:a"], bob.channel_info)
    world.node.subscribe(again, "here:a", again.info)
    world.node.unsubscribe(bob, "here:a", "bob")
    world.node.announce(bob, arrivals)
    assert ann.got == ["+bob"] and set(world.presence.of("here:a")) == {"ann", "again"}


def test_a_join_that_fails_leaves_its_user_there_if_another_client_is(world):
    """That one has not been told of, because the first was about to be."""
    ann, bob, again = of_bob(world, "bob", "again")

    def answer(pages):
        world.node.subscribe(again, "here:a", again.info)
        fails()

    with pytest.raises(ValueError):
        world.node.join(bob, [JoinRequest("here:a", None)], bob.channel_info, answer)
    assert ann.got == ["+bob"] and set(world.presence.of("here:a")) == {"ann", "again"}


def test_a_user_that_comes_back_while_its_leave_is_told_is_there(world):
    ann, bob, again = of_bob(world, "bob", "again")
    world.node.subscribe(bob, "here:a", bob.info)
    presence = world.full.presence

    def racing(channel, info, joined):
        world.full.presence = presence
        world.node.subscribe(again, "here:a", again.info)
        return presence(channel, info, joined)

    world.full.presence = racing
    world.node.unsubscribe(bob, "here:a", "bob")
    assert ann.got[-1] == "+bob" and again.got[-1] == "+bob"


def test_a_user_that_leaves_while_it_is_told_to_be_back_has_left(world):
    ann, bob, again = of_bob(world, "bob", "again")
    world.node.subscribe(bob, "here:a", bob.info)
    still, presence = world.presence.still, world.full.presence

    def comes_back(channel, info):
        world.presence.still = still
        world.node.subscribe(again, "here:a", again.info)
        world.full.presence = leaves
        return still(channel, info)

    def leaves(channel, info, joined):
        world.full.presence = presence
        world.node.unsubscribe(again, "here:a", "again")
        return presence(channel, info, joined)

    world.presence.still = comes_back
    world.node.unsubscribe(bob, "here:a", "bob")
    assert ann.got == ["+bob", "-bob", "+bob", "-bob", "+bob", "-bob"]
    assert set(world.presence.of("here:a")) == {"ann"}


def test_users_who_come_and_go_on_many_threads_are_told_as_they_are_in_the_end(world):
    ann, *bobs = of_bob(world, *map(str, range(8)))

    def move(bob):
        for _ in range(50 + 1):
            world.node.subscribe(bob, "here:a", bob.info)
            together.wait(PATIENCE)
            world.node.unsubscribe(bob, "here:a", bob.Id)
            together.wait(PATIENCE)
        if bob is bobs[0]:
            world.node.subscribe(bob, "here:a", bob.info)

    for end in "-+":
        together = threading.Barrier(7)
        moving = bobs[1:] if end == "-" else bobs[:7]
        threads = [threading.Thread(target=move, args=(bob,)) for bob in moving]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert ann.got[-1] == f"{end}bob"


def test_who_vanishes_before_the_others_are_told_lingers(world):
    ann, bob = world.member("ann"), world.member("bob")
    world.node.subscribe(ann, "here:a", ann.info)
    world.hub.subscribe(bob, "here:a")
    arrivals = world.node.enter(["here:a"], bob.channel_info)
    world.hub.remove(bob)
    world.node.left("bob", vanished=True)
    world.node.announce(bob, arrivals)
    assert ann.got[-1] == "+bob"
    world.clock.now += 15
    world.node.depart()
    assert ann.got[-1] == "-bob" and set(world.presence.of("here:a")) == {"ann"}


def test_who_has_left_while_joining_gets_nothing_more(world):
    member = world.member()
    assert world.join(member, ("a", None))
    world.hub.remove(member)
    world.publish("a", "x")
    assert member.got == [(False, [])]
    assert not world.hub._rooms


def test_comings_and_goings_are_told_to_those_who_understand(world):
    ann, bob = world.member("ann"), world.member("bob", full=False)
    world.join(ann, ("here:a", None))
    world.node.subscribe(bob, "here:a", bob.info)
    assert ann.got == [(False, []), "+ann", "+bob"] and bob.got == []
    world.node.unsubscribe(bob, "here:a", "bob")
    assert ann.got[3:] == ["-bob"]
    assert world.presence.stats("here:a") == (1, 1)


def test_who_vanishes_is_looked_for_when_its_linger_is_over(world):
    ann, bob = world.member("ann"), world.member("bob")
    for member in (ann, bob):
        world.node.subscribe(member, "here:a", member.info)
    world.hub.remove(bob)
    world.node.left("bob", vanished=True)
    assert world.woken == 1 and world.node.next_departure() == 15
    world.node.depart()
    assert "-bob" not in ann.got and set(world.presence.of("here:a")) == {"ann", "bob"}
    world.clock.now += 15
    world.node.depart()
    assert ann.got[-1] == "-bob" and set(world.presence.of("here:a")) == {"ann"}
    world.hub.remove(ann)
    world.node.left("ann", vanished=False)
    assert world.presence.of("here:a") == {}


@pytest.mark.parametrize("linger", [False, True])
def test_what_fails_for_one_channel_keeps_nobody_in_the_others(world, caplog, linger):
    channels = ["here:a", "here:b", "here:c"]
    ann, bob = world.member("ann"), world.member("bob")
    for channel in channels:
        for member in (ann, bob):
            world.node.subscribe(member, channel, member.info)
    world.hub.remove(bob)
    ann.got.clear()
    presence = world.full.presence

    def failing(channel, info, joined):
        if channel == "here:b":
            raise ValueError("no")
        return f"{presence(channel, info, joined)} {channel}"

    world.full.presence = failing
    world.node.left("bob", vanished=linger)
    world.clock.now += 15
    world.node.depart()
    assert ann.got == ["-bob here:a", "-bob here:c"]
    assert all(set(world.presence.of(channel)) == {"ann"} for channel in channels)
    assert [entry.getMessage() for entry in caplog.records] == [
        "cannot tell that bob has left 'here:b'"]


def failing(*_):
    raise ConnectionError("the store is away")


def test_who_leaves_while_the_store_is_away_has_left_and_the_broker_is_told_later(world, caplog):
    ann, told = world.member("ann"), []
    world.node.broker.unsubscribe = failing
    for channel in ("here:a", "here:b", "here:c"):
        world.node.subscribe(ann, channel, ann.info)
    world.node.broker.presence.leave = failing
    assert world.node.unsubscribe(ann, "here:a", "ann")
    world.node.broker.presence.channels = failing
    world.hub.remove(ann)
    world.node.left("ann", vanished=True)
    assert not ann.channels and {entry.getMessage() for entry in caplog.records} == {
        "cannot tell that ann has left 'here:a'", "cannot tell that ann has left",
        *(f"channel 'here:{name}': cannot tell the broker that it is empty"
          for name in "abc")}
    world.node.broker.unsubscribe = told.append
    world.node.sweep()
    world.node.sweep()
    assert sorted(told) == ["here:a", "here:b", "here:c"]


def test_of_two_threads_that_wake_one_runs_a_job(world):
    class Jobs(deque):
        def __bool__(self):
            return True     # as another thread sees it that is about to take the last one

    ran = []
    world.node._jobs = Jobs([lambda: ran.append("job")])
    world.node.wake()
    assert ran == ["job"]


def test_what_fails_when_a_comer_is_told_of_harms_neither_it_nor_the_other_channels(world, caplog):
    ann, bob = world.member("ann"), world.member("bob")
    for channel in ("here:a", "here:b"):
        world.node.subscribe(ann, channel, ann.info)
    ann.got.clear()
    presence = world.full.presence
    world.full.presence = lambda channel, *rest: \
        fails() if channel == "here:a" else presence(channel, *rest)
    assert world.join(bob, ("here:a", None), ("here:b", None))
    assert ann.got == ["+bob"] and bob.channels == {"here:a", "here:b"}
    assert "cannot tell that bob has joined 'here:a'" in caplog.text


def test_who_left_while_it_entered_is_not_kept(world):
    ann = world.member("ann")
    world.hub.remove(ann)
    world.node.announce(ann, world.node.enter(["here:a"], ann.channel_info))
    assert world.presence.of("here:a") == {}


def test_threads_that_publish_join_and_leave_miss_nothing(world):
    """Each joiner's log must be all of the channel from where it asked to, once and in order."""
    total, channel, over = 3000, "kept:flood", threading.Event()
    world.node = world.make_node([ChannelRule("kept:", history=total)])
    world.publish(channel, 0)
    epoch = world.node.history(channel, 0).top.epoch
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


def test_what_does_not_fit_the_answer_follows_step_by_step_and_then_what_is_live(world):
    member = world.member()
    for number in range(5):
        world.publish("kept:a", number)
    assert world.join(member, ("kept:a", NOWHERE), most=2)
    world.publish("kept:a", 5)
    assert member.got == [(True, [0, 1])]       # it is read from the history, in its turn
    assert world.catch_up(member, "kept:a", most=2)
    assert world.catch_up(member, "kept:a")
    assert member.got[1:] == [(True, [2, 3]), (True, [4, 5])]
    world.publish("kept:a", 6)
    assert member.got[3:] == ["full:6"]
    assert world.catch_up(member, "kept:a") is False


def test_who_leaves_while_it_is_behind_gets_no_more(world):
    member = world.member()
    for number in range(5):
        world.publish("kept:a", number)
    world.join(member, ("kept:a", NOWHERE), most=2)
    assert world.node.unsubscribe(member, "kept:a", "1")
    assert world.catch_up(member, "kept:a") is False
    assert len(member.got) == 1 and world.hub.channels() == {}


def test_who_is_behind_what_is_remembered_is_out(world):
    member = world.member()
    for number in range(5):
        world.publish("kept:a", number)
    world.join(member, ("kept:a", NOWHERE), most=2)
    for number in range(200):
        world.publish("kept:a", number)
    assert world.catch_up(member, "kept:a") is None
    assert len(member.got) == 1 and world.hub.channels() == {}


def test_who_is_behind_is_told_who_comes():
    world = World()
    world.node = world.make_node([ChannelRule("kept:", history=100, join_leave=True)])
    ann, bob = world.member("ann"), world.member("bob")
    for number in range(5):
        world.publish("kept:a", number)
    world.join(ann, ("kept:a", NOWHERE), most=2)
    world.node.subscribe(bob, "kept:a", bob.info)
    assert "+bob" in ann.got
    assert world.catch_up(ann, "kept:a")
    assert ann.got[-1] == (True, [2, 3, 4])
