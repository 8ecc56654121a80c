"""The switch interval is short only while the loop has work, or while clients connect."""
import sys
import threading

import cherrypy
import pytest

from pushserver.runtime import switch_interval as module
from pushserver.runtime.switch_interval import (HASTE, HASTE_LASTS, IS_CALM_FOR, IS_COMPUTING_FOR,
                                                SHORT, SwitchInterval)
from tests.support.raw_client import Refused
from tests.support.site import Root, running_site
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def interval():
    """The interval before, which must also be the one after."""
    before = sys.getswitchinterval()
    yield before
    assert sys.getswitchinterval() == pytest.approx(before)


def test_is_short_until_it_is_restored(interval):
    switch_interval = SwitchInterval()
    switch_interval.shorten()
    switch_interval.shorten()
    assert sys.getswitchinterval() == pytest.approx(SHORT)
    switch_interval.restore()
    switch_interval.restore()
    assert sys.getswitchinterval() == pytest.approx(interval)


def test_is_never_short_again_once_the_loop_has_stopped(interval):
    switch_interval = SwitchInterval()
    switch_interval.shorten()
    switch_interval.stop()
    switch_interval.shorten()
    assert sys.getswitchinterval() == pytest.approx(interval)


def test_restores_what_the_site_has_set_meanwhile(interval):
    switch_interval = SwitchInterval()
    sys.setswitchinterval(0.002)
    switch_interval.shorten()
    switch_interval.restore()
    assert sys.getswitchinterval() == pytest.approx(0.002)
    sys.setswitchinterval(interval)


def test_is_restored_whatever_many_publishers_did(interval):
    with running_site() as site, site.client() as client:
        def publish():
            for _ in range(200):
                site.push.broadcast("x")

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(8 * 200):
            assert client.message() == "x"
        for thread in threads:
            thread.join()
        wait_until(lambda: sys.getswitchinterval() == pytest.approx(interval))


class Clock:
    """A clock that is set, and waits for the lock in which others compute as long as it says."""

    def __init__(self):
        self.now = 1000.0
        self.wait = 0.0
        self.looks = self.switches = self.switching = 0

    def monotonic(self):
        return self.now

    process_time = monotonic

    def sleep(self, seconds):
        self.looks += 1
        self.switches += self.switching
        self.now += seconds + self.wait


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "_switches", lambda: made.switches)
    return made


@pytest.fixture
def computing(clock, interval):
    """The clock while a thread computes."""
    clock.wait = interval
    return clock


def is_now(seconds):
    return sys.getswitchinterval() == pytest.approx(seconds)


def test_many_threads_that_answer_requests_are_not_taken_for_one_that_computes(computing, interval):
    computing.switching = 25    # in 5 ms
    assert not SwitchInterval().hasten() and is_now(interval)
    computing.switching = 15
    switch_interval = SwitchInterval()
    assert switch_interval.hasten() and is_now(HASTE)
    switch_interval.stop()


def test_clients_who_connect_beside_a_thread_that_computes_shorten_it(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten() and is_now(HASTE)
    computing.now += HASTE_LASTS * 0.9
    assert not switch_interval.hasten() and is_now(HASTE)
    computing.now += HASTE_LASTS * 0.9
    assert switch_interval.calm() == pytest.approx(HASTE_LASTS * 0.1) and is_now(HASTE)
    computing.now += HASTE_LASTS * 0.2
    assert switch_interval.calm() == 0 and is_now(interval)
    assert switch_interval.hasten() and is_now(HASTE)
    computing.now += HASTE_LASTS
    assert switch_interval.calm() == 0


def test_where_no_thread_computes_clients_who_connect_change_nothing(clock, interval):
    switch_interval = SwitchInterval()
    clock.wait = interval / 2
    assert not switch_interval.hasten() and is_now(interval)
    looks = clock.looks
    assert not switch_interval.hasten() and clock.looks == looks
    clock.now += IS_CALM_FOR
    clock.wait = interval
    assert switch_interval.hasten() and clock.looks > looks
    switch_interval.stop()


@pytest.mark.parametrize("long, is_hasty", [((1, 0, 0), False), ((0, 0), False),
                                            ((0, 1, 1), True), ((1, 1), True)])
def test_one_wait_may_be_long_or_short_by_chance(clock, interval, long, is_hasty):
    switch_interval = SwitchInterval()
    waits = iter(long)
    sleep = clock.sleep

    def sleep_once(seconds):
        clock.wait = interval * next(waits)
        sleep(seconds)

    clock.sleep = sleep_once
    assert switch_interval.hasten() == is_hasty and is_now(HASTE if is_hasty else interval)
    assert not [*waits]
    switch_interval.stop()


def test_it_stays_short_unless_two_waits_in_a_row_are_short(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten()
    waits = iter((0, interval))
    sleep = computing.sleep

    def sleep_once(seconds):
        computing.wait = next(waits)
        sleep(seconds)

    computing.sleep = sleep_once
    computing.now += IS_COMPUTING_FOR
    assert switch_interval.hasten() and is_now(HASTE)
    switch_interval.stop()


def test_it_is_restored_once_no_thread_computes_however_many_clients_connect(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten()
    computing.wait = 0
    computing.now += IS_COMPUTING_FOR
    assert not switch_interval.hasten() and is_now(interval)


def test_the_loops_own_work_shortens_it_further(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten()
    switch_interval.shorten()
    assert is_now(SHORT)
    switch_interval.restore()
    assert is_now(HASTE)
    switch_interval.shorten()
    computing.now += HASTE_LASTS
    assert switch_interval.calm() == 0 and is_now(SHORT)
    switch_interval.restore()
    assert is_now(interval)


def test_a_client_who_connects_while_the_loop_works_shortens_it_afterwards(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten()
    computing.now += HASTE_LASTS
    switch_interval.calm()
    switch_interval.shorten()
    assert switch_interval.hasten() and is_now(SHORT)
    switch_interval.restore()
    assert is_now(HASTE)
    computing.now += HASTE_LASTS
    assert switch_interval.calm() == 0 and is_now(interval)


def test_while_the_loop_works_nobody_looks_whether_a_thread_computes(computing):
    switch_interval = SwitchInterval()
    switch_interval.shorten()
    assert not switch_interval.hasten() and not computing.looks
    switch_interval.stop()


def test_no_client_shortens_it_once_the_loop_has_stopped(computing, interval):
    switch_interval = SwitchInterval()
    assert switch_interval.hasten()
    switch_interval.stop()
    assert is_now(interval) and switch_interval.calm() == 0
    assert not switch_interval.hasten() and is_now(interval)


def test_a_stop_while_a_client_shortens_it_restores_it(computing, interval):
    switch_interval = SwitchInterval()
    sleep = computing.sleep
    computing.sleep = lambda seconds: (sleep(seconds), switch_interval.stop())
    switch_interval.hasten()
    assert is_now(interval)


def test_what_the_site_has_set_stays_the_sites(computing, interval):
    switch_interval = SwitchInterval()
    try:
        sys.setswitchinterval(0.002)
        assert switch_interval.hasten() and is_now(HASTE)
        computing.now += HASTE_LASTS
        assert switch_interval.calm() == 0 and is_now(0.002)
        sys.setswitchinterval(0.0001)   # shorter than ours
        assert not switch_interval.hasten() and is_now(0.0001)
    finally:
        sys.setswitchinterval(interval)


def test_one_that_is_made_meanwhile_does_not_take_it_for_the_sites(computing, interval):
    first = SwitchInterval()
    assert first.hasten()
    second = SwitchInterval()
    assert second.hasten() and is_now(HASTE)
    first.stop()
    second.stop()
    assert is_now(interval)


class Site(Root):
    """Handlers that say what the interval is while they run, and take their time."""

    def __init__(self):
        self.seen, self.entered, self.go_on = [], threading.Event(), threading.Event()

    def note(self):
        self.seen.append(sys.getswitchinterval())

    @cherrypy.expose
    @cherrypy.tools.push()
    def enter(self, Id):
        self.note()

    @cherrypy.expose
    @cherrypy.tools.push()
    def refuse(self, Id):
        self.note()
        raise cherrypy.HTTPError(403)

    @cherrypy.expose
    @cherrypy.tools.push()
    def block(self, Id):
        self.entered.set()
        self.go_on.wait()


@pytest.fixture
def site(monkeypatch):
    """A site in which, as it seems, threads compute all the time."""
    monkeypatch.setattr(module, "COMPUTING", 0)
    monkeypatch.setattr(module, "SWITCHES", float("inf"))
    root = Site()
    with running_site(root) as site:
        site.root = root
        try:
            yield site
        finally:
            root.go_on.set()


def test_it_is_short_while_a_client_connects_and_not_for_long(site, interval):
    with site.client("/enter?Id=1"):
        assert site.root.seen == [pytest.approx(HASTE)]
        wait_until(lambda: is_now(interval))


def test_it_is_restored_after_a_handshake_that_failed(site, interval):
    with site.socket() as client:
        with pytest.raises(Refused):
            client.handshake("/refuse?Id=1")
    assert site.root.seen == [pytest.approx(HASTE)]
    wait_until(lambda: is_now(interval))


def test_it_does_not_stay_short_for_a_handler_that_blocks(site, interval):
    with site.socket() as client:
        client.sock.sendall(client.request("/block?Id=1"))
        assert site.root.entered.wait(10)
        wait_until(lambda: is_now(interval))
        site.root.go_on.set()
        client.answer()     # else cheroot would write it to somebody who has gone


def test_a_stop_restores_it_at_once(site, interval, monkeypatch):
    monkeypatch.setattr(module, "HASTE_LASTS", 1000.0)
    site.client("/enter?Id=1").close()
    assert is_now(HASTE)
    site.push.stop()
    assert is_now(interval)
