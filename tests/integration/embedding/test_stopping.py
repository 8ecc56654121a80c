"""The engine or the plugin stopped, restarted and ended from wherever site code runs."""
from __future__ import annotations

import contextlib
import json
import logging
import threading

import pytest

from pushserver import Connection, PushServer, Settings
from tests.support.bare_server import codes, hosting
from tests.support.embedding import EmbeddingSite
from tests.support.programs import get
from tests.support.raw_client import Refused
from tests.support.waiting import PATIENCE, wait_until

SITE = r'''
import logging, os, sys, threading
import cherrypy
from pushserver import CentrifugeConnection, Connection, PushPlugin, PushTool

push = PushPlugin(cherrypy.engine, drain_timeout=3, workers=2)
push.subscribe()
cherrypy.tools.push = PushTool(push)
engine = cherrypy.engine
todo = []           # one action, for the place that comes by first
logging.basicConfig()
logging.getLogger().handlers[0].setLevel(logging.WARNING)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def act(place):
    if todo and todo[0][0] == place:
        {"again": lambda: (engine.stop(), engine.start()), "exit": engine.exit,
         "restart": engine.restart, "push": lambda: (push.stop(), push.start())}[todo.pop()[1]]()
        say("done", place)


class Echo(Connection):
    def opened(self):
        act("opened")

    def received_message(self, message):
        act("received")
        if not self.terminated:
            self.send(str(message))

    def ponged(self, pong):
        act("ponged")

    def closed(self, code, reason=None):
        act("closed")
        say("closed", self.Id, code)


class Commands(CentrifugeConnection):
    def connecting(self, data):
        act("connecting")

    def rpc(self, method, data):
        act("rpc")


class Site:
    @cherrypy.expose
    @cherrypy.tools.push(handler_cls=Echo)
    def websocket(self, Id):
        act("handshake")

    @cherrypy.expose
    @cherrypy.tools.push(protocol="centrifuge", handler_cls=Commands)
    def commands(self, Id):
        pass

    @cherrypy.expose
    def page(self):
        act("page")
        return "page"


def make():
    act("ticker")
    return "tick"


def obey():
    for line in sys.stdin:
        todo.append(tuple(line.split()))
        say("planned")


push.every(0.05, make, "ticks")
engine.subscribe("push-received", lambda connection, message: act("bus"))
cherrypy.config.update({"server.socket_port": int(sys.argv[1]), "environment": "production",
                        "server.shutdown_timeout": 1, "log.screen": False})
engine.subscribe("start", lambda: say("ready", os.getpid()), 90)
threading.Thread(target=obey, daemon=True).start()
cherrypy.quickstart(Site())
'''


@pytest.fixture
def embedding(tmp_path):
    site = EmbeddingSite(tmp_path, SITE)
    try:
        site.ready()
        yield site
    finally:
        site.close()


def come_by(site, place):
    """Have the site run its code at a place."""
    if place in ("opened", "handshake"):
        with contextlib.suppress(Refused, ConnectionError):
            site.connect("/websocket?Id=visitor")
    elif place in ("connecting", "rpc"):
        client = site.connect("/commands?Id=visitor")
        client.text(json.dumps({"id": 1, "connect": {}}))
        if place == "rpc":
            client.message()
            client.text(json.dumps({"id": 2, "rpc": {"method": "m", "data": {}}}))
    elif place == "page":
        with contextlib.suppress(OSError):
            get(f"http://127.0.0.1:{site.port}/page")
    elif place in ("received", "bus"):
        site.connect("/websocket?Id=visitor").text("hello")
    elif place == "ponged":
        site.connect("/websocket?Id=visitor").send(0x8A, b"unasked")
    elif place == "closed":
        site.connect("/websocket?Id=visitor").send(0x88, b"\x03\xe8")


def lines_until(site, last):
    """Return what the site prints, up to a line."""
    lines = [site.line()]
    while lines[-1] != last:
        lines.append(site.line())
    return lines


PLACES = ["opened", "received", "ponged", "closed", "connecting", "rpc", "handshake", "page",
          "ticker", "bus"]


def plan(site, place, action):
    site.tell(f"{place} {action}")
    while site.line() != "planned":
        pass


@pytest.mark.parametrize("action", ["again", "push"])
def test_a_stop_and_a_start_work_from_wherever_site_code_runs(embedding, action):
    for place in PLACES:
        with embedding.client("other") as other:
            plan(embedding, place, action)
            come_by(embedding, place)
            assert other.close_code() == 1001, place
            other.send(0x88, b"\x03\xe9")
            assert other.at_end()
            lines = lines_until(embedding, f"done {place}")
            assert "closed other 1001" in lines, place
        with embedding.client("next"):
            assert get(f"http://127.0.0.1:{embedding.port}/page") == (200, b"page")
    assert embedding.stderr() == ""


@pytest.mark.parametrize("place", PLACES)
def test_an_exit_works_from_wherever_site_code_runs(embedding, place):
    with embedding.client("other") as other:
        plan(embedding, place, "exit")
        come_by(embedding, place)
        assert other.close_code() == 1001
        other.send(0x88, b"\x03\xe9")
        assert other.at_end()
        assert embedding.process.wait(PATIENCE) == 0
    assert embedding.stderr() == ""
    if place in ("received", "ponged", "rpc"):
        assert "closed other 1001\n" in list(embedding.process.stdout)


@pytest.mark.parametrize("place", ["received", "page", "ticker"])
def test_a_restart_works_from_wherever_site_code_runs(embedding, place):
    with embedding.client("other") as other:
        plan(embedding, place, "restart")
        come_by(embedding, place)
        assert other.close_code() == 1001
        other.send(0x88, b"\x03\xe9")
        lines_until(embedding, f"ready {embedding.process.pid}")
    with embedding.client("next"):
        pass
    assert embedding.stderr() == ""


def ending(server, log):
    """Return a handler class whose message "stop" stops a server, and which logs its ends."""
    class Ending(Connection):
        def received_message(self, message):
            server().stop()
            log.append("stopped")

        def closed(self, code, reason=None):
            log.append(("closed", self.Id, code))

    return Ending


def test_other_clients_are_told_before_a_callbacks_stop_returns_even_with_one_worker(caplog):
    log = []
    with hosting(workers=1) as host, caplog.at_level(logging.WARNING):
        handler_cls = ending(lambda: host.server, log)
        first, second = (host.join(Id, handler_cls=handler_cls) for Id in "12")
        first.send(1, b"stop")
        for peer in (second, first):
            assert codes([peer.next()]) == [1001]
            peer.close(1001)
        wait_until(lambda: len(log) == 3)
        assert log == [("closed", "2", 1001), "stopped", ("closed", "1", 1001)]
    assert caplog.text == ""


def test_two_callbacks_that_stop_at_once_do_not_wait_for_each_other(caplog):
    log = []
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def server():
        meeting.wait()
        return host.server

    with hosting(drain_timeout=PATIENCE * 3) as host, caplog.at_level(logging.WARNING):
        peers = [host.join(Id, handler_cls=ending(server, log)) for Id in "12"]
        for peer in peers:
            peer.send(1, b"stop")
        for peer in peers:
            assert codes([peer.next()]) == [1001]
            peer.close(1001)
        wait_until(lambda: len(log) == 4)
    assert caplog.text == ""


@pytest.mark.parametrize("start_again", [False, True])
def test_who_is_told_of_the_loops_death_may_stop_the_server(start_again):
    done = []

    def on_death(error):
        server.stop()
        if start_again:
            server.start()
        done.append(error)

    server = PushServer(Settings(), on_death=on_death)
    with hosting() as host:
        host.server.stop()
        host.server = server
        server.start()
        peer = host.join()
        server._lifecycle.runtime.loop.call(lambda: 1 / 0)
        wait_until(lambda: done)
        assert peer.next() is None
        assert len(server) == 0
        if start_again:
            peer = host.join()
            server.broadcast("again")
            assert peer.next() == "again"


def test_a_stop_does_not_wait_for_clients_that_have_all_and_say_nothing():
    with hosting(drain_timeout=PATIENCE * 6, close_timeout=PATIENCE * 6) as host:
        peers = [host.join() for _ in range(3)]
        early = host.join()
        early.connection.close(4000)
        assert codes([early.next()]) == [4000]
        stopping = threading.Thread(target=host.server.stop)
        stopping.start()
        for peer in peers:
            assert codes(peer.rest()) == [1001]
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_a_stop_waits_for_a_client_that_is_still_reading():
    with hosting(max_outbox=1 << 20, drain_timeout=PATIENCE * 6) as host:
        peer = host.join(buffer=4096)
        host.server.broadcast(b"x" * (1 << 20))
        stopping = threading.Thread(target=host.server.stop)
        stopping.start()
        stopping.join(1.5)      # longer than a silent client gets
        assert stopping.is_alive()
        assert peer.next() == b"x" * (1 << 20)
        assert codes([peer.next()]) == [1001]
        peer.close(1001)
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
