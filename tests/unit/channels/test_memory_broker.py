"""The broker of one process: what it does at once, and what it frees; see also ``tests/broker``."""
from __future__ import annotations

import pytest

from pushserver.channels import memory_broker as broker_module
from pushserver.channels.memory_broker import KEEP_UNUSED, KEY_AGE, MemoryBroker
from pushserver.errors import InvalidData
from pushserver.channels.publication import NOWHERE, Limits, Position, Publication
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


def test_a_sweep_frees_what_is_old_and_later_what_is_unused(node):
    position = node.publish()
    node.clock.now += 61
    node.broker.sweep()
    assert not node.broker._channels["c"].history._ring
    node.clock.now += KEEP_UNUSED
    node.broker.sweep()
    assert not node.broker._channels
    assert node.publish().epoch != position.epoch


def test_reading_what_nobody_has_published_to_leaves_nothing_behind(node):
    for number in range(100):
        node.broker.recover(f"c{number}", KEEP, NOWHERE)
        node.broker.history(f"c{number}", KEEP, None)
    assert not node.broker._channels


def test_what_was_forgotten_is_never_counted_again_under_its_epoch(node):
    old = node.publish("c")
    node.clock.now += 61 + KEEP_UNUSED
    node.broker.sweep()
    assert not node.broker._channels
    unknown = node.broker.recover("c", KEEP, Position(0, old.epoch))
    assert not unknown.recovered and unknown.top.epoch != old.epoch
    assert node.publish("c") == (1, unknown.top.epoch)
    assert not node.broker.recover("c", KEEP, old).recovered


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


def test_a_sweep_looks_at_all_channels_in_turn(node, monkeypatch):
    monkeypatch.setattr(broker_module, "SWEEP_SIZE", 2)
    for number in range(5):
        node.publish(str(number))
    node.clock.now += 61
    for _ in range(3):
        node.broker.sweep()
    assert not any(len(entry.history._ring) for entry in node.broker._channels.values())
