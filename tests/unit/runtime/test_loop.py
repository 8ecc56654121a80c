"""The loop: one thread for all sockets, what was queued together written together."""
from __future__ import annotations

import logging
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from pushserver.runtime import loop as loop_module
from pushserver.runtime.loop import READ, WRITE, Loop
from pushserver.runtime.sockets import FAN_OUT_SIZE, loop_socket
from pushserver.wire.speedups import HAVE_NATIVE, native
from tests.support.waiting import PATIENCE, wait_until


class Item:
    """A watched socket that keeps a record of what the loop does with it."""

    def __init__(self, sock, loop):
        self.socket = loop_socket(sock)
        self.loop = loop
        self.busy = False
        self.direct = None
        self.watching = 0
        self.record = []

    def send(self, data):
        self.record.append(("send", data))
        return self.socket.send(data)

    def fileno(self):
        return self.socket.socket.fileno()

    def readable(self):
        self.record.append(("read", self.socket.receive()))

    def flush(self):
        self.record.append(("flush",))
        self.loop.watch(self, 0)

    def enqueue(self, data):
        self.record.append(("enqueue", data))

    def partial(self, data, sent):
        self.record.append(("partial", len(data), sent))

    def crashed(self):
        self.record.append(("crashed",))


@pytest.fixture
def loop():
    """A loop that is not started yet, and ends with the test; its death is a failure."""
    deaths = []
    loop = Loop(deaths.append)
    yield loop
    if not loop._thread.ident:
        loop.start()
    assert loop.stop(PATIENCE)
    assert deaths == []


@pytest.fixture
def item(loop, pair):
    return Item(pair[0], loop)


def done(loop):
    """Wait until all that was queued so far is done."""
    event = threading.Event()
    loop.call(event.set)
    assert event.wait(PATIENCE)


def test_what_was_queued_while_it_was_busy_goes_out_in_one_send(loop, item, pair):
    targets = (item,)
    for number in range(100):
        loop.deliver(targets, b"%02d" % number)
    loop.start()
    done(loop)
    whole = b"".join(b"%02d" % number for number in range(100))
    assert item.record == [("send", whole)]
    assert pair[1].recv(1000) == whole


def test_what_comes_when_it_is_idle_goes_out_at_once(loop, item, pair):
    loop.start()
    for text in (b"one", b"two"):
        loop.deliver((item,), text)
        assert pair[1].recv(100) == text


def test_what_is_put_does_not_wake_it_and_is_done_once_it_is_woken(loop, item, monkeypatch):
    woken, wake = [], loop._wake
    monkeypatch.setattr(loop, "_wake", lambda: (woken.append("woken"), wake()))
    loop._sleeping = True
    loop.put((item,), b"put")
    assert not woken
    loop.wake()
    assert woken
    loop.start()
    done(loop)
    assert item.record == [("send", b"put")]


def test_bytes_for_different_targets_keep_their_order(loop, item):
    both, one = (item, item), (item,)
    for targets, data in ((one, b"1"), (both[:1], b"2"), (one, b"3")):
        loop.deliver(targets, data)
    loop.start()
    done(loop)
    assert item.record == [("send", b"123")]


def test_a_long_queue_is_written_in_turns_and_counted_until_then(loop, item):
    other, counted = Item(item.socket.socket, loop), []
    item.send = lambda data: counted.append(loop.queued) or len(data)
    other.send = item.send
    for number in range(64):
        loop.deliver(((item,), (other,))[number % 2], b"x" * 10_000)
    assert loop.queued > 64 * 10_000
    loop.start()
    done(loop)
    wait_until(lambda: loop.queued == 0)
    assert len(set(counted)) > 3 and counted == sorted(counted, reverse=True)


def test_what_is_called_after_a_round_can_be_asked_for(loop):
    called = threading.Semaphore(0)
    loop.after_round = called.release
    loop.start()
    for _ in range(100):
        while called.acquire(blocking=False):
            pass
        loop.look_again()
        assert called.acquire(timeout=PATIENCE)


def test_a_call_runs_in_its_place_between_deliveries(loop, item):
    targets = (item,)
    loop.deliver(targets, b"before")
    loop.call(lambda: item.record.append("call"))
    loop.deliver(targets, b"behind")
    loop.start()
    done(loop)
    assert item.record == [("send", b"before"), "call", ("send", b"behind")]


def test_calls_run_on_the_loops_thread(loop):
    seen = []
    loop.start()
    loop.call(lambda: seen.append(threading.get_ident()))
    done(loop)
    assert seen and seen[0] != threading.get_ident()


def test_a_busy_connection_is_queued_for(loop, item):
    item.busy = True
    loop.deliver((item,), b"x")
    loop.start()
    done(loop)
    assert item.record == [("enqueue", b"x")]


def test_a_part_that_was_written_is_told(loop, item):
    data = b"x" * 10_000_000
    loop.deliver((item,), data)
    loop.start()
    done(loop)
    (_, _), (what, size, sent) = item.record
    assert what == "partial" and size == len(data) and 0 < sent < size


def test_a_lost_peer_is_told(loop, item, pair):
    pair[1].close()
    loop.deliver((item,), b"x")
    loop.start()
    done(loop)
    assert item.record[1:] == [("partial", 1, -1)]


def test_one_connection_writes_a_bounded_share_of_a_long_message(loop, item, pair):
    data = b"x" * (FAN_OUT_SIZE * 2)
    others = (item,), (item, item)      # alone, and as one of those who get different things
    loop.deliver(others[0], data)
    loop.start()
    done(loop)
    loop.deliver(others[0], data)
    loop.deliver(others[1], b"short")
    done(loop)
    assert max(len(what) for kind, what, *_ in item.record if kind == "send") == FAN_OUT_SIZE
    assert ("partial", len(data), FAN_OUT_SIZE) in item.record


def test_an_error_of_one_connection_ends_that_one_only(loop, item, caplog):
    def fail(*args):
        raise ValueError("broken")

    item.enqueue = item.readable = item.flush = fail
    item.busy = True
    loop.deliver((item,), b"x")
    loop.call_for(item, fail)
    loop.start()
    with caplog.at_level(logging.ERROR, "pushserver"):
        done(loop)
    assert item.record == [("crashed",), ("crashed",)]
    assert loop.is_alive


def test_what_a_peer_sends_makes_it_readable_while_it_is_watched(loop, item, pair):
    loop.start()
    loop.call(lambda: loop.watch(item, READ))
    pair[1].sendall(b"hello")
    wait_until(lambda: ("read", b"hello") in item.record)
    loop.call(lambda: loop.watch(item, 0))
    done(loop)
    pair[1].sendall(b"more")
    done(loop), done(loop)
    assert item.record == [("read", b"hello")]


def test_room_to_write_makes_it_flush_while_that_is_watched(loop, item):
    loop.start()
    loop.call(lambda: loop.watch(item, READ | WRITE))
    wait_until(lambda: ("flush",) in item.record)
    assert item.record.count(("flush",)) == 1
    assert item.watching == 0


def test_a_connection_that_has_more_is_read_again_in_the_next_round(loop, item, pair):
    loop.start()
    pair[1].sendall(b"hello")
    loop.call(lambda: loop.again(item))
    wait_until(lambda: item.record == [("read", b"hello")])


def test_a_connection_that_has_more_has_one_turn_in_a_round_however_often_it_says_so(loop, item):
    def say():
        for _ in range(3):
            loop.again(item)

    loop.call(say)
    loop.start()
    wait_until(lambda: item.record)
    done(loop)
    assert item.record == [("read", None)]


def test_later_calls_are_made_by_their_times_unless_cancelled(loop):
    made = []
    finished = threading.Event()

    def plan():
        loop.call_later(0.02, lambda: (made.append("second"), finished.set()))
        loop.call_later(0.01, lambda: made.append("first"))
        loop.call_later(0.0, lambda: made.append("cancelled")).cancel()

    loop.start()
    loop.call(plan)
    assert finished.wait(PATIENCE)
    assert made == ["first", "second"]


def test_stopping_does_first_what_was_queued(loop, item, pair):
    loop.deliver((item,), b"last")
    loop.start()
    assert loop.stop(PATIENCE)
    assert not loop.is_alive
    assert pair[1].recv(10) == b"last"


def test_what_is_queued_behind_the_end_raises_nothing(loop, item):
    loop.start()
    assert loop.stop(PATIENCE)
    loop.deliver((item,), b"x")
    loop.call(lambda: item.record.append("never"))
    loop.watch(item, READ)
    loop.watch(item, 0)
    assert item.record == []


def test_a_loop_may_be_stopped_by_what_it_calls(loop):
    loop.start()
    loop.call(lambda: loop.stop(PATIENCE))
    wait_until(lambda: not loop.is_alive)


def test_the_error_that_ends_it_is_told(caplog):
    deaths = []
    loop = Loop(deaths.append)
    with caplog.at_level(logging.CRITICAL, "pushserver"):
        loop.start()
        loop.call(lambda: 1 / 0)
        wait_until(lambda: not loop.is_alive)
    assert isinstance(deaths[0], ZeroDivisionError)
    assert "the loop died" in caplog.text


def test_many_threads_may_deliver_and_each_keeps_its_order(loop, item, pair):
    loop.start()
    targets = (item,)

    def deliver(letter):
        for number in range(200):
            loop.deliver(targets, b"%c%03d" % (letter, number))

    threads = [threading.Thread(target=deliver, args=(letter,)) for letter in b"abcd"]
    for thread in threads:
        thread.start()
    arrived = b""
    while len(arrived) < 4 * 200 * 4:
        arrived += pair[1].recv(10_000)
    for thread in threads:
        thread.join()
    words = [arrived[i:i + 4] for i in range(0, len(arrived), 4)]
    for letter in b"abcd":
        assert [word for word in words if word[0] == letter] == [
            b"%c%03d" % (letter, number) for number in range(200)]


def test_a_loop_says_whether_it_runs(loop):
    assert repr(loop) == "<Loop stopped, 0 queued>"
    loop.start()
    assert repr(loop).startswith("<Loop running, ")


class Greedy(Item):
    """One that always has more to read."""

    def __init__(self, sock, loop, order):
        super().__init__(sock, loop)
        self.order = order

    def readable(self):
        self.order.append(self)
        self.loop.again(self)


def test_those_with_more_than_their_turn_are_read_in_rotation(loop, pair, monkeypatch):
    monkeypatch.setattr(loop_module, "READING_TIME", 0.0)    # one in each round
    order = []
    greedy = [Greedy(pair[0], loop, order) for _ in range(3)]
    for item in greedy:
        loop.again(item)
    loop.start()
    wait_until(lambda: len(order) >= 9)
    assert order[:9] == greedy * 3
    loop.call(lambda: [setattr(item, "readable", lambda: None) for item in greedy])


def test_what_is_published_goes_out_between_those_who_are_read(loop, item, pair, monkeypatch):
    monkeypatch.setattr(loop_module, "READING_IN_A_ROW", 0.0)
    order = []
    first, second = Greedy(pair[0], loop, order), Greedy(pair[0], loop, order)
    first.readable = lambda: (order.append("read"), loop.put((item,), b"pushed"))
    second.readable = lambda: order.append(list(item.record))
    for one in (first, second):
        loop.again(one)
    loop.start()
    wait_until(lambda: len(order) == 2)
    assert order == ["read", [("send", b"pushed")]]


def test_a_round_ends_after_a_time_and_the_next_begins_with_who_was_left_out(loop, pair,
                                                                             monkeypatch):
    monkeypatch.setattr(loop_module, "READING_TIME", -1.0)
    order = []
    count = loop_module.EVENTS_IN_A_ROW
    items = [Greedy(pair[0], loop, order) for _ in range(count + 2)]
    for one in items:
        one.readable = lambda one=one: order.append(one)
        one.watching = READ
    events = [(SimpleNamespace(data=one), READ) for one in items]
    loop._serve(events, {})
    assert order == items[:count] and list(loop._again) == items[count:]
    loop._again.clear()


@pytest.fixture
def rare_switches():
    """Have no thread lose the interpreter's lock against its will."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


@pytest.mark.skipif(not HAVE_NATIVE, reason="Python's own send gives up the lock")
def test_who_wakes_it_keeps_the_interpreters_lock(loop, rare_switches):
    loop.start()
    count, ending = [0], threading.Event()

    def counting():
        while not ending.is_set():
            for _ in range(100):
                count[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=counting)
    thread.start()
    try:
        for _ in range(500):
            wait_until(lambda: loop._sleeping)
            before = count[0]
            loop.wake()
            assert count[0] == before
            assert not loop._sleeping
    finally:
        ending.set()
        thread.join()


@pytest.mark.skipif(not HAVE_NATIVE, reason="the C extension is not built, or not used")
def test_a_closed_socket_wakes_nobody(pair):
    native.wake(pair[0])
    assert pair[1].recv(10) == b"\0"
    pair[0].close()
    native.wake(pair[0])
