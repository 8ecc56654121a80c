"""Presence in memory: departures to the moment, and what it frees; see also ``tests/broker``."""
from __future__ import annotations

import pytest

from pushserver.channels.memory_presence import MemoryPresence
from pushserver.channels.presence import Info
from tests.support.history import FakeClock

ANN, BOB = Info("1", "ann"), Info("3", "bob")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def presence(clock):
    return MemoryPresence(clock)


def test_who_does_not_come_back_has_left_after_the_linger(presence, clock):
    presence.join("c", ANN)
    presence.join("c", BOB)
    presence.leave("c", "1", 15)
    clock.now += 5
    presence.leave("c", "3", 15)
    assert presence.next_due() == 10
    clock.now += 10
    assert presence.due() == [("c", ANN)]
    assert presence.next_due() == 5
    clock.now += 5
    assert presence.due() == [("c", BOB)]
    assert presence.of("c") == {} and presence.channels("3") == []


def test_nothing_is_kept_of_who_has_left(presence, clock):
    for number in range(100):
        presence.join("c", Info(str(number), "ann"))
        presence.leave("c", str(number), 15 if number % 2 else 0)
    clock.now += 15
    presence.due()
    assert not (presence._channels or presence._lingering or presence._of_user
                or presence._of_client or presence._due)
