"""The broker of one process: one order for history and delivery, keys, and what it frees."""
from __future__ import annotations

import threading

import pytest

from pushserver.channels import memory_broker as broker_module
from pushserver.channels.memory_broker import KEEP_UNUSED, KEY_AGE, MemoryBroker
from pushserver.errors import InvalidData
from pushserver.channels.publication import NOWHERE, Limits, Position, Publication
from tests.support.history import FakeClock, offsets

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


def test_a_channel_that_remembers_nothing_delivers_all_the_same(node):
    assert node.publish(limits=NOTHING) == NOWHERE
    assert node.delivered == [("c", 0, "x", "")]
    assert node.broker.history("c", NOTHING, None) == ((), NOWHERE, False)
    assert node.broker.recover("c", NOTHING, NOWHERE) == ((), NOWHERE, False)
    assert not node.broker._channels


def test_what_is_remembered_can_be_read_and_resumed(node):
    for _ in range(5):
        position = node.publish()
    assert offsets(node.broker.history("c", KEEP, 2)) == [1, 2]
    assert offsets(node.broker.history("c", KEEP, 2, reverse=True)) == [5, 4]
    page = node.broker.recover("c", KEEP, Position(3, position.epoch))
    assert (offsets(page), page.top, page.recovered) == ([4, 5], position, True)


def test_a_restart_is_another_epoch(node):
    position = node.publish()
    again = Node()
    again.publish()
    page = again.broker.recover("c", KEEP, position)
    assert not page.recovered and page.top.epoch != position.epoch


def test_a_key_publishes_once_in_five_minutes(node):
    first = node.publish(key="k")
    assert node.publish(key="k") == first
    assert node.publish("other", key="k").offset == 1
    assert node.publish(key="l").offset == 2
    assert len(node.delivered) == 3
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


def test_removed_history_keeps_its_epoch(node):
    position = node.publish()
    node.broker.remove_history("c")
    node.broker.remove_history("unknown")
    assert node.broker.history("c", KEEP, None) == ([], position, False)


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


def test_an_unknown_channel_is_resumed_only_from_its_beginning(node):
    epoch = node.broker.recover("c", KEEP, None).top.epoch
    beginning = Position(0, epoch)
    assert epoch
    for since, recovered in ((None, False), (NOWHERE, True), (beginning, True),
                             (Position(1, epoch), False), (Position(0, "other"), False)):
        page = node.broker.recover("c", KEEP, since)
        assert (offsets(page), page.top, page.recovered) == ([], beginning, recovered)
    assert node.broker.history("c", KEEP, None).top == beginning


def test_the_first_publication_follows_what_was_told_of_the_unknown_channel(node):
    beginning = node.broker.recover("c", KEEP, NOWHERE).top
    assert node.publish() == (1, beginning.epoch)
    page = node.broker.recover("c", KEEP, beginning)
    assert (offsets(page), page.recovered) == ([1], True)


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


def test_threads_share_one_order_and_each_keeps_its_own(node):
    def publish(name):
        for number in range(500):
            node.publish(data=[name, number], key=f"{name}-{number // 2}" if name == 3 else None)
            node.publish("fleeting", [name, number], NOTHING)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [entry for entry in node.delivered if entry[0] == "c"]
    assert [offset for _, offset, _, _ in kept] == list(range(1, 1751))
    for entries in (kept, [entry for entry in node.delivered if entry[0] == "fleeting"]):
        for name in range(4):
            numbers = [data[1] for _, _, data, _ in entries if data[0] == name]
            assert numbers == sorted(numbers)
    held = node.broker.history("c", KEEP, None).publications
    assert [publication.data for publication in held] == [data for _, _, data, _ in kept[-100:]]
