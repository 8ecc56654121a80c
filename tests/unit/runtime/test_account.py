"""The account of what waits for clients: each message once, however many wait for it."""
from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pushserver.runtime.account import BUFFER_OVERHEAD, Account
from pushserver.runtime.outbox import Head, Outbox

KIB = 1024


def messages(count, size=KIB):
    return [bytes([number % 256]) * size for number in range(count)]


def held(outboxes):
    """Return what these hold, found out by a search."""
    found = {id(data): data for outbox in outboxes for data in outbox._buffers or ()}
    return sum(len(data) + BUFFER_OVERHEAD for data in found.values())


def test_a_message_for_many_counts_once_until_the_last_has_read_it():
    account = Account()
    outboxes = [Outbox(KIB, account) for _ in range(1000)]
    message, = messages(1)
    for outbox in outboxes:
        outbox.force(message)
    assert account.outboxes == KIB + BUFFER_OVERHEAD
    for outbox in outboxes[1:]:
        outbox.advance(KIB)
    assert account.outboxes == KIB + BUFFER_OVERHEAD
    outboxes[0].advance(KIB - 1)    # it is held until all of it is written
    assert account.outboxes == KIB + BUFFER_OVERHEAD
    outboxes[0].advance(1)
    assert account.outboxes == 0


def test_the_same_message_twice_in_an_outbox_counts_until_both_are_written():
    account = Account()
    outbox = Outbox(10 * KIB, account)
    message, = messages(1)
    outbox.append(message, message)
    outbox.advance(KIB)
    assert account.outboxes == KIB + BUFFER_OVERHEAD
    outbox.advance(KIB)
    assert account.outboxes == 0


def test_nothing_is_left_of_an_outbox_that_is_cleared():
    account = Account()
    outbox = Outbox(10 * KIB, account)
    for message in messages(5):
        outbox.force(message)
    outbox.advance(100)
    outbox.clear()
    assert (account.outboxes, outbox.size, bytes(outbox.peek(KIB))) == (0, 0, b"")


def test_an_outbox_answers_for_its_share_of_what_waits_in_others_too():
    account = Account()
    outboxes = [Outbox(100 * KIB, account) for _ in range(10)]
    shared, own = messages(2, 10 * KIB)
    for outbox in outboxes:
        outbox.force(shared)
    outboxes[0].force(own)
    assert outboxes[1].share == round((10 * KIB + BUFFER_OVERHEAD) / 10)
    assert outboxes[0].share == round(1.1 * (10 * KIB + BUFFER_OVERHEAD))
    assert Outbox(KIB, account).share == 0


def test_the_share_of_very_many_messages_is_taken_from_a_few():
    account = Account()
    outbox = Outbox(1 << 20, account)
    for message in messages(1000, 100):
        outbox.force(bytes(bytearray(message)))
    assert 1000 * 100 <= outbox.share <= 1000 * (100 + BUFFER_OVERHEAD) * 1.1


STEPS = st.lists(st.tuples(st.sampled_from(("force", "append", "advance", "sift", "drop", "clear")),
                           st.integers(0, 2), st.integers(0, 7)), max_size=60)


@given(steps=STEPS)
def test_whatever_happens_to_outboxes_the_account_is_exact(steps):
    account, shared = Account(), [*messages(3, 50), Head(b"head"), *messages(3, 9)]
    outboxes = [Outbox(200, account) for _ in range(3)]
    for step, which, number in steps:
        outbox = outboxes[which]
        if step == "force":
            outbox.force(shared[number % 3])
        elif step == "append":
            outbox.append(shared[3], shared[4 + number % 3])
        elif step == "advance":
            outbox.advance(min(outbox.size, number * 17))
        elif step == "sift":
            outbox.sift(lambda data: data[:len(data) - number], pinned=number)
        elif step == "drop":
            outbox.drop_unsent(number)
        else:
            outbox.clear()
        assert account.outboxes == held(outboxes)
        assert sum(outbox.share for outbox in outboxes) <= 2 * held(outboxes) + 3


def test_it_tells_once_that_there_is_more():
    account, told = Account(), []
    account.on_more = lambda: told.append(account.outboxes + account.arrived)
    account.most = 1000
    account.arrive(1000)
    assert not told
    account.arrive(1)
    account.arrive(1)
    assert told == [1001]
    account.recounted(500)
    account.most = 1000
    Outbox(KIB, account).force(b"x" * 600)
    assert told == [1001, 1100 + BUFFER_OVERHEAD]


def test_what_waits_nowhere_leaves_nothing_behind():
    account, outboxes = Account(), []
    order = random.Random(5)
    outboxes = [Outbox(1 << 20, account) for _ in range(20)]
    for message in messages(200, 500):
        for outbox in order.sample(outboxes, 5):
            outbox.force(message)
    while any(outbox.size for outbox in outboxes):
        outbox = order.choice(outboxes)
        outbox.advance(min(outbox.size, order.randrange(2000)))
    assert account.outboxes == 0 and not account._copies
