from __future__ import annotations

import threading

import pytest

from pushclient.inbox import AWAITED_FACTOR, LEAST_AWAITED, LIMIT_SIZE, Inbox


def test_it_takes_what_there_is_room_for_and_says_when_there_is_more():
    told = []
    inbox = Inbox(4, lambda: told.append(len(inbox)))
    assert inbox.put(["1", "2", "3", "4", "5"]) == ["5"]
    assert len(inbox) == 4 and not inbox.has_room
    assert [inbox.get(), inbox.get()] == ["1", "2"]
    assert told == [2] and inbox.has_room
    assert not inbox.put(["5"])
    assert [inbox.get(), inbox.get(), inbox.get()] == ["3", "4", "5"]
    assert told == [2]


def test_it_queues_few_large_messages():
    inbox = Inbox(1000, lambda: None)
    large = b"x" * (LIMIT_SIZE // 4)
    assert len(inbox.put([large] * 10)) == 6
    assert len(inbox.put([b"x" * LIMIT_SIZE * 2])) == 1
    while len(inbox):
        inbox.get()
    assert not inbox.put([b"x" * LIMIT_SIZE * 2])


def test_while_somebody_waits_for_what_comes_behind_there_is_more_room_but_an_end():
    inbox = Inbox(4, lambda: None)
    assert len(inbox.put(["x"] * 20_000, awaited=True)) == 20_000 - AWAITED_FACTOR * LEAST_AWAITED
    assert len(inbox.put(["x"], awaited=True)) == 1 and not inbox.has_room
    large = Inbox(1000, lambda: None)
    assert len(large.put([b"x" * LIMIT_SIZE] * 100, awaited=True)) == 100 - AWAITED_FACTOR


def test_last_messages_are_taken_whatever_the_limit():
    inbox = Inbox(1, lambda: None)
    inbox.put_all(["1", "2"])
    inbox.end()
    assert [inbox.get(), inbox.get(), inbox.get(), inbox.get()] == ["1", "2", None, None]


def test_get_waits_for_a_message_or_the_end():
    inbox = Inbox(10, lambda: None)
    with pytest.raises(TimeoutError, match="within 0.01 s"):
        inbox.get(0.01)
    got = []
    readers = [threading.Thread(target=lambda: got.append(inbox.get(10))) for _ in range(3)]
    for reader in readers:
        reader.start()
    inbox.put(["1", "2"])
    inbox.end()
    for reader in readers:
        reader.join(10)
    assert sorted(got, key=str) == ["1", "2", None]


def test_smallest_inbox_never_gets_stuck():
    ready = threading.Event()
    inbox, got, number = Inbox(1, ready.set), [], 2000

    def write():
        rest = [str(n) for n in range(number)]
        while rest:
            rest = inbox.put(rest)
            while rest and not inbox.has_room:
                assert ready.wait(10)
                ready.clear()
        inbox.end()
    writer = threading.Thread(target=write)
    writer.start()
    while (message := inbox.get(10)) is not None:
        got.append(message)
    writer.join()
    assert got == [str(n) for n in range(number)]
