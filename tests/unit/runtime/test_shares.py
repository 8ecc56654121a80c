"""Shares: who causes much is paused while others wait, and nobody else ever."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from pushserver.runtime.shares import (BURST, MOST_PAUSED, OTHERS_WAIT, RATE, SHARED_RATE,
                                       Allowance, Shares)

FRAMES = [b"frame"]


@pytest.fixture
def shares():
    return Shares()


def client(shares):
    """Return a connection, for what is sent to it."""
    return SimpleNamespace(allowance=Allowance(shares, 0.0))


def in_debt(shares, count, now=0.0):
    """Return so many clients that have caused too much."""
    found = [client(shares) for _ in range(count)]
    for one in found:
        one.allowance.charge(int(BURST * 3), now)
    return found


def push_to_others(shares, now=0.0):
    shares.sent([((client(shares), client(shares)), FRAMES)], now)


def test_nobody_is_paused_below_the_rate_whatever_the_others_do(shares):
    in_debt(shares, 1000)
    mine, total = client(shares).allowance, 0
    for second in range(1, 200):
        push_to_others(shares, second)
        total += int(RATE)
        mine.charge(total, float(second))
        assert mine.pause(float(second)) == 0


def test_a_fast_client_is_not_paused_while_nobody_else_waits(shares):
    fast, = in_debt(shares, 1)
    assert fast.allowance.pause(0.0) == 0
    shares.sent([((fast,), FRAMES)], 0.0)   # an echo
    assert fast.allowance.pause(0.0) == 0


@pytest.mark.parametrize("count", [1, 10, 32, 500])
def test_those_in_debt_share_one_rate_while_others_wait_but_have_their_own_at_least(shares, count):
    flooders = in_debt(shares, count)
    push_to_others(shares)
    each = max(RATE, SHARED_RATE / count)
    assert flooders[0].allowance.pause(0.0) == pytest.approx(BURST / each)


def test_an_answer_to_a_quiet_client_shows_that_others_wait(shares):
    fast, = in_debt(shares, 1)
    shares.sent([((client(shares),), FRAMES)], 0.0)
    assert fast.allowance.pause(0.0) > 0
    assert fast.allowance.pause(OTHERS_WAIT + 0.1) == 0     # nothing more was sent


def test_over_a_minute_one_gets_its_share_and_its_burst(shares):
    fast, now, total = client(shares).allowance, 0.0, 0
    while now < 60:
        push_to_others(shares, now)
        total += 170
        fast.charge(total, now)
        now += fast.pause(now)
    assert total == pytest.approx(60 * SHARED_RATE, rel=0.05)


def test_a_debt_ends_by_itself_and_counts_for_the_others_no_longer(shares):
    gone, here = in_debt(shares, 2)
    push_to_others(shares)
    here.allowance.charge(int(BURST * 9), 100.0)
    push_to_others(shares, 100.0)
    here.allowance.pause(100.0)
    assert list(shares.debtors) == [here.allowance]
    assert gone.allowance.level(100.0) == BURST


def test_one_that_has_left_counts_no_longer(shares):
    one, other = in_debt(shares, 2)
    one.allowance.end()
    one.allowance.end()
    assert list(shares.debtors) == [other.allowance]


def test_only_who_goes_on_for_long_without_catching_up_has_sent_too_much(shares):
    flooder, = in_debt(shares, 1)
    for now in (0.0, MOST_PAUSED, MOST_PAUSED + 1):
        push_to_others(shares, now)
        flooder.allowance.charge(int(BURST * (9 + now)), now)
        assert flooder.allowance.pause(now) > 0
    assert flooder.allowance.is_too_much(MOST_PAUSED + 1)
    flooder.allowance.has_caught_up()
    assert not flooder.allowance.is_too_much(MOST_PAUSED + 1)


def test_so_little_is_due_later_that_it_makes_no_difference(shares):
    one = client(shares).allowance
    assert 0 < one.due < BURST / 10
    one.charge(500, 0.0)
    assert one.level(0.0) == BURST - 500 and 500 < one.due < 500 + BURST / 10
