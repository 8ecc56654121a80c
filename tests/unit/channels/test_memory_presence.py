"""Presence: who is there, and reloads that nobody should notice."""
from __future__ import annotations

import pytest

from pushserver.channels.memory_presence import MemoryPresence
from pushserver.channels.presence import Info
from tests.support.history import FakeClock

ANN, ANN_AGAIN, BOB = Info("1", "ann"), Info("2", "ann"), Info("3", "bob")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def presence(clock):
    return MemoryPresence(clock)


def test_who_joins_is_there_until_it_leaves(presence):
    assert presence.join("c", ANN) and presence.join("c", BOB)
    assert presence.of("c") == {"1": ANN, "3": BOB}
    assert presence.stats("c") == (2, 2)
    assert presence.leave("c", "1") == ANN
    assert presence.of("c") == {"3": BOB}
    assert presence.leave("c", "1") is None
    assert presence.of("other") == {} and presence.stats("other") == (0, 0)


def test_two_connections_of_a_user_are_two_clients_and_one_user(presence):
    assert presence.join("c", ANN) and presence.join("c", ANN_AGAIN)
    assert presence.stats("c") == (2, 1)


def test_joining_twice_is_joining_once(presence):
    assert presence.join("c", ANN)
    assert not presence.join("c", ANN)


def test_a_reload_is_neither_a_leave_nor_a_join(presence, clock):
    presence.join("c", ANN)
    assert presence.leave("c", "1", 15) is None
    assert presence.of("c") == {"1": ANN}
    clock.now += 14
    assert presence.due() == []
    assert not presence.join("c", ANN_AGAIN)
    assert presence.of("c") == {"2": ANN_AGAIN}
    clock.now += 60
    assert presence.due() == [] and presence.next_due() is None


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


def test_another_user_takes_nobodys_place(presence):
    presence.join("c", ANN)
    presence.leave("c", "1", 15)
    assert presence.join("c", BOB)
    assert presence.join("other", ANN_AGAIN)
    assert set(presence.of("c")) == {"1", "3"}


def test_one_comer_takes_one_place(presence, clock):
    presence.join("c", ANN)
    presence.join("c", ANN_AGAIN)
    presence.leave("c", "1", 15)
    presence.leave("c", "2", 15)
    assert not presence.join("c", Info("4", "ann"))
    assert presence.join("c", Info("5", "ann")) is False
    assert presence.join("c", Info("6", "ann")) is True
    clock.now += 15
    assert presence.due() == []


def test_who_is_anonymous_leaves_at_once(presence):
    nobody = Info("9", "")
    presence.join("c", nobody)
    assert presence.leave("c", "9", 15) == nobody


def test_leaving_for_good_ends_the_linger(presence, clock):
    presence.join("c", ANN)
    presence.leave("c", "1", 15)
    presence.leave("c", "1", 30)
    assert presence.leave("c", "1") == ANN
    clock.now += 60
    assert presence.due() == []


def test_the_channels_of_a_client_are_known(presence):
    presence.join("a", ANN)
    presence.join("b", ANN)
    presence.leave("a", "1")
    assert presence.channels("1") == ["b"] and presence.channels("3") == []


def test_nothing_is_kept_of_who_has_left(presence, clock):
    for number in range(100):
        presence.join("c", Info(str(number), "ann"))
        presence.leave("c", str(number), 15 if number % 2 else 0)
    clock.now += 15
    presence.due()
    assert not (presence._channels or presence._lingering or presence._of_user
                or presence._of_client or presence._due)
