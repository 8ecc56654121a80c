"""The bell that threads wait for."""
from __future__ import annotations

import threading
import time

from pushclient import bell as module
from pushclient.bell import Bell
from tests.support.waiting import PATIENCE, wait_until


def test_what_has_happened_needs_no_ring():
    assert Bell().wait(lambda: True, 0) is True
    assert Bell().wait(lambda: True) is True


def test_time_is_up():
    began = time.monotonic()
    assert Bell().wait(lambda: False, 0.05) is False
    assert Bell().wait(lambda: 0, 0) is False
    assert time.monotonic() - began >= 0.05


def test_a_ring_without_a_change_wakes_nobody_for_good():
    bell, changed = Bell(), []
    done = []
    thread = threading.Thread(target=lambda: done.append(bell.wait(lambda: changed, PATIENCE)))
    thread.start()
    wait_until(lambda: bell._waiting)
    for _ in range(100):
        bell.ring()
    assert not done
    changed.append(1)
    bell.ring()
    thread.join(PATIENCE)
    assert done == [True] and not bell._waiting


def test_all_are_woken_and_no_change_is_missed():
    bell, turns = Bell(), [0]

    def follow():
        for turn in range(1, 500):
            assert bell.wait(lambda: turns[0] >= turn, PATIENCE)
    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(1, 500):
        turns[0] = turn
        bell.ring()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not bell._waiting


def test_the_main_thread_looks_for_signals_now_and_then_and_no_other_does(monkeypatch):
    monkeypatch.setattr(module, "FOR_SIGNALS", 0.001)
    bell, looks = Bell(), []
    assert bell.wait(lambda: looks.append(1) or len(looks) > 20, PATIENCE)
    assert not bell.wait(lambda: False, 0.01)
    others = []
    thread = threading.Thread(target=bell.wait, args=(lambda: others.append(1), 0.1))
    thread.start()
    thread.join(PATIENCE)
    assert len(others) <= 3
