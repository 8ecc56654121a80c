"""Workers: the jobs of one mailbox in order, and a blocked one in nobody else's way."""
from __future__ import annotations

import logging
import threading
import time
from collections import deque

import pytest

from pushserver.runtime import workers as workers_module
from pushserver.runtime.workers import SPARES_PER_WORKER, TURN, Mailbox, Workers
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture
def gate():
    """An event that blocked jobs wait for; it opens at the end in any case."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def start(gate):
    """Return a function that starts workers, which end with the test."""
    started = []

    def start(count):
        workers = Workers(count)
        workers.start()
        started.append(workers)
        return workers

    yield start
    gate.set()
    for workers in started:
        workers.stop(time.monotonic() + PATIENCE)
        wait_until(lambda: not workers._threads)


def test_jobs_of_one_mailbox_run_one_at_a_time_and_in_order(start):
    workers, box, ran, running = start(4), Mailbox(), [], []

    def job(number):
        running.append(number)
        assert running == [number]
        ran.append(number)
        running.remove(number)

    for number in range(1000):
        workers.post(box, lambda number=number: job(number))
    wait_until(lambda: len(ran) == 1000)
    assert ran == list(range(1000))


def test_jobs_of_several_mailboxes_run_side_by_side(start):
    workers = start(2)
    meeting = threading.Barrier(2, timeout=PATIENCE)
    met = []
    for _ in range(2):
        workers.post(Mailbox(), lambda: met.append(meeting.wait()))
    wait_until(lambda: len(met) == 2)


def test_a_blocked_job_keeps_only_its_own_mailbox_waiting(start, gate):
    workers, blocked, free, ran = start(2), Mailbox(), Mailbox(), []
    workers.post(blocked, lambda: gate.wait(PATIENCE))
    workers.post(blocked, lambda: ran.append("behind"))
    for number in range(10):
        workers.post(free, lambda number=number: ran.append(number))
    wait_until(lambda: len(ran) == 10)
    assert ran == list(range(10))
    gate.set()
    wait_until(lambda: ran[-1] == "behind")


def test_a_job_that_raises_is_logged_and_the_next_one_runs(start, caplog):
    workers, box, ran = start(1), Mailbox(), []
    with caplog.at_level(logging.ERROR, "pushserver"):
        workers.post(box, lambda: 1 / 0)
        workers.post(box, lambda: ran.append("next"))
        wait_until(lambda: ran)
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_a_long_mailbox_gives_others_their_turn(start, gate):
    workers, first, long, short, ran = start(1), Mailbox(), Mailbox(), Mailbox(), []
    workers.post(first, lambda: gate.wait(PATIENCE))
    for _ in range(3 * TURN):
        workers.post(long, lambda: ran.append("long"))
    workers.post(short, lambda: ran.append("short"))
    gate.set()
    wait_until(lambda: len(ran) == 3 * TURN + 1)
    assert ran.index("short") == TURN


def test_slow_jobs_of_one_mailbox_let_another_have_its_turn_by_time(start, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "TURN_TIME", 0.0)
    workers, long, short, ran = start(1), Mailbox(), Mailbox(), []
    workers.post(long, lambda: gate.wait(PATIENCE))
    for number in range(5):
        workers.post(long, lambda number=number: ran.append(number))
    workers.post(short, lambda: ran.append("short"))
    gate.set()
    wait_until(lambda: len(ran) == 6)
    assert ran == ["short", 0, 1, 2, 3, 4]


def test_workers_are_behind_while_a_mailbox_waits(start, gate):
    workers = start(1)
    assert not workers.is_behind
    workers.post(Mailbox(), lambda: gate.wait(PATIENCE))
    workers.post(Mailbox(), lambda: None)
    assert workers.is_behind
    gate.set()
    wait_until(lambda: not workers.is_behind)


def block_all(workers, gate, count):
    taken = []
    for _ in range(count):
        workers.post(Mailbox(), lambda: (taken.append(1), gate.wait(PATIENCE)))
    wait_until(lambda: len(taken) == count)


def test_a_spare_worker_takes_over_when_all_are_blocked(start, gate, caplog):
    workers, ran = start(1), []
    block_all(workers, gate, 1)
    workers.relieve()
    workers.post(Mailbox(), lambda: ran.append("relieved"))
    assert not ran
    with caplog.at_level(logging.WARNING, "pushserver"):
        workers.relieve()
        wait_until(lambda: ran)
    assert "all 1 workers are blocked" in caplog.text


def test_no_spare_worker_starts_while_mailboxes_are_being_taken(start, gate):
    workers = start(1)
    block_all(workers, gate, 1)
    workers.post(Mailbox(), lambda: None)
    workers.relieve()       # the blocked one was taken since the last look
    assert len(workers._threads) == 1


def test_spare_workers_are_limited(start, gate):
    workers = start(1)
    block_all(workers, gate, 1)
    for _ in range(SPARES_PER_WORKER + 5):
        workers.post(Mailbox(), lambda: gate.wait(PATIENCE))
        workers.relieve()
        if len(workers._threads) <= SPARES_PER_WORKER:
            workers.relieve()
            wait_until(lambda: not workers.is_behind)
    workers.relieve()
    workers.relieve()
    assert len(workers._threads) == 1 + SPARES_PER_WORKER
    assert workers.is_behind


def test_a_machine_without_threads_to_spare_is_no_error_of_the_caller(start, gate, monkeypatch,
                                                                      caplog):
    workers = start(1)
    block_all(workers, gate, 1)
    workers.relieve()
    workers.post(Mailbox(), lambda: None)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "pushserver"):
        patch.setattr(threading.Thread, "start", refuse)
        workers.relieve()
    assert "can't start new thread" in caplog.text
    assert len(workers._threads) == 1


def test_stopping_waits_for_all_jobs():
    ran = []
    for _ in range(50):
        workers, boxes = Workers(2), [Mailbox() for _ in range(5)]
        workers.start()
        for number in range(5 * (TURN + 10)):
            workers.post(boxes[number % 5], lambda: ran.append(1))
        assert workers.stop(time.monotonic() + PATIENCE)
    assert len(ran) == 50 * 5 * (TURN + 10)


def test_a_mailbox_that_is_handed_on_during_the_stop_is_still_emptied(gate):
    workers, boxes, ran = Workers(1), [Mailbox(), Mailbox()], []
    for box in boxes:
        workers.post(box, lambda: gate.wait(PATIENCE))
        for _ in range(2 * TURN):
            workers.post(box, lambda: ran.append(1))
    workers.start()
    stopping = threading.Thread(target=workers.stop, args=(time.monotonic() + PATIENCE,))
    stopping.start()
    wait_until(lambda: workers._stopping)
    gate.set()
    stopping.join()
    assert len(ran) == 4 * TURN


def test_one_mailbox_wakes_one_worker(start):
    workers, ran = start(3), []
    wait_until(lambda: len(workers._idle) == 3)
    slept_least = workers._idle[-1]
    workers.post(Mailbox(), lambda: ran.append(threading.get_ident()))
    wait_until(lambda: len(workers._idle) == 3)
    assert len(ran) == 1 and workers._idle[-1] is slept_least


def test_a_blocked_worker_has_woken_another_for_what_came_with_its_own_mailbox(start, gate):
    workers, met = start(3), []
    wait_until(lambda: len(workers._idle) == 3)
    with workers._lock:     # both come before anybody wakes up
        for job in (lambda: gate.wait(PATIENCE), lambda: met.append(1)):
            box = Mailbox()
            box.jobs, box.active = deque([job]), True
            workers._ready.append(box)
        bell = workers._bell()
    bell.release()
    wait_until(lambda: met)


def test_a_spare_worker_ends_when_it_has_had_nothing_to_do(start, gate, monkeypatch):
    monkeypatch.setattr("pushserver.runtime.workers.SPARE_IDLE", 0.01)
    workers = start(1)
    block_all(workers, gate, 1)
    workers.relieve()
    workers.post(Mailbox(), lambda: None)
    workers.relieve()
    wait_until(lambda: not workers.is_behind and len(workers._threads) == 1)
    assert not workers._idle


def test_stopping_does_not_wait_for_a_blocked_job_beyond_its_deadline(start, gate, caplog):
    workers = start(1)
    block_all(workers, gate, 1)
    with caplog.at_level(logging.WARNING, "pushserver"):
        assert not workers.stop(time.monotonic())
    assert "still blocked" in caplog.text


def test_workers_say_how_many_they_are(start):
    assert repr(start(2)) == "<Workers 2 threads, 0 mailboxes ready>"


def test_a_held_mailbox_waits_and_goes_on_with_what_held_it(start):
    workers, box, other, ran = start(1), Mailbox(), Mailbox(), []

    def first():
        ran.append("first")
        workers.hold(box, lambda: ran.append("rest of first"))

    workers.post(box, first)
    workers.post(box, lambda: ran.append("second"))
    wait_until(lambda: ran and not box.active)
    workers.post(box, lambda: ran.append("third"))
    workers.post(other, lambda: ran.append("other"))    # the only worker is free for others
    wait_until(lambda: len(ran) == 2)
    assert ran == ["first", "other"] and not workers.is_behind
    workers.release(box)
    wait_until(lambda: len(ran) == 5)
    assert ran[2:] == ["rest of first", "second", "third"]


def test_a_mailbox_released_before_its_worker_has_returned_goes_on(start):
    workers, box, ran = start(2), Mailbox(), []

    def first():
        workers.hold(box, lambda: ran.append("rest"))
        workers.release(box)
        workers.release(box)
        ran.append("first")

    workers.post(box, first)
    wait_until(lambda: len(ran) == 2)
    assert ran == ["first", "rest"]
    wait_until(lambda: not box.active)
    assert box.jobs is None


def test_mailboxes_that_are_held_do_not_keep_workers_from_ending(start):
    workers, box, held = start(1), Mailbox(), []
    workers.post(box, lambda: (workers.hold(box, lambda: None), held.append(1)))
    wait_until(lambda: held and not box.active)
    assert workers.stop(time.monotonic() + PATIENCE)


def test_a_job_may_stop_its_own_workers_and_another_worker_takes_its_place(start):
    workers, ran = start(1), []
    boxes = [Mailbox(), Mailbox()]

    def stop():
        workers.step_aside()
        workers.step_aside()
        workers.post(boxes[1], lambda: ran.append("another's job"))
        ran.append(workers.stop(time.monotonic() + PATIENCE))

    workers.post(boxes[0], stop)
    workers.post(boxes[0], lambda: ran.append("own next job"))
    wait_until(lambda: len(ran) == 3)
    assert ran == ["another's job", True, "own next job"]


def test_a_thread_that_is_no_worker_has_nothing_to_step_aside_from(start):
    workers = start(1)
    workers.step_aside()
    assert len(workers._threads) == 1
