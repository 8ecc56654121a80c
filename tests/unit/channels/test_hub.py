"""The hub: who is there, who is about to come, and what a newcomer of a known Id meets."""
from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (Bundle, RuleBasedStateMachine, consumes, initialize, invariant,
                                 precondition, rule)

from pushserver.errors import HandshakeRefused
from pushserver.channels.hub import Hub
from tests.support.waiting import best_of_three


class Member:
    """All that the hub needs to know of a connection."""

    def __init__(self, Id):
        self.Id = Id
        self.channels = None
        self.encoding = "plain"

    def __repr__(self):
        return f"<{self.Id}>"


def hub_of(*, max_connections=100, max_per_id=16, duplicates="share"):
    return Hub(max_connections=max_connections, max_per_id=max_per_id, duplicates=duplicates)


def join(hub, Id, channels=()):
    member = Member(Id)
    hub.reserve(Id)
    member.replaced = hub.add(member, channels)
    return member


def test_a_connection_is_found_by_its_id_and_among_all():
    hub = hub_of()
    one, two = join(hub, "1"), join(hub, "2")
    assert hub.everyone() == (one, two)
    assert hub.of_id("1") == (one,)
    assert hub.ids() == ["1", "2"]
    assert len(hub) == 2


def test_nobody_is_there_at_first():
    hub = hub_of()
    assert (hub.everyone(), hub.of_id("1"), hub.members("a"), hub.ids()) == ((), (), (), [])


def test_connections_of_one_id_are_all_there_the_oldest_first():
    hub = hub_of()
    members = tuple(join(hub, "1") for _ in range(3))
    assert hub.of_id("1") == members
    assert hub.ids() == ["1"]


def test_of_several_that_leave_in_any_order_the_others_stay_the_oldest_first():
    hub = hub_of()
    members = [join(hub, "1") for _ in range(6)]
    for gone in (2, 0, 3):
        before = hub.of_id("1")
        hub.remove(members.pop(gone))
        assert hub.of_id("1") == tuple(members) != before
        assert hub.of_id("1") is hub.of_id("1")
    members.append(join(hub, "1"))
    assert hub.of_id("1") == tuple(members)
    for member in members:
        hub.remove(member)
    assert hub.of_id("1") == () and hub.ids() == []


def come_and_go(count, newest_first=False):
    """Let many connections of one Id and of two channels come, then leave."""
    hub = hub_of(max_connections=count, max_per_id=count)
    members = [join(hub, "1", ("a", "b")) for _ in range(count)]
    assert len(hub.of_id("1")) == count
    for member in reversed(members) if newest_first else members:
        hub.remove(member)
    assert hub.ids() == [] and hub.channels() == {}


def rename_all(count):
    """Let many connections of one Id get another one."""
    hub = hub_of(max_connections=count, max_per_id=count)
    for member in [join(hub, "1") for _ in range(count)]:
        hub.rename(member, "2")
    assert len(hub.of_id("2")) == count and hub.ids() == ["2"]


def enter_and_leave_channels(count):
    """Let one connection be in many channels."""
    hub = hub_of()
    member = join(hub, "1", map(str, range(count)))
    assert len(hub.channels()) == count
    hub.unsubscribe(member, "0")
    hub.remove(member)
    assert len(set(hub.take_deserted())) == count and not hub.channels()


@pytest.mark.parametrize("work", [
    come_and_go, lambda count: come_and_go(count, newest_first=True), rename_all,
    enter_and_leave_channels], ids=["oldest first", "newest first", "renamed", "channels"])
def test_four_times_as_many_take_about_four_times_as_long(work):
    assert best_of_three(lambda: work(20_000)) < 10 * best_of_three(lambda: work(5000))


def test_a_connection_that_left_is_nowhere():
    hub = hub_of()
    member = join(hub, "1", ["a"])
    assert hub.remove(member)
    assert not hub.remove(member)
    assert (hub.everyone(), hub.of_id("1"), hub.members("a"), hub.ids()) == ((), (), (), [])


def test_who_is_looked_up_once_its_first_frame_is_out_has_its_encoding():
    hub, seen = hub_of(), []
    member = join(hub, "1")
    thread = threading.Thread(target=lambda: seen.extend(
        other.encoding for other in hub.of_id("1")))

    def switch():
        thread.start()
        thread.join(0.1)
        member.encoding = "full"

    assert hub.admit(member, switch)
    thread.join(10)
    assert seen == ["full"]


def test_a_connection_that_left_joins_no_channel():
    hub = hub_of()
    member = join(hub, "1")
    hub.remove(member)
    assert not hub.subscribe(member, "a")
    assert hub.members("a") == ()


def test_subscribing_twice_counts_once():
    hub = hub_of()
    member = join(hub, "1")
    assert hub.subscribe(member, "a")
    assert not hub.subscribe(member, "a")
    assert hub.members("a") == (member,)
    assert hub.unsubscribe(member, "a")
    assert not hub.unsubscribe(member, "a")
    assert hub.members("a") == ()


def test_a_place_that_is_reserved_counts_as_taken():
    hub = hub_of(max_connections=1)
    hub.reserve("1")
    with pytest.raises(HandshakeRefused) as refused:
        hub.reserve("2")
    assert refused.value.status == 503
    hub.release("1")
    hub.reserve("2")


def test_the_limit_of_one_id_is_its_own():
    hub = hub_of(max_per_id=2)
    join(hub, "1")
    hub.reserve("1")
    with pytest.raises(HandshakeRefused) as refused:
        hub.reserve("1")
    assert refused.value.status == 429
    hub.reserve("2")


def test_reject_refuses_a_second_connection_even_of_one_that_is_about_to_come():
    hub = hub_of(duplicates="reject")
    hub.reserve("1")
    with pytest.raises(HandshakeRefused) as refused:
        hub.reserve("1")
    assert refused.value.status == 429
    hub.release("1")
    member = join(hub, "1")
    with pytest.raises(HandshakeRefused):
        hub.reserve("1")
    hub.remove(member)
    join(hub, "1")


def test_replace_says_whom_to_close_and_knows_no_limit_of_an_id():
    hub = hub_of(duplicates="replace", max_per_id=1)
    first = join(hub, "1")
    second = join(hub, "1")
    assert first.replaced == ()
    assert second.replaced == (first,)


def test_sharing_replaces_nobody():
    hub = hub_of()
    join(hub, "1")
    assert join(hub, "1").replaced == ()


def test_a_hub_says_how_many_it_knows():
    hub = hub_of()
    join(hub, "1"), join(hub, "1"), join(hub, "2")
    assert repr(hub) == "<Hub 3 connections of 2 Ids>"


Ids = st.sampled_from("123")
channels = st.sampled_from("abc")


class HubMachine(RuleBasedStateMachine):
    """Do anything to a hub, beside plain lists of who is there and who is about to come."""

    known = Bundle("known")
    reserved = Bundle("reserved")

    @initialize(duplicates=st.sampled_from(["share", "replace", "reject"]),
                most=st.integers(1, 8), most_per_id=st.integers(1, 3))
    def begin(self, duplicates, most, most_per_id):
        self.hub = hub_of(max_connections=most, max_per_id=most_per_id, duplicates=duplicates)
        self.duplicates, self.most, self.most_per_id = duplicates, most, most_per_id
        self.members = []
        self.coming = []
        self.channels = {}      # member -> set of channels
        self.subscribed = []    # (member, channel) in their order
        self.snapshots = {}

    def snapshot(self):
        views = {"everyone": self.hub.everyone()}
        views.update({f"Id {Id}": self.hub.of_id(Id) for Id in "123"})
        views.update({f"channel {channel}": self.hub.audience(channel) for channel in "abc"})
        return views

    @rule(target=reserved, Id=Ids)
    def reserve(self, Id):
        same = sum(member.Id == Id for member in self.members) + self.coming.count(Id)
        status = None
        if len(self.members) + len(self.coming) >= self.most:
            status = 503
        elif self.duplicates == "reject" and same:
            status = 429
        elif self.duplicates == "share" and same >= self.most_per_id:
            status = 429
        try:
            self.hub.reserve(Id)
        except HandshakeRefused as refused:
            assert refused.status == status
            return None
        assert status is None
        self.coming.append(Id)
        return Id

    @rule(Id=consumes(reserved))
    def release(self, Id):
        if Id is not None:
            self.hub.release(Id)
            self.coming.remove(Id)

    @rule(target=known, Id=consumes(reserved), begin_in=st.lists(channels, max_size=3))
    def add(self, Id, begin_in):
        if Id is None:
            return Member("nobody")
        older = tuple(member for member in self.members if member.Id == Id)
        member = Member(Id)
        replaced = self.hub.add(member, begin_in)
        assert replaced == (older if self.duplicates == "replace" else ())
        self.coming.remove(Id)
        self.members.append(member)
        self.subscribed += [(member, channel) for channel in dict.fromkeys(begin_in)]
        return member

    @rule(member=known)
    def remove(self, member):
        assert self.hub.remove(member) == (member in self.members)
        if member in self.members:
            self.members.remove(member)
        self.subscribed = [entry for entry in self.subscribed if entry[0] is not member]

    @rule(member=known, channel=channels)
    def subscribe(self, member, channel):
        new = member in self.members and (member, channel) not in self.subscribed
        assert self.hub.subscribe(member, channel) == new
        if new:
            self.subscribed.append((member, channel))

    @rule(member=known, channel=channels)
    def unsubscribe(self, member, channel):
        there = (member, channel) in self.subscribed
        assert self.hub.unsubscribe(member, channel) == there
        if there:
            self.subscribed.remove((member, channel))

    @precondition(lambda self: self.snapshots)
    @invariant()
    def what_is_the_same_is_the_same_tuple(self):
        before, now = self.snapshots, self.snapshot()
        for name, view in now.items():
            assert isinstance(view, tuple)
            assert (view == before[name]) == (view is before[name]), name
        assert all(view is now[name] for name, view in self.snapshot().items())

    @invariant()
    def the_hub_knows_who_is_there(self):
        assert self.hub.everyone() == tuple(self.members)
        assert len(self.hub) == len(self.members)
        assert sorted(self.hub.ids()) == sorted({member.Id for member in self.members})
        for Id in "123":
            assert self.hub.of_id(Id) == tuple(member for member in self.members
                                               if member.Id == Id)
        for channel in "abc":
            assert self.hub.members(channel) == tuple(
                member for member, other in self.subscribed if other == channel)
        self.snapshots = self.snapshot()

    @invariant()
    def nothing_is_kept_of_what_is_over(self):
        if not self.members and not self.coming:
            assert not self.hub._by_id and not self.hub._rooms
            assert not self.hub._reserved and not self.hub._reserved_count


TestAnySequence = HubMachine.TestCase
