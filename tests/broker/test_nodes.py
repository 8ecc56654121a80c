"""Several nodes of one site: one order, one history, one presence, and commands to all."""
from __future__ import annotations

from functools import partial

import pytest

from pushserver.channels.control import EndSession
from pushserver.channels.presence import Info
from pushserver.channels.publication import NOWHERE, Position
from tests.broker.recording_node import KEEP, NOTHING, RecordingNode, in_threads
from tests.broker.test_control import COMMANDS
from tests.support.history import offsets
from tests.support.waiting import wait_until

ANN, ANN_AGAIN, BOB = Info("1", "ann"), Info("2", "ann"), Info("3", "bob")


# Publishing

def test_what_one_node_publishes_is_delivered_by_all(nodes):
    position = nodes[0].publish(data={"x": 1})
    again = nodes[1].publish(data=b"y")
    assert (position.offset, again) == (1, (2, position.epoch))
    for node in nodes:
        assert node.received(2) == [("c", 1, {"x": 1}, position.epoch),
                                    ("c", 2, b"y", position.epoch)]


def test_all_nodes_deliver_in_one_order_and_keep_that_of_each_thread(nodes):
    def publish(node, name):
        for number in range(50):
            node.publish("a", [name, number])
            node.publish("b", [name, number], NOTHING)

    in_threads(*[partial(publish, nodes[name % 2], name) for name in range(4)])
    for node in nodes:
        node.received(400)
        kept = [one for one in node.delivered if one.channel == "a"]
        assert [one.offset for one in kept] == list(range(1, 201))
        for name in range(4):
            for channel in "ab":
                assert [one.data[1] for one in node.delivered
                        if (one.channel, one.data[0]) == (channel, name)] == list(range(50))
    first, second = ([one for one in node.delivered if one.channel == "a"] for node in nodes)
    assert first == second


def test_the_history_is_one(nodes):
    for number in range(6):
        position = nodes[number % 2].publish()
    for node in nodes:
        page = node.broker.recover("c", KEEP, Position(4, position.epoch))
        assert (offsets(page), page.top, page.recovered) == ([5, 6], position, True)
        assert offsets(node.broker.history("c", KEEP, None)) == [1, 2, 3, 4, 5, 6]
    nodes[0].broker.remove_history("c")
    assert offsets(nodes[1].broker.history("c", KEEP, None)) == []
    assert nodes[1].publish() == (7, position.epoch)


def test_a_key_holds_on_all_nodes(nodes):
    for round_ in range(10):
        answers = in_threads(*[partial(node.publish, key=f"k{round_}") for node in nodes * 2])
        assert set(answers) == {Position(round_ + 1, answers[0].epoch)}
    for node in nodes:
        assert [one.offset for one in node.settled()] == list(range(1, 11))


def test_a_node_that_subscribes_gets_what_others_publish_after_that(nodes):
    for number in range(20):
        nodes[0].publish(f"new {number}", "before")
        nodes[1].broker.subscribe(f"new {number}")
        nodes[0].publish(f"new {number}", number)

    def after():
        return [(one.offset, one.data) for one in nodes[1].delivered if one.data != "before"]

    wait_until(lambda: len(after()) >= 20)
    assert sorted(after()) == [(2, number) for number in range(20)]


def test_a_node_that_has_stopped_gets_nothing_and_the_others_go_on(nodes):
    nodes[1].stop()
    nodes[0].publish(data="while it was stopped")
    nodes[0].received(1)
    nodes[1].start()
    nodes[0].publish(data="again")
    assert [one[1:3] for one in nodes[1].received(1)] == [(2, "again")]
    assert len(nodes[0].received(2)) == 2


def test_a_lost_history_starts_again_under_another_epoch(wide_site, nodes):
    old = nodes[0].publish()
    nodes[0].received(1), nodes[1].received(1)
    wide_site.lose_histories()
    assert not nodes[1].broker.recover("c", KEEP, old).recovered
    new = nodes[1].publish()
    assert new.offset == 1 and new.epoch not in ("", old.epoch)
    assert not nodes[0].broker.recover("c", KEEP, old).recovered
    assert offsets(nodes[0].broker.recover("c", KEEP, NOWHERE)) == [1]
    assert nodes[0].received(2)[-1] == ("c", 1, "x", new.epoch)


# Presence

def test_presence_is_that_of_all_nodes(nodes):
    here, there = (node.presence for node in nodes)
    assert here.join("c", ANN) and there.join("c", BOB)
    for presence in (here, there):
        assert presence.of("c") == {"1": ANN, "3": BOB} and presence.stats("c") == (2, 2)
    assert here.leave("c", "1") == ANN
    assert there.of("c") == {"3": BOB}


def test_who_reloads_on_another_node_keeps_its_place(wide_site, nodes):
    here, there = (node.presence for node in nodes)
    here.join("c", ANN)
    assert here.leave("c", "1", 15) is None
    assert there.of("c") == {"1": ANN}
    assert not there.join("c", ANN_AGAIN)
    assert here.of("c") == {"2": ANN_AGAIN}
    wide_site.pass_time(15)
    assert here.due() == there.due() == []


def test_a_user_is_there_from_its_first_connection_to_its_last_on_any_node(wide_site, nodes):
    here, there = (node.presence for node in nodes)
    assert here.join("c", ANN) and not there.join("c", ANN_AGAIN)
    assert here.still("c", ANN) and there.still("c", ANN)
    assert here.leave("c", "1", 15) is None
    wide_site.pass_time(15)
    assert here.due() == there.due() == []
    assert here.still("c", ANN) == ANN_AGAIN
    assert there.leave("c", "2") == ANN_AGAIN


def test_of_clients_that_come_to_several_nodes_at_once_one_is_told(nodes):
    for channel in map(str, range(20)):
        told = in_threads(*[partial(node.presence.join, channel, Info(f"{number}", "ann"))
                            for number, node in enumerate(nodes * 2, 4)])
        assert sum(told) == 1


def test_the_end_of_a_linger_is_told_by_the_clients_node(wide_site, nodes):
    here, there = (node.presence for node in nodes)
    here.join("c", ANN), there.join("c", BOB)
    here.leave("c", "1", 15), there.leave("c", "3", 15)
    wide_site.pass_time(15)
    assert there.due() == [("c", BOB)]
    assert here.next_due() == 0
    assert here.due() == [("c", ANN)]
    assert here.of("c") == there.of("c") == {}


def test_the_clients_of_a_dead_node_are_gone_after_a_while(wide_site, nodes):
    dead = RecordingNode(wide_site.another())
    dead.presence.join("c", ANN), nodes[0].presence.join("c", BOB)
    dead.presence.join("d", ANN), dead.presence.leave("d", "1", 15)
    wide_site.kill(dead.broker)
    wide_site.pass_time(wide_site.death_notice)
    for node in nodes:
        assert node.presence.of("c") == {"3": BOB} and node.presence.stats("c") == (1, 1)
        assert node.presence.of("d") == {}


# Control

@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_reaches_the_other_nodes_once(nodes, command):
    nodes[0].control.tell(command)
    nodes[0].control.tell(EndSession("end"))
    wait_until(lambda: len(nodes[1].commands) > 1)
    for node in nodes:
        first, last = (command for command, _ in node.commands)
        assert meaning(first) == meaning(command) and last == EndSession("end")


def meaning(command):
    """Return a command as what can be compared: its publication may have been made anew."""
    return type(command), [(part.kind, part.payload, part.tags) if hasattr(part, "payload")
                           else part for part in command]


def test_commands_of_a_thread_arrive_in_its_order_everywhere(nodes):
    def tell(name):
        for number in range(50):
            nodes[name % 2].control.tell(EndSession(f"{name}-{number}"))

    in_threads(*[partial(tell, name) for name in range(4)])
    for node in nodes:
        wait_until(lambda: len(node.commands) == 200)
        sessions = [command.session for command, _ in node.commands]
        for name in range(4):
            assert [one for one in sessions if one.startswith(f"{name}-")] == [
                f"{name}-{number}" for number in range(50)]


def test_a_node_that_has_stopped_obeys_no_other(nodes):
    nodes[1].control.stop()
    nodes[0].control.tell(EndSession("while it was stopped"))
    nodes[1].control.start(nodes[1].obey)
    nodes[0].control.tell(EndSession("again"))
    wait_until(lambda: nodes[1].commands)
    assert [command for command, _ in nodes[1].commands] == [EndSession("again")]


def test_obeying_may_subscribe_on_another_node(nodes):
    nodes[1].on_obey = lambda: nodes[1].broker.subscribe("new")
    nodes[0].control.tell(EndSession("s"))
    wait_until(lambda: nodes[1].commands and nodes[1].obeyed)
    nodes[0].publish("new")
    nodes[1].received(1)
