"""The broker of one process: what it does at once, and what it frees; see also ``tests/broker``."""
from __future__ import annotations

import pytest

from pushserver.channels import memory_broker as broker_module
from pushserver.channels.memory_broker import KEEP_UNUSED, KEY_AGE, MemoryBroker
from pushserver.errors import InvalidData
from pushserver.channels.publication import NOWHERE, Limits, Position, Publication
from tests.broker.recording_node import in_threads
from tests.support.history import FakeClock

KEEP = Limits(100, 1 << 20, 60.0)
NOTHING = Limits(0, 1 << 20, 60.0)


class Node:
    """A broker, and what it has delivered."""

    def __init__(self):
        self.clock = FakeClock()
        self.delivered = []
        self.woken = 0
        self.broker = MemoryBroker(self.clock)
        self.broker.start(self)

    def deliver(self, channel, publication, epoch):
        self.delivered.append((channel, publication.offset, publication.data, epoch))

    def wake(self):
        self.woken += 1

    def publish(self, channel="c", data="x", limits=KEEP, **options):
        return self.broker.publish(channel, Publication.of(data), limits, **options)


@pytest.fixture
def node():
    return Node()


def test_a_publication_is_delivered_at_once_with_its_position(node):
    first, second = node.publish(data="one"), node.publish(data={"two": 2})
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch != ""
    assert node.delivered == [("c", 1, "one", first.epoch), ("c", 2, {"two": 2}, first.epoch)]


def test_channels_count_for_themselves(node):
    one, other = node.publish("a"), node.publish("b")
    assert (one.offset, other.offset) == (1, 1)
    assert one.epoch != other.epoch
    assert node.publish("a") == (2, one.epoch)


def test_of_a_channel_that_remembers_nothing_nothing_is_kept(node):
    assert node.publish(limits=NOTHING) == NOWHERE
    node.broker.history("c", NOTHING, None), node.broker.recover("c", NOTHING, NOWHERE)
    assert not node.broker._channels


def test_a_key_is_forgotten_after_five_minutes(node):
    for channel, key in (("c", "k"), ("c", "k"), ("other", "k"), ("c", "l")):
        node.publish(channel, key=key)
    node.clock.now += KEY_AGE + 1
    assert node.publish(key="k").offset == 3
    assert list(node.broker._keys) == [("c", "k")]
    assert not node.broker._key_locks


def test_keys_are_bounded(node, monkeypatch):
    monkeypatch.setattr(broker_module, "MAX_KEYS", 3)
    for number in range(5):
        node.publish(key=str(number))
    assert [key for _, key in node.broker._keys] == ["2", "3", "4"]


def test_a_failed_publication_leaves_its_key_free():
    class Receiver:
        def deliver(self, channel, publication, epoch):
            if not fixed:
                raise InvalidData("no")

        def wake(self):
            pass

    fixed = []
    broker = MemoryBroker()
    broker.start(Receiver())
    with pytest.raises(InvalidData):
        broker.publish("c", Publication.of("x"), KEEP, key="k")
    fixed.append(True)
    assert broker.publish("c", Publication.of("x"), KEEP, key="k").offset == 2
    assert not broker._key_locks


def test_a_sweep_frees_what_is_old_and_keeps_the_position(node):
    position = node.publish()
    node.clock.now += 61
    node.broker.sweep()
    assert not node.broker._channels
    assert node.broker.recover("c", KEEP, position).recovered
    assert node.publish() == (2, position.epoch)
    assert not node.broker.recover("c", KEEP, position._replace(offset=0)).recovered


def test_reading_what_nobody_has_published_to_leaves_nothing_behind(node):
    for number in range(100):
        node.broker.recover(f"c{number}", KEEP, NOWHERE)
        node.broker.history(f"c{number}", KEEP, None)
    assert not node.broker._channels


def forget_all(node):
    """Let so much time pass that nothing is left of any channel, not even its position."""
    for _ in range(3):
        node.clock.now += 61 + KEEP_UNUSED
        node.broker.sweep()
    assert not node.broker._channels and node.broker.held_bytes == 0


def test_what_was_forgotten_is_never_counted_again_under_its_epoch(node):
    old = node.publish("c")
    forget_all(node)
    unknown = node.broker.recover("c", KEEP, Position(0, old.epoch))
    assert not unknown.recovered and unknown.top.epoch != old.epoch
    assert node.publish("c") == (1, unknown.top.epoch)
    assert not node.broker.recover("c", KEEP, old).recovered


def test_positions_take_a_bounded_number_of_bytes_and_none_is_used_twice(node, monkeypatch):
    monkeypatch.setattr(broker_module, "REMEMBERED_BYTES", 20_000)
    node.broker = MemoryBroker(node.clock)
    seen = set()
    for number in range(1000):
        position = node.publish(f"{number % 300}")
        assert (number % 300, position) not in seen
        seen.add((number % 300, position))
        node.clock.now += 61
        node.broker.sweep()
        assert node.broker.held_bytes <= 20_000
    assert len({epoch for _, (_, epoch) in seen}) > 300


def test_a_forgotten_history_is_none_of_the_others_business(node):
    node.publish("c")
    others = {name: node.broker.recover(name, KEEP, None).top for name in "abd"}
    node.clock.now += 61 + KEEP_UNUSED
    node.broker.sweep()
    assert all(node.broker.recover(name, KEEP, top).recovered for name, top in others.items())


def test_a_history_that_is_swept_while_it_is_looked_for_is_not_read(node):
    class Table(dict):
        def get(self, name):
            found = super().get(name)
            if found is not None and not found.gone:
                found.gone = True  # as by a sweep, just before the reader has its lock
                del self[name]
            return found

    old = node.publish()
    node.broker._channels = Table(node.broker._channels)
    assert node.broker.recover("c", KEEP, None).top != old


def test_one_sweep_frees_all_that_is_too_old(node, monkeypatch):
    monkeypatch.setattr(broker_module, "SWEEP_BATCH", 2)
    for number in range(9):
        node.publish(str(number))
        node.clock.now += 10
    node.broker.sweep()     # at 90: those from 0 to 30 are older than 60
    assert sorted(node.broker._channels) == list("45678")


def test_a_channel_in_use_is_looked_at_again_when_something_is_too_old(node):
    for _ in range(9):
        node.publish()
        node.clock.now += 10
        node.broker.sweep()
    assert len(node.broker._channels["c"].history) == 5
    assert len(node.broker._dates) == 1


def test_another_age_counts_from_then_on(node):
    node.publish(limits=KEEP._replace(age=0.0))
    node.clock.now += 1000
    node.broker.sweep()
    assert list(node.broker._channels) == ["c"]
    node.publish()
    node.clock.now += 61
    node.broker.sweep()
    assert not node.broker._channels
    node.publish(limits=KEEP._replace(age=0.0))
    node.clock.now += 61
    node.broker.sweep()
    assert list(node.broker._channels) == ["c"]


def test_dates_that_no_longer_count_are_bounded(node, monkeypatch):
    monkeypatch.setattr(broker_module, "SPARE_DATES", 10)
    for number in range(100):
        node.publish(f"{number % 7}")
        node.broker.remove_history(f"{number % 7}")
    assert len(node.broker._dates) <= 12


# Channels that clients make


@pytest.fixture
def small():
    """Return a node with room for three channels of clients."""
    node = Node()
    node.broker = MemoryBroker(node.clock, max_made=3)
    node.broker.start(node)
    return node


def publish_in_turn(node, maker, *channels):
    for channel in channels:
        node.clock.now += 1
        node.publish(channel, maker=maker)


def test_who_makes_too_many_channels_loses_the_oldest(small):
    publish_in_turn(small, "ann", "honest")
    publish_in_turn(small, "bob", *"abcd")
    assert sorted(small.broker._channels) == ["c", "d", "honest"]
    assert [one[0] for one in small.delivered] == ["honest", *"abcd"]


def test_a_channel_that_is_used_outlives_those_that_are_not(small):
    publish_in_turn(small, "bob", *"abcad")
    assert sorted(small.broker._channels) == ["a", "c", "d"]


def test_a_history_that_had_to_go_was_not_recovered_but_its_offsets_go_on(small):
    small.publish("a", maker="bob")
    old = small.publish("a", maker="bob")
    publish_in_turn(small, "bob", *"bcd")
    assert small.broker.recover("a", KEEP, old).recovered
    assert not small.broker.recover("a", KEEP, Position(1, old.epoch)).recovered
    assert small.publish("a", maker="bob") == (3, old.epoch)


def test_few_long_histories_of_one_go_before_many_short_ones_of_another(small):
    for _ in range(50):
        small.publish("long", "x" * 1000, maker="bob")
    publish_in_turn(small, "ann", *"abc")
    assert sorted(small.broker._channels) == list("abc")


def test_channels_of_the_site_do_not_count_and_stay(small):
    publish_in_turn(small, "", *"wxyz")
    publish_in_turn(small, "bob", "z", *"abcd")
    assert sorted(small.broker._channels) == sorted("wxyzbcd")


def test_a_client_s_channel_is_the_site_s_once_the_site_publishes_there(small):
    publish_in_turn(small, "bob", "a")
    publish_in_turn(small, "", "a")
    publish_in_turn(small, "bob", *"bcde")
    assert sorted(small.broker._channels) == list("acde")


def test_clients_cannot_push_out_what_is_remembered_of_the_site_s_channels(node, monkeypatch):
    monkeypatch.setattr(broker_module, "REMEMBERED_BYTES", 20_000)
    node.broker = MemoryBroker(node.clock)
    old = node.publish("news")
    node.clock.now += 61
    node.broker.sweep()
    for number in range(1000):
        node.publish(str(number), maker="bob")
        node.broker.remove_history(str(number))
    assert node.broker.recover("news", KEEP, old).recovered


# Bytes


def test_bytes_are_those_of_all_that_is_held(node):
    assert node.broker.held_bytes == 0
    for size in (10, 1000, 100_000, 5):
        before = node.broker.held_bytes
        node.publish(f"c{size}", "x" * size)
        assert size < node.broker.held_bytes - before < size + 2500
    before = node.broker.held_bytes
    node.publish("c5", key="key")
    assert 500 < node.broker.held_bytes - before < 1500


def test_bytes_that_are_forgotten_do_not_count(node):
    few = KEEP._replace(publications=2)
    for _ in range(5):
        node.publish(data="x" * 100, limits=few)
    held = node.broker.held_bytes
    for _ in range(500):
        node.publish(data="x" * 100, limits=few)
    assert node.broker.held_bytes == held
    node.clock.now += 61
    node.broker.history("c", few, None)
    assert node.broker.held_bytes < held - 2 * 100
    forget_all(node)


def test_histories_never_pass_the_most_bytes_however_fast_they_grow(node):
    node.broker = MemoryBroker(node.clock, max_bytes=500_000)
    most, seen = 0, []
    for number in range(2000):
        node.publish(f"news:{number}", "x" * 1000, maker=f"client {number % 3}")
        most = max(most, node.broker.held_bytes - node.broker._position_bytes)
        seen.append(len(node.broker._channels))
    assert 490_000 < most < 500_000 + 3000
    assert seen[-1] > 200 and seen[-1] > max(seen) * 0.9
    top = node.publish("news:0", "again").offset
    assert top == 2     # what was forgotten goes on where it was


def test_eviction_frees_so_many_bytes_the_clients_channels_first(node):
    publish_in_turn(node, "", "news")
    publish_in_turn(node, "bob", *"abcd")
    held = node.broker.held_bytes
    freed = node.broker.evict(1500)
    assert 1500 <= freed < 3000
    assert node.broker.held_bytes == held - freed
    assert sorted(node.broker._channels) == ["c", "d", "news"]
    old = node.broker.recover("a", KEEP, None).top
    assert node.broker.evict(1 << 30) == held - freed
    assert not node.broker._channels
    assert node.broker.held_bytes == node.broker.evict(1) == 0
    assert node.publish("a").epoch != old.epoch


def test_no_position_is_used_twice_while_all_comes_and_goes_at_once(monkeypatch):
    monkeypatch.setattr(broker_module, "REMEMBERED_BYTES", 4000)
    node = Node()
    node.broker = MemoryBroker(node.clock, max_made=5)
    made = []

    def publish(maker):
        for number in range(1500):
            name = f"c{number * 7 % 20}"
            made.append((name, node.publish(name, "x" * (number % 50), maker=maker)))

    def clear():
        for number in range(300):
            node.clock.now += 7
            node.broker.sweep()
            node.broker.evict(number % 5 * 1000)
            node.broker.remove_history(f"c{number % 20}")
            node.broker.history("c1", KEEP, None)

    in_threads(lambda: publish("ann"), lambda: publish("bob"), lambda: publish(""), clear, clear)
    assert len(set(made)) == 3 * 1500
    assert len(node.broker._by_clients) <= 5
    forget_all(node)
