"""Tickers on a site."""
from __future__ import annotations

import threading

import pytest

from tests.support.handlers import site_of
from tests.support.site import running_site
from tests.support.waiting import wait_until


def test_a_ticker_pushes_until_it_is_stopped():
    numbers = iter(range(1000))
    with running_site() as site, site.client() as client:
        ticker = site.push.every(0.02, lambda: next(numbers))
        assert [client.message() for _ in range(3)] == ["0", "1", "2"]
        ticker.stop()
        site.push.broadcast("end")
        left = []
        while not left or left[-1] != "end":
            left.append(client.message())
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.message()


def test_a_ticker_can_publish_to_a_channel():
    with running_site(site_of(channels=["time"])) as site, site.client() as client, \
            site.client("/echo?Id=other") as other:
        site.push.every(0.02, lambda: "tick", channel="time")
        assert client.message() == "tick"
        site.push.broadcast("end")
        assert other.message() == "end"


def test_a_ticker_outlives_errors_and_what_cannot_be_sent(caplog):
    results = iter([1 / 3, object(), "tick"])
    with running_site() as site, site.client() as client:
        site.push.every(0.02, lambda: next(results))
        assert [client.message(), client.message()] == [repr(1 / 3), "tick"]
        wait_until(lambda: "StopIteration" in caplog.text)


def test_a_ticker_made_before_the_start_runs_with_the_server_and_not_while_it_is_stopped():
    made = []
    with running_site() as site:
        site.push.stop()
        site.push.every(0.02, lambda: made.append(True) or "tick")
        for _ in range(3):
            site.push.start()
            with site.client() as client:
                assert client.message() == "tick"
            site.push.stop()
            count = len(made)
            threading.Event().wait(0.06)
            assert len(made) == count
