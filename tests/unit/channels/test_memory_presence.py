"""Presence in memory: departures to the moment, and what it frees; see also ``tests/broker``."""
from __future__ import annotations

import pytest

from pushserver.channels import memory_presence as presence_module
from pushserver.channels.memory_presence import MemoryPresence
from pushserver.channels.presence import Info
from tests.support.history import FakeClock
from tests.support.waiting import best_of_three

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


def test_dates_of_those_who_have_come_back_are_bounded(presence, monkeypatch):
    monkeypatch.setattr(presence_module, "SPARE_DATES", 10)
    for _ in range(100):
        presence.join("c", ANN)
        presence.leave("c", ANN.client, 3600)
    assert len(presence._due) <= 12
    assert presence.next_due() == 3600


def test_when_too_many_linger_the_others_leave_at_once(presence, monkeypatch):
    monkeypatch.setattr(presence_module, "MAX_LINGERING", 1)
    presence.join("c", ANN)
    presence.join("c", BOB)
    assert presence.leave("c", ANN.client, 15) is None
    assert presence.leave("c", ANN.client, 15) is None
    assert presence.leave("c", BOB.client, 15) == BOB
    assert list(presence.of("c")) == [ANN.client]


def test_bytes_are_counted_for_each_client_in_a_channel(presence):
    presence.join("c", ANN)
    presence.join("c", ANN)
    presence.join("d", ANN)
    assert 1000 < presence.held_bytes / 2 < 2000
    for channel in "cd":
        presence.leave(channel, ANN.client)
    assert presence.held_bytes == 0


@pytest.mark.parametrize("user", ["ann", "", None], ids=["one user", "anonymous", "many users"])
@pytest.mark.parametrize("linger", [0, 15])
def test_four_times_as_many_take_about_four_times_as_long(clock, user, linger):
    def come_and_go(count):
        presence = MemoryPresence(clock)
        infos = [Info(str(number), str(number) if user is None else user)
                 for number in range(count)]
        for info in infos:
            presence.join("c", info)
            presence.join(f"c {info.client}", info)
        for info in infos:
            presence.still("c", info)
            for channel in presence.channels(info.client):
                presence.leave(channel, info.client, linger)
        clock.now += linger
        presence.due()
        assert presence.stats("c") == (0, 0) and presence.next_due() is None

    assert best_of_three(lambda: come_and_go(8000)) < 10 * best_of_three(lambda: come_and_go(2000))


def test_a_user_that_comes_and_goes_over_and_over_leaves_nothing_behind(presence, clock):
    for number in range(1000):
        assert presence.join("c", Info(str(number), "ann")) == (number == 0)
        presence.leave("c", str(number), 15)
        assert len(presence.of("c")) == 1
    clock.now += 15
    assert presence.due() == [("c", Info("999", "ann"))]
    assert not (presence._channels or presence._lingering or presence._of_user
                or presence._of_client or presence._due)
