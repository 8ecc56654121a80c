"""The ticker: on whole multiples of its interval, whatever the clock and the site do."""
from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.errors import InvalidData, InvalidSetting
from pushserver.ticker import Ticker, next_tick
from tests.support.waiting import wait_until

START = 1_000_000.25
HOUR = 3600.0


class Clock:
    """A wall clock that moves only when somebody waits for it or sets it."""

    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now


class Ending:
    """The event for which a ticker waits: waiting moves the clock, ``rounds`` waits are enough."""

    def __init__(self, clock, rounds, during=lambda number, seconds: seconds):
        self.clock = clock
        self.rounds = rounds
        self.during = during    # what a wait really takes
        self.waits = []

    def is_set(self):
        return len(self.waits) >= self.rounds

    def wait(self, seconds):
        assert seconds > 0
        self.clock.now += self.during(len(self.waits), seconds)
        self.waits.append(seconds)


def ticks(seconds=1, rounds=5, *, clock=None, during=lambda number, asked: asked, make=None):
    """Run a ticker on this thread and return the times at which it has pushed."""
    clock = clock or Clock()
    times = []
    ticker = Ticker(seconds, make or (lambda: "tick"), lambda data: times.append(clock.now),
                    clock=clock)
    ticker._run(Ending(clock, rounds, during))
    return times


def test_it_ticks_on_whole_seconds():
    assert ticks(1, 4) == [1_000_001, 1_000_002, 1_000_003]


def test_it_ticks_on_whole_minutes():
    assert ticks(60, 3) == [1_000_020, 1_000_080]


def test_it_does_not_drift_when_every_wait_is_a_little_long():
    times = ticks(1, 101, during=lambda number, asked: asked + 0.003)
    assert [round(time, 6) for time in times] == [1_000_001.003 + i for i in range(100)]


def test_times_that_a_stall_has_missed_are_skipped():
    times = ticks(1, 5, during=lambda number, asked: asked + (10 if number == 1 else 0))
    assert times == [1_000_001, 1_000_012, 1_000_013, 1_000_014]


def test_a_make_that_takes_longer_than_the_interval_skips_and_does_not_catch_up():
    clock = Clock()

    def make():
        clock.now += 2.5
        return "late"

    assert ticks(1, 4, clock=clock, make=make) == [1_000_003.5, 1_000_006.5, 1_000_009.5]


def test_a_wait_that_ends_early_is_gone_on_with():
    times = ticks(1, 7, during=lambda number, asked: asked / 2 if number % 2 else asked * 0.75)
    assert all(time >= 1_000_001 for time in times)
    times = ticks(1, 7, during=lambda number, asked: asked if number % 2 else asked - 0.01)
    assert [round(time, 6) for time in times] == [1_000_001, 1_000_002, 1_000_003]


def test_a_clock_set_back_an_hour_does_not_stop_it_for_an_hour():
    times = ticks(1, 6, during=lambda number, asked: asked - (HOUR if number == 2 else 0))
    assert times == [1_000_001, 1_000_002, 1_000_003 - HOUR + 1, 1_000_003 - HOUR + 2]


def test_a_clock_set_back_a_little_does_not_tick_the_same_time_twice():
    times = ticks(1, 6, during=lambda number, asked: asked - (0.5 if number == 2 else 0))
    assert times == [1_000_001, 1_000_002, 1_000_003, 1_000_004]


def test_a_clock_set_forward_an_hour_ticks_at_once_and_goes_on_from_there():
    times = ticks(1, 4, during=lambda number, asked: asked + (HOUR if number == 1 else 0))
    assert times == [1_000_001, 1_000_002 + HOUR, 1_000_003 + HOUR]


def test_a_make_that_raises_costs_its_tick_only(caplog):
    results = iter([ValueError("broken"), "two", OSError("broken"), "four"])
    pushed = []

    def make():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    clock = Clock()
    with caplog.at_level(logging.ERROR, "pushserver"):
        Ticker(1, make, pushed.append, clock=clock)._run(Ending(clock, 4))
    assert pushed == ["two"]
    assert [record.exc_info[0] for record in caplog.records] == [ValueError, OSError]


def test_what_cannot_be_pushed_costs_its_tick_only(caplog):
    pushed = []

    def push(data):
        if data == 2:
            raise InvalidData("JSON cannot hold this set")
        pushed.append(data)

    numbers = iter(range(1, 9))
    clock = Clock()
    with caplog.at_level(logging.ERROR, "pushserver"):
        Ticker(1, lambda: next(numbers), push, clock=clock)._run(Ending(clock, 5))
    assert pushed == [1, 3, 4]
    assert [record.exc_info[0] for record in caplog.records] == [InvalidData]


@given(st.floats(0, 4e9), st.floats(1e-3, 1e6) | st.sampled_from([0.1, 0.2, 0.25, 1, 5, 60, 3600]))
def test_the_next_tick_is_the_first_multiple_after_now(now, seconds):
    tick = next_tick(now, seconds)
    assert now < tick <= now + seconds * 1.001
    assert tick / seconds == pytest.approx(round(tick / seconds), abs=1e-4)


@given(st.integers(0, 10**11), st.sampled_from([0.1, 0.2, 0.3, 0.7, 1, 2.5, 60]))
def test_a_tick_on_time_is_never_made_twice(number, seconds):
    now = number * seconds
    assert next_tick(now, seconds) > now
    assert next_tick(next_tick(now, seconds), seconds) > next_tick(now, seconds)


@given(st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.1, 60.0]), st.integers(10**6, 10**10))
def test_it_ticks_once_for_each_interval_wherever_it_begins(seconds, number):
    times = ticks(seconds, 6, clock=Clock(number * seconds))
    assert len(times) == 5
    assert all(0.99 * seconds < later - earlier < 1.01 * seconds
               for earlier, later in zip(times, times[1:]))


@pytest.mark.parametrize("seconds", [0, -1, True, None, "1", float("nan"), float("inf")])
def test_an_interval_that_cannot_be_is_refused(seconds):
    with pytest.raises(InvalidSetting, match="interval is"):
        Ticker(seconds, lambda: "x", lambda data: None)


def running(ticker):
    return any(thread.name == "pushserver-ticker" for thread in threading.enumerate())


def test_it_pushes_from_a_thread_of_its_own_until_it_is_stopped():
    pushed, stopped = [], []
    ticker = Ticker(0.005, threading.get_ident, pushed.append, on_stop=stopped.append)
    assert repr(ticker) == "<Ticker every 0.005 s, stopped>"
    ticker.start()
    ticker.start()
    assert repr(ticker) == "<Ticker every 0.005 s, running>"
    wait_until(lambda: len(pushed) >= 3)
    assert len(set(pushed)) == 1 and threading.get_ident() not in pushed
    ticker.stop()
    assert stopped == [ticker]
    assert not running(ticker)
    before = len(pushed)
    assert repr(ticker) == "<Ticker every 0.005 s, stopped>"
    assert len(pushed) == before


def test_it_can_be_halted_and_started_again():
    pushed = []
    ticker = Ticker(0.005, lambda: "x", pushed.append)
    for _ in range(2):
        ticker.start()
        wait_until(lambda: pushed)
        ticker.halt()
        assert not running(ticker)
        pushed.clear()
    ticker.halt()


def test_it_may_stop_itself():
    pushed = []

    def push(data):
        pushed.append(data)
        ticker.stop()

    ticker = Ticker(0.005, lambda: "once", push)
    ticker.start()
    wait_until(lambda: not running(ticker))
    assert pushed == ["once"]


def test_an_interval_of_centuries_is_waited_for_and_can_be_stopped():
    ticker = Ticker(1e12, lambda: "x", lambda data: None)
    ticker.start()
    thread, = [thread for thread in threading.enumerate() if thread.name == "pushserver-ticker"]
    thread.join(0.05)
    assert thread.is_alive()
    ticker.stop()
    assert not running(ticker)
