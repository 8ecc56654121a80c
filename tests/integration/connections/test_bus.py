"""Pushing and hearing by the engine's bus."""
from __future__ import annotations

import pytest

from tests.support.handlers import site_of
from tests.support.site import recorder, running_site
from tests.support.waiting import wait_until


def test_the_bus_can_push_and_hears_of_connections():
    heard = []
    with running_site(site_of(channels=["news"])) as site:
        site.bus.subscribe("push-opened", lambda *args: heard.append(("opened", *args)))
        site.bus.subscribe("push-received", lambda *args: heard.append(("received", *args)))
        site.bus.subscribe("push-closed", lambda *args: heard.append(("closed", *args)))
        with site.client() as client:
            connection, = site.push.connections()
            site.bus.publish("push-broadcast", "to all")
            assert site.bus.publish("push-send", "42", {"to": 42}) == [1]
            site.bus.publish("push-publish", "news", b"news")
            assert [client.message() for _ in range(3)] == ["to all", '{"to":42}', b"news"]
            client.text("hello")
            assert client.hang_up(4001) == 4001
            wait_until(lambda: len(heard) == 3)
    assert heard[0] == ("opened", connection)
    assert heard[1][:2] == ("received", connection) and str(heard[1][2]) == "hello"
    assert heard[2] == ("closed", connection, 4001, "")


@pytest.mark.parametrize("channel", ["push-opened", "push-received", "push-closed"])
def test_a_listener_that_raises_harms_no_connection(channel):
    def fail(*args):
        raise ValueError("a bug of the site")

    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        logged = []
        site.bus.subscribe("log", lambda message, level: logged.append(message))
        site.bus.subscribe(channel, fail)
        with site.client() as client:
            client.text("hello")
            assert client.hang_up() == 1000
        wait_until(lambda: len(Handler.log) == 3)
        wait_until(lambda: any("a bug of the site" in message for message in logged))


def test_a_plugin_that_has_left_the_bus_no_longer_listens_to_it():
    with running_site() as site, site.client() as client:
        site.push.unsubscribe()
        assert site.bus.publish("push-send", "42", "unheard") == []
        site.push.subscribe()
        assert site.bus.publish("push-send", "42", "heard") == [1]
        assert client.message() == "heard"
