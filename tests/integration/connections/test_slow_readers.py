"""Clients that do not read: they are closed, and nobody else waits for them."""
from __future__ import annotations

import contextlib
import threading

import pytest

from tests.support.handlers import close_payload, site_of, SMALL
from tests.support.raw_client import masked_frame
from tests.support.site import recorder, running_site
from tests.support.waiting import wait_until


def test_a_slow_reader_is_closed_with_3008_while_the_others_get_everything():
    Handler = recorder()
    message = "a" * SMALL
    settings = {"max_outbox": 50_000, "close_timeout": 10}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client("/websocket?Id=slow", receive_buffer=SMALL) as slow, \
                site.client("/websocket?Id=quick") as quick:
            for number in range(100):
                site.push.broadcast(f"{number} {message}")
                assert quick.message() == f"{number} {message}"
            assert site.push.ids() == ["quick"]
            read = []
            with pytest.raises(EOFError, match="3008"):
                while True:
                    read.append(slow.message())
            assert read == [f"{number} {message}" for number in range(len(read))]
            slow.send(0x88, close_payload(3008))
            assert slow.at_end()
            wait_until(lambda: ("closed", "slow", 3008, "slow: read faster") in Handler.log)
            assert quick.hang_up() == 1000


def test_a_reader_that_is_slow_for_good_is_ended_without_its_help():
    Handler = recorder()
    settings = {"max_outbox": 50_000, "close_timeout": 0.1}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site, \
            site.client("/echo?Id=quick") as quick, site.client(receive_buffer=SMALL):
        slow, = site.push._hub.of_id("42")
        while site.push.send("42", "a" * SMALL):
            quick.text("your turn")
            assert quick.message() == "your turn"  # so the last send has been dealt with
            assert slow.outbox.size <= settings["max_outbox"] + 2 * SMALL  # with what is begun
        wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1] == ("closed", "42", 3008, "slow: read faster")


def test_a_burst_larger_than_an_outbox_is_no_slowness_of_those_that_read():
    """What one ``send`` takes does not count as waiting."""
    with running_site(settings={"max_outbox": 200_000}) as site, site.client() as client:
        for number in range(20):
            site.push.broadcast(str(number) * 1000)
        assert [client.message() for _ in range(20)] == [str(number) * 1000
                                                         for number in range(20)]


def test_a_reader_that_does_not_read_the_pongs_it_asks_for_is_slow():
    settings = {"max_outbox": 20_000, "close_timeout": 0.1}
    Handler = recorder()
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            pings = masked_frame(0x89, b"a" * 125) * 100
            with contextlib.suppress(OSError):
                while len(site.push):
                    client.sock.sendall(pings)
            wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1][2] == 3008


def test_a_burst_leaves_no_more_than_the_limit_with_a_slow_client():
    with running_site(settings={"max_outbox": 50_000}, buffers=4096) as site, \
            site.client(receive_buffer=4096):
        link, = site.push._hub.everyone()
        gate = threading.Event()
        site.push._lifecycle.runtime.loop.call(gate.wait)
        for _ in range(250):
            site.push.broadcast("a" * 4096)
        gate.set()
        wait_until(lambda: len(site.push) == 0)
        assert link.outbox.size <= 50_000
