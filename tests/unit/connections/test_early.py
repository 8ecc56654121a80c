"""What is done with a connection before it is open is done when it opens, in order."""
from __future__ import annotations

import threading

import pytest

from pushserver.connections.early import Early
from pushserver.errors import ConnectionClosed, MessageTooLarge


class Done(list):
    """Stand in for a handle: a list of what was done with it."""


def test_jobs_are_done_in_order_and_then_no_longer_kept():
    early, done = Early(100), Done()
    for number in range(5):
        assert early.keep(lambda handle, number=number: handle.append(number))
    early.run(done)
    assert done == [0, 1, 2, 3, 4]
    assert not early.keep(done.append)


def test_a_job_that_comes_while_others_are_done_waits_for_them():
    early, done = Early(100), Done()

    def first(handle):
        assert early.keep(lambda handle: handle.append("second"))
        handle.append("first")

    early.keep(first)
    early.run(done)
    assert done == ["first", "second"]


def test_a_job_for_a_connection_that_a_job_before_it_has_closed_is_nothing():
    early, done = Early(100), Done()

    def closed(handle):
        raise ConnectionClosed("closed")

    early.keep(closed)
    early.keep(lambda handle: handle.append("next"))
    early.run(done)
    assert done == ["next"]


def test_messages_have_as_much_room_as_the_outbox():
    early = Early(10)
    early.keep(print, 6)
    with pytest.raises(MessageTooLarge):
        early.keep(print, 5)
    assert early.keep(print, 4)


def test_what_is_dropped_is_not_done():
    early, done = Early(100), Done()
    early.keep(lambda handle: handle.append("lost"))
    early.enter("news")
    early.drop()
    assert not early.keep(print) and not early.enter("other")
    early.run(done)
    assert done == []


def test_each_thread_finds_its_own_jobs_in_order():
    early, done = Early(100), Done()
    began, late = threading.Barrier(4), []

    def work(name):
        began.wait()
        for number in range(200):
            if not early.keep(lambda handle, number=number: handle.append((name, number))):
                late.append((name, number))
                return

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    began.wait()
    early.run(done)
    for thread in threads:
        thread.join()
    first_late = dict(late)
    for name in "abc":
        own = [number for one, number in done if one == name]
        assert own == list(range(first_late.get(name, 200)))
