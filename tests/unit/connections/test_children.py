"""What forked processes call reaches the process that has the connections."""
from __future__ import annotations

import multiprocessing

import pytest

from pushserver.connections.children import SLOTS, Children
from pushserver.errors import ConnectionClosed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Kept:
    """Stand in for a connection."""

    def __init__(self):
        self.sent = []

    def send(self, data):
        self.sent.append(data)
        if data == "fail":
            raise ConnectionClosed("closed")
        if data == "break":
            raise ValueError("the site's")


@pytest.fixture
def children():
    children = Children()
    children.start()
    yield children
    children.stop()


def in_child(function, *arguments):
    """Run a function in a forked process and return what it returned."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(function(*arguments)))
    process.start()
    process.join()
    assert process.exitcode == 0
    found = queue.get()
    queue.close()
    return found


def sending(children, number, *messages):
    """Send; return the names of what was raised."""
    raised = []
    for message in messages:
        try:
            children.call(number, "send", message)
        except Exception as error:
            raised.append(type(error).__name__)
    return raised


def test_what_the_sites_own_method_raises_ends_no_other_call(children, caplog):
    kept = Kept()
    number = children.enter(kept)
    assert in_child(sending, children, number, "break", "fail", "still there") == []
    wait_until(lambda: kept.sent == ["break", "fail", "still there"])
    assert "a forked child's send failed" in caplog.text


def test_calls_of_a_child_come_in_order_and_whole(children):
    kept = Kept()
    messages = [*map(str, range(100)), "x" * 100_000, "fail", "last"]
    assert in_child(sending, children, children.enter(kept), *messages) == []
    wait_until(lambda: kept.sent == messages)


def test_a_child_learns_that_a_connection_has_ended(children):
    kept = Kept()
    number = children.enter(kept)
    children.leave(number)
    assert in_child(sending, children, number, "lost") == ["ConnectionClosed"]
    again = children.enter(kept)
    assert in_child(sending, children, again, "x") == []
    wait_until(lambda: kept.sent == ["x"])


def test_a_child_never_reaches_another_connection(children):
    first, second = Kept(), Kept()
    number = children.enter(first)
    for _ in range(SLOTS - 1):
        children.enter(Kept)
    children.enter(second)      # in the place of the first
    assert in_child(sending, children, number, "lost") == ["ConnectionClosed"]
    assert second.sent == []


def test_a_message_that_no_datagram_can_hold_is_too_large(children):
    assert in_child(sending, children, children.enter(Kept()), "x" * (8 << 20)) == [
        "MessageTooLarge"]


def test_after_the_stop_nothing_is_sent():
    children = Children()
    number = children.enter(Kept())
    with pytest.raises(ConnectionClosed):
        children.call(number, "send", "x")
    children.start()
    children.start()
    number = children.enter(Kept())
    children.stop()
    assert in_child(sending, children, number, "x") == []
    children.stop()
    assert in_child(sending, children, number, "x") == ["ConnectionClosed"]
    children.stop()


def test_a_stop_in_a_child_stops_nothing(children):
    kept = Kept()
    number = children.enter(kept)
    in_child(children.stop)
    assert in_child(sending, children, number, "still") == []
    wait_until(lambda: kept.sent == ["still"])
