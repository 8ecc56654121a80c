"""The life of the engine: signals, stops, restarts."""
from __future__ import annotations

import contextlib
import signal
import threading

import cherrypy
import pytest

from pushserver import Connection
from tests.support.embedding import echoes, EmbeddingSite, listens, SERVERS
from tests.support.site import running_site
from tests.support.waiting import PATIENCE


@pytest.fixture(params=SERVERS, ids=["cheroot", "front"])
def embedding(request, tmp_path):
    site = EmbeddingSite(tmp_path, server=request.param)
    try:
        site.ready()
        yield site
    finally:
        site.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_gives_every_client_1001_and_ends_the_process(embedding, number):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedding.client(str(number))) for number in range(20)]
        embedding.process.send_signal(number)
        for client in clients:
            assert client.close_code() == 1001
        for client in clients[:-1]:
            client.send(0x88, b"\x03\xe9")
        clients[-1].reset()
        for client in clients[:-1]:
            assert client.at_end()
        assert embedding.process.wait(PATIENCE) == 0
    closed = [line.split()[1] for line in embedding.process.stdout if line.startswith("closed ")]
    assert sorted(closed) == sorted(str(number) for number in range(20))
    assert embedding.stderr() == ""


def test_a_signal_ends_the_process_though_no_client_says_goodbye(embedding):
    with embedding.client() as client:
        embedding.process.send_signal(signal.SIGTERM)
        assert embedding.process.wait(PATIENCE) == 0
        assert client.close_code() == 1001
        assert client.at_end()
    assert embedding.stderr() == ""


def test_the_engine_stops_and_starts_again_in_one_process(embedding):
    found = []
    for _ in range(4):
        with embedding.client() as client:
            embedding.tell("stop")
            assert client.close_code() == 1001
            client.send(0x88, b"\x03\xe9")
            assert embedding.line() == "closed 42 1001"
            assert embedding.line() == "done stop"
        assert not listens(embedding.port)
        found.append(embedding.descriptors())
        embedding.tell("start")
        embedding.ready()
        assert embedding.line() == "done start"
    assert len(set(found[1:])) == 1, f"descriptors: {found}"
    assert embedding.stderr() == ""


def test_a_graceful_reload_keeps_the_connections(embedding):
    with embedding.client() as client:
        for number in range(3):
            embedding.tell("graceful")
            assert embedding.line() == "done graceful"
            client.text(str(number))
            assert client.message() == str(number)
        assert client.hang_up() == 1000


def test_a_restart_gives_every_client_1001_and_leaves_nothing_behind(embedding):
    """CherryPy's autoreloader does this too: it replaces the program within the process."""
    found = []
    for _ in range(2):
        with embedding.client() as client:
            found.append(embedding.descriptors())
            embedding.tell("restart")
            assert client.close_code() == 1001
            client.send(0x88, b"\x03\xe9")
            assert client.at_end()
        lines = [embedding.line()]
        while lines[-1] != f"ready {embedding.process.pid}":
            lines.append(embedding.line())
        assert lines[0] == "closed 42 1001"
    with embedding.client():
        found.append(embedding.descriptors())
    assert len(set(found)) == 1, f"descriptors: {found}"
    assert embedding.stderr() == ""


def test_a_plugin_starts_and_stops_any_number_of_times():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=type("Kept", (Connection,), {}))
        def websocket(self, Id):
            """Accept everybody."""

    with running_site(Site()) as site:
        for number in range(10):
            with site.client() as client:
                site.push.send("42", str(number))
                assert client.message() == str(number)
                stopping = threading.Thread(target=site.push.stop)
                stopping.start()
                assert client.close_code() == 1001
                client.send(0x88, b"\x03\xe9")
                stopping.join()
            assert len(site.push) == 0
            site.push.stop()
            site.push.start()
            site.push.start()


def test_starts_and_stops_from_several_threads_leave_it_running():
    with running_site() as site:
        def cycle():
            for _ in range(5):
                site.push.stop()
                site.push.start()

        threads = [threading.Thread(target=cycle) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert echoes(site, "/echo?Id=1")
