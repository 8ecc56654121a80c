"""Many commands in one request give way to others, and end in a bounded time and size."""
from __future__ import annotations

import pytest

from pushserver.api import patience
from pushserver.api.patience import answers
from tests.support.history import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def run(clock, seconds, count=10, size=1):
    """Answer commands that each take some time; return the answers, and when others ran."""
    ran, slept = [], []

    def answer(number):
        clock.now += seconds
        ran.append(number)
        return b"x" * size

    found = list(answers(range(count), answer, lambda number: b"no", clock=clock,
                         sleep=lambda _: slept.append(len(ran))))
    return found, slept


def test_short_commands_give_way_only_now_and_then(clock):
    found, slept = run(clock, patience.GIVE_WAY / 4, 20)
    assert found == [b"x"] * 20
    assert slept == [5, 10, 15, 20]


def test_long_ones_give_way_after_each(clock):
    assert run(clock, patience.GIVE_WAY * 2, 3)[1] == [1, 2, 3]


def test_what_is_left_after_the_time_is_refused(clock):
    found, _ = run(clock, patience.MAX_SECONDS / 3)
    assert found == [b"x"] * 4 + [b"no"] * 6


def test_what_is_left_after_the_last_byte_is_refused(clock, monkeypatch):
    monkeypatch.setattr(patience, "MAX_ANSWERS", 100)
    found, _ = run(clock, 0, size=40)
    assert found[3:] == [b"no"] * 7 and len(b"".join(found[:3])) == 120
