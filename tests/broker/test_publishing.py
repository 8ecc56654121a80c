"""What is published: its place, its delivery, when it is delivered, and keys."""
from __future__ import annotations

import threading
import time
from functools import partial

from pushserver.channels.publication import NOWHERE, Position, Publication
from tests.broker.recording_node import KEEP, NOTHING, RecordingNode, in_threads
from tests.support.history import offsets
from tests.support.waiting import PATIENCE, wait_until

FIVE_MINUTES = 300.0


def test_offsets_count_from_1_in_an_epoch_of_each_channel(node):
    first, second, other = node.publish("a"), node.publish("a"), node.publish("b")
    assert (first.offset, second.offset, other.offset) == (1, 2, 1)
    assert first.epoch == second.epoch != "" and other.epoch
    assert offsets(node.broker.history("a", KEEP, None)) == [1, 2]


def test_a_publication_is_delivered_once_with_its_position_and_its_data(node):
    positions = [node.publish(data=data) for data in ("text", {"json": [1]}, b"bytes")]
    epoch = positions[0].epoch
    assert node.received(3) == [("c", 1, "text", epoch), ("c", 2, {"json": [1]}, epoch),
                                ("c", 3, b"bytes", epoch)]
    assert len(node.settled()) == 3


def test_all_of_a_publication_is_kept_and_its_time_is_noted(node):
    before = time.time()
    made = Publication.of("x", info=b'{"client":"1"}', tags=b'{"tag":"y"}')
    node.broker.publish("c", made, KEEP)
    kept, = node.broker.history("c", KEEP, None).publications
    assert (kept.data, kept.info, kept.tags) == ("x", b'{"client":"1"}', b'{"tag":"y"}')
    assert before - 1 < kept.time < time.time() + 1


def test_threads_share_one_order_of_each_channel_and_each_keeps_its_own(node):
    node.on_deliver = partial(time.sleep, 0)    # a second call meanwhile would be seen

    def publish(name):
        for number in range(100):
            node.publish("a", [name, number], key=f"{number // 2}" if name == 3 else None)
            node.publish("b", [name, number], NOTHING)

    in_threads(*[partial(publish, name) for name in range(4)])
    node.received(750)
    kept, fleeting = ([one for one in node.delivered if one.channel == channel]
                      for channel in "ab")
    assert [one.offset for one in kept] == list(range(1, 351))
    assert len({one.epoch for one in kept}) == 1
    for name in range(4):
        numbers = [one.data[1] for one in kept if one.data[0] == name]
        assert numbers == list(range(0, 100, 2 if name == 3 else 1))
        assert [one.data[1] for one in fleeting if one.data[0] == name] == list(range(100))
    held = node.broker.history("a", KEEP, None).publications
    assert [one.data for one in held] == [one.data for one in kept[-100:]]


def test_one_threads_order_in_a_channel_holds_for_what_is_not_remembered_too(node):
    kept = [node.publish(data=number, limits=NOTHING if number % 3 else KEEP)
            for number in range(30)]
    assert [one.data for one in node.received(30)] == list(range(30))
    assert [one[1:2] + one[3:] for one in node.delivered] == kept


def test_a_channel_that_remembers_nothing_delivers_all_the_same(node):
    assert node.publish(limits=NOTHING) == NOWHERE
    assert node.received(1) == [("c", 0, "x", "")]
    assert node.broker.history("c", NOTHING, None) == ((), NOWHERE, False)
    assert node.broker.recover("c", NOTHING, NOWHERE) == ((), NOWHERE, False)


# When it is delivered

def test_nothing_is_delivered_before_start_and_after_stop_but_all_is_remembered(site):
    site.broker.publish("c", Publication.of("before"), KEEP)
    node = RecordingNode(site.broker)
    node.publish(data="while it runs")
    assert [one.data for one in node.received(1)] == ["while it runs"]
    node.stop()
    node.publish(data="after")
    node.start()
    node.publish(data="again")
    assert [one[1:3] for one in node.received(2)] == [(2, "while it runs"), (4, "again")]
    assert offsets(node.broker.history("c", KEEP, None)) == [1, 2, 3, 4]
    node.stop()


def test_what_is_published_once_stop_has_returned_is_not_delivered(site):
    node = RecordingNode(site.broker)
    is_stopped, is_over = threading.Event(), threading.Event()

    def publish():
        while not is_over.is_set():
            node.publish(data=is_stopped.is_set(), limits=NOTHING)

    def stop():
        wait_until(lambda: node.delivered)
        node.stop()
        is_stopped.set()
        time.sleep(0.02)
        is_over.set()

    in_threads(publish, stop)
    node.start()
    node.publish(data="end")
    wait_until(lambda: node.delivered[-1].data == "end")
    assert {one.data for one in node.delivered} == {False, "end"}
    node.stop()


def test_health_says_nothing_where_nothing_is_wrong(node):
    for part in (node.broker, node.presence, node.control):
        assert part.health() == ""


def test_what_is_published_after_subscribe_has_returned_is_delivered(node):
    for number in range(20):
        channel = f"new {number}"
        node.broker.subscribe(channel)
        node.publish(channel, number)
    assert [one.data for one in node.received(20)] == list(range(20))
    node.broker.unsubscribe("new 3")
    node.broker.subscribe("new 3")
    node.publish("new 3", "again")
    assert node.received(21)[-1].offset == 2


def test_a_channel_that_nobody_is_in_is_remembered(node):
    node.broker.unsubscribe("c")
    for _ in range(3):
        node.publish()
    assert offsets(node.broker.history("c", KEEP, None)) == [1, 2, 3]


def test_a_receiver_may_publish_when_it_is_woken_on_that_thread_or_another(node):
    keys = ["1", "2", "3"]

    def publish_again():
        if keys:
            key = keys.pop()
            other = threading.Thread(target=node.publish, args=("c", "other thread"),
                                     kwargs={"key": "k"}, daemon=True)
            other.start()
            other.join(PATIENCE)
            assert not other.is_alive(), "wake was called with a lock held"
            node.publish("c", "same thread", key=key)

    node.on_wake = publish_again
    node.publish("c", "first", key="k")
    node.received(4)
    assert [one.data for one in node.settled()] == ["first"] + ["same thread"] * 3


# Keys

def test_a_key_publishes_once_in_each_channel(node):
    first = node.publish(key="k")
    assert node.publish(data="other", key="k") == first
    assert node.publish("b", key="k").offset == 1
    assert node.publish(key="l").offset == 2
    assert [one[:3] for one in node.received(3)] == [("c", 1, "x"), ("b", 1, "x"), ("c", 2, "x")]
    assert offsets(node.broker.history("c", KEEP, None)) == [1, 2]
    assert len(node.settled()) == 3


def test_a_key_holds_in_a_channel_that_remembers_nothing(node):
    assert node.publish(limits=NOTHING, key="k") == node.publish(limits=NOTHING, key="k") == NOWHERE
    assert len(node.settled()) == 1


def test_threads_with_one_key_publish_once_and_have_one_answer(node):
    for round_ in range(10):
        answers = in_threads(*[partial(node.publish, data=number, key=f"k{round_}")
                               for number in range(4)])
        assert set(answers) == {Position(round_ + 1, answers[0].epoch)}
    assert len(node.settled()) == 10


def test_a_key_is_free_after_its_time(site, node):
    first = node.publish(key="k")
    site.pass_time(FIVE_MINUTES - 1)
    assert node.publish(key="k") == first
    site.pass_time(2)
    assert node.publish(key="k").offset == 2
