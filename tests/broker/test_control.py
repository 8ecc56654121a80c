"""Commands: carried out here before ``tell`` returns, on its thread, with no lock held."""
from __future__ import annotations

import threading

import pytest

from pushserver.channels.control import (Broadcast, DisconnectId, EndSession, RenameSession,
                                         SendToId, SubscribeId, UnsubscribeId)
from pushserver.channels.publication import Publication
from tests.support.waiting import PATIENCE

COMMANDS = (Broadcast(Publication.of("x")), SendToId("1", Publication.of(b"y")),
            DisconnectId("1", 4000, "why"), EndSession("s"), RenameSession("s", "t"),
            SubscribeId("1", "c"), UnsubscribeId("1", "c"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_is_carried_out_when_tell_returns_on_the_thread_that_told_it(node, command):
    node.concerned = 3
    assert node.control.tell(command) == 3
    assert node.commands == [(command, threading.current_thread())]


def test_commands_of_a_thread_are_carried_out_in_its_order(node):
    told = [EndSession(number) for number in range(50)]
    for command in told:
        node.control.tell(command)
    assert [command for command, _ in node.commands] == told


def test_before_start_a_command_concerns_nobody(site):
    assert site.broker.control.tell(EndSession("s")) == 0


def test_nothing_is_carried_out_after_stop_until_the_next_start(node):
    node.control.stop()
    assert node.control.tell(EndSession("stopped")) == 0
    node.control.start(node.obey)
    node.control.tell(EndSession("again"))
    assert [command for command, _ in node.commands] == [EndSession("again")]


def test_what_a_command_raises_reaches_who_told_it(node):
    node.on_obey = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        node.control.tell(EndSession("s"))
    node.on_obey = lambda: None
    node.concerned = 1
    assert node.control.tell(EndSession("s")) == 1


def test_obeying_may_tell_and_publish_on_that_thread_and_another(node):
    def tell_again():
        node.on_obey = lambda: None
        other = threading.Thread(target=node.control.tell, args=(EndSession("other"),),
                                 daemon=True)
        other.start()
        other.join(PATIENCE)
        assert not other.is_alive(), "obey was called with a lock held"
        node.publish()
        node.control.tell(EndSession("same thread"))

    node.on_obey = tell_again
    node.control.tell(EndSession("first"))
    assert [command.session for command, _ in node.commands] == ["first", "other", "same thread"]
    node.received(1)
