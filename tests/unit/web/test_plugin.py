"""The plugin: it lives with the engine, listens on its bus and tells it of connections."""
from __future__ import annotations

import logging

import pytest
from cherrypy.process.wspbus import Bus

from pushserver import InvalidSetting, PushPlugin, PushServer
from tests.support.bare_server import Hosting, codes
from tests.support.waiting import wait_until


@pytest.fixture
def bus():
    """A bus of our own, whose log a test can read."""
    bus = Bus()
    bus.lines = []
    bus.subscribe("log", lambda line, level: bus.lines.append(line))
    return bus


@pytest.fixture
def host(bus):
    """A started plugin on that bus."""
    push = PushPlugin(bus, drain_timeout=1)
    push.subscribe()
    bus.publish("start")
    bus.state = bus.states.STARTED
    host = Hosting(push)
    yield host
    host.close()


def test_it_is_a_push_server_with_its_settings_by_keyword(bus):
    push = PushPlugin(bus, ping_interval=10, duplicates="reject")
    assert isinstance(push, PushServer)
    assert (push.settings.ping_interval, push.settings.duplicates) == (10, "reject")


def test_a_setting_that_cannot_work_is_refused_at_once(bus):
    with pytest.raises(InvalidSetting):
        PushPlugin(bus, workers=0)
    with pytest.raises(TypeError):
        PushPlugin(bus, wrokers=5)


def test_it_starts_and_stops_with_the_engine(bus):
    push = PushPlugin(bus, drain_timeout=0.2)
    push.subscribe()
    for _ in range(2):
        bus.publish("start")
        assert repr(push) == "<PushPlugin running, 0 connections>"
        bus.publish("stop")
        assert repr(push) == "<PushPlugin stopped, 0 connections>"
    assert "Push server started" in bus.lines and "Push server stopped" in bus.lines


def test_a_plugin_that_left_the_engine_hears_nothing_of_it(bus):
    push = PushPlugin(bus)
    push.subscribe()
    push.unsubscribe()
    bus.publish("start")
    assert repr(push) == "<PushPlugin stopped, 0 connections>"
    assert bus.publish("push-broadcast", "x") == []
    assert not any(listener.__self__ is push for listeners in bus.listeners.values()
                   for listener in listeners if hasattr(listener, "__self__"))


def test_the_bus_pushes_too(bus, host):
    peer = host.join("42", channels=["news"])
    bus.publish("push-broadcast", "one")
    assert bus.publish("push-send", "42", {"two": 2}) == [1]
    bus.publish("push-publish", "news", b"three")
    assert [peer.next() for _ in range(3)] == ["one", '{"two":2}', b"three"]


def test_the_bus_is_told_of_every_connection_with_the_connection_first(bus, host):
    told = []
    bus.subscribe("push-opened", lambda connection: told.append(("opened", connection)))
    bus.subscribe("push-received", lambda connection, message:
                  told.append(("received", connection, message.data)))
    bus.subscribe("push-closed", lambda connection, code, reason:
                  told.append(("closed", connection, code, reason)))
    peer = host.join()
    peer.send(1, b"hello")
    peer.close(4000)
    peer.rest()
    wait_until(lambda: len(told) == 3)
    assert told == [("opened", peer.connection), ("received", peer.connection, b"hello"),
                    ("closed", peer.connection, 4000, "")]


def test_a_listener_that_raises_is_logged_and_harms_no_connection(bus, host, caplog):
    def fail(*args):
        raise ValueError("a listener's fault")

    bus.subscribe("push-received", fail)
    peer = host.join()
    with caplog.at_level(logging.ERROR, "pushserver"):
        peer.send(1, b"hello")
        wait_until(lambda: any("A listener of push-received failed" in line
                               for line in bus.lines))
    host.server.send("42", "still here")
    assert peer.next() == "still here"
    assert caplog.text == ""


def test_clients_are_told_to_leave_before_the_http_server_stops(bus, host):
    seen = []
    peer = host.join()
    bus.subscribe("stop", lambda: seen.append(codes([peer.next()])), priority=25)
    bus.publish("stop")
    assert seen == [[1001]]


def test_a_loop_that_dies_ends_the_engine(bus, host, caplog):
    with caplog.at_level(logging.CRITICAL, "pushserver"):
        host.server._lifecycle.runtime.loop.call(lambda: 1 / 0)
        wait_until(lambda: bus.state == bus.states.EXITING)
    assert any("Push server died" in line for line in bus.lines)
    wait_until(lambda: repr(host.server) == "<PushPlugin stopped, 0 connections>")


def test_a_second_plugin_at_one_engine_is_told_of():
    bus, said = Bus(), []
    bus.subscribe("log", lambda message, level=0: said.append(message))
    first, second = PushPlugin(bus), PushPlugin(bus)
    first.subscribe()
    first.subscribe()
    assert not said
    second.subscribe()
    assert len(said) == 1 and "Another push plugin" in said[0]
