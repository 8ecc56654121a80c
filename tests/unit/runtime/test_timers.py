"""Timers: what is due comes out once and by its time, and what was cancelled takes no room."""
from __future__ import annotations

import gc
import weakref

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pushserver.runtime.timers import FEW_CANCELLED, Timers

MOST = 60.0


def fire(timers, now):
    for timer in timers.due(now):
        timer.fire()


def test_calls_are_made_by_their_times():
    timers, made = Timers(), []
    for when in (3, 1, 2):
        timers.add(when, lambda when=when: made.append(when))
    fire(timers, 2)
    assert made == [1, 2]
    fire(timers, 3)
    assert made == [1, 2, 3]


def test_calls_of_one_time_are_made_in_the_order_in_which_they_were_added():
    timers, made = Timers(), []
    for number in range(5):
        timers.add(1, lambda number=number: made.append(number))
    fire(timers, 1)
    assert made == [0, 1, 2, 3, 4]


def test_a_cancelled_call_is_not_made():
    timers, made = Timers(), []
    timer = timers.add(1, lambda: made.append("no"))
    timer.cancel()
    timer.cancel()
    fire(timers, 2)
    timer.fire()
    assert made == []
    assert len(timers) == 0


def test_a_call_that_an_earlier_one_cancels_is_not_made():
    timers, made = Timers(), []
    timers.add(1, lambda: later.cancel())
    later = timers.add(1, lambda: made.append("no"))
    fire(timers, 1)
    assert made == []


def test_a_call_is_made_once():
    timers, made = Timers(), []
    timer = timers.add(1, lambda: made.append("once"))
    fire(timers, 1)
    timer.fire()
    timer.cancel()
    assert made == ["once"]


def test_a_cancelled_call_holds_nothing():
    class Held:
        def call(self):
            pass

    timers, item = Timers(), Held()
    reference = weakref.ref(item)
    timer = timers.add(1, item.call)
    del item
    timer.cancel()
    gc.collect()
    assert reference() is None


def test_the_wait_is_until_the_next_call_that_was_not_cancelled():
    timers = Timers()
    assert timers.wait(0, MOST) == MOST
    first = timers.add(5, lambda: None)
    timers.add(8, lambda: None)
    assert timers.wait(1, MOST) == 4
    first.cancel()
    assert timers.wait(1, MOST) == 7
    assert timers.wait(9, MOST) == 0
    assert timers.wait(1, 2) == 2


def test_calls_that_are_cancelled_again_and_again_do_not_pile_up():
    timers = Timers()
    timers.add(1e9, lambda: None)
    for when in range(10_000):
        timers.add(when, lambda: None).cancel()
    assert len(timers._heap) <= 2 * FEW_CANCELLED + 4


class TimersMachine(RuleBasedStateMachine):
    """Do anything to the timers, beside a plain list of what is to be called."""

    added = Bundle("added")

    def __init__(self):
        super().__init__()
        self.timers = Timers()
        self.now = 0
        self.pending = {}       # number -> when
        self.made = []
        self.number = 0

    @rule(target=added, delay=st.integers(0, 20))
    def add(self, delay):
        number = self.number = self.number + 1
        self.pending[number] = self.now + delay
        return number, self.timers.add(self.now + delay, lambda: self.made.append(number))

    @rule(target=added, count=st.integers(1, 3 * FEW_CANCELLED), delay=st.integers(0, 20))
    def add_and_cancel_many(self, count, delay):
        for _ in range(count):
            self.timers.add(self.now + delay, lambda: self.made.append("cancelled")).cancel()
        return 0, self.timers.add(self.now - 1, lambda: None)

    @rule(item=added)
    def cancel(self, item):
        number, timer = item
        timer.cancel()
        self.pending.pop(number, None)

    @rule(seconds=st.integers(0, 15))
    def pass_time(self, seconds):
        self.now += seconds
        due = [number for number, when in self.pending.items() if when <= self.now]
        due.sort(key=lambda number: (self.pending[number], number))
        fire(self.timers, self.now)
        assert self.made == due
        for number in due:
            del self.pending[number]
        self.made.clear()

    @rule(most=st.integers(0, 30))
    def wait(self, most):
        self.timers.due(self.now - 1)   # the one that stands for none of the list
        nearest = min((when - self.now for when in self.pending.values()), default=most)
        assert self.timers.wait(self.now, most) == min(most, max(0, nearest))

    @invariant()
    def what_was_cancelled_is_not_counted(self):
        assert len(self.timers) >= len(self.pending)


TestAnySequence = TimersMachine.TestCase
