"""The switch interval is short only while the loop has work."""
import sys
import threading

import pytest

from pushserver.runtime.switch_interval import SHORT, SwitchInterval
from tests.support.site import running_site
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
