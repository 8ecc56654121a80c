"""What ends a client's rights also counts while its handshake is in progress."""
from __future__ import annotations

import contextlib
import threading
import time

import cherrypy
import jwt
import pytest

from pushserver import CentrifugeConnection, Connection, Tokens
from pushserver.connections import acceptor
from pushserver.connections.acceptor import Acceptor
from pushserver.connections.link import LAST_WORDS
from tests.support.centrifuge_client import RawClient
from tests.support.raw_client import Refused
from tests.support.site import recorder, running_site
from tests.support.waiting import PATIENCE, wait_until

SECRET = "0123456789abcdef0123456789abcdef"


class Pause:
    """Where a handshake waits until a test has ended what lets its client in."""

    def __init__(self):
        self.reached, self.over = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.over.wait(PATIENCE)


@pytest.fixture
def pause():
    pause = Pause()
    yield pause
    pause.over.set()


def root(before, after, handler_cls):
    """Return a site whose page handler pauses, or what comes behind it."""
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=handler_cls, channels=["given", "other"], trust_id=True)
        def websocket(self, Id=None):
            cherrypy.request.push_id = Id
            cherrypy.request.push_session = "the session"
            before()

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", channels=["given", "other"], trust_id=True)
        def talk(self, Id):
            before()

    class Late:
        """A tool of the site that is slow when all is decided."""

        @staticmethod
        def attach():
            cherrypy.serving.request.hooks.attach("on_end_resource", after, priority=99)

    made = Site()
    made._cp_config = {"tools.late.on": True}
    cherrypy.tools.late = cherrypy.Tool("on_start_resource", Late.attach)
    return made


@contextlib.contextmanager
def serving(pause, where, handler_cls=Connection):
    def nothing():
        pass

    stages = {"page": (pause, nothing), "end": (nothing, pause)}[where]
    tokens = Tokens(secret=SECRET)
    with running_site(root(*stages, handler_cls), plugin={"tokens": tokens}) as site:
        yield site


where = pytest.mark.parametrize("where", ["page", "end"])


def comes(site, path):
    """Begin a handshake; return what tells its result: the client, or how it was refused."""
    found = []

    def come():
        try:
            found.append(site.client(path))
        except Refused as refused:
            found.append(refused)

    thread = threading.Thread(target=come)
    thread.start()

    def result():
        thread.join(PATIENCE)
        return found[0]

    return result


@where
@pytest.mark.parametrize("end, status", [
    (lambda push: push.disconnect("42"), 403),
    (lambda push: push.disconnect("42", 3001, "come again"), 503),
    (lambda push: push.end_session("the session"), 403)], ids=["final", "again", "session"])
def test_who_is_disconnected_while_its_handshake_runs_does_not_come_in(where, end, status, pause):
    log = recorder()
    with serving(pause, where, log) as site:
        result = comes(site, "/websocket?Id=42")
        assert pause.reached.wait(PATIENCE)
        assert end(site.push) == 0
        site.push.disconnect("43"), site.push.end_session("another")
        pause.over.set()
        refused = result()
        assert isinstance(refused, Refused) and refused.status == status
        assert refused.body.count(b"\n") == 1
        with site.client("/websocket?Id=42"):    # what was ended before counts no more
            assert site.push.ids() == ["42"]
            wait_until(lambda: log.log)
        assert log.log[0] == ("opened", "42")


@where
def test_what_is_said_of_others_keeps_nobody_out(where, pause):
    with serving(pause, where) as site:
        result = comes(site, "/websocket?Id=42")
        assert pause.reached.wait(PATIENCE)
        site.push.disconnect("43"), site.push.end_session("another")
        site.push.unsubscribe_id("43", "given")
        pause.over.set()
        with result():
            assert site.push.ids() == ["42"]
            assert site.push.channels() == {"given": 1, "other": 1}


@where
@pytest.mark.parametrize("path", ["/websocket", "/talk"])
def test_who_is_taken_out_of_a_channel_while_its_handshake_runs_is_not_in_it(where, path, pause):
    with serving(pause, where) as site:
        result = comes(site, f"{path}?Id=42")
        assert pause.reached.wait(PATIENCE)
        assert site.push.unsubscribe_id("42", "given") == 0
        pause.over.set()
        with result() as client:
            if path == "/talk":
                client.text('{"id":1,"connect":{}}')
                assert '"subs":{"other"' in client.message()
            wait_until(lambda: site.push.channels() == {"other": 1})


@where
@pytest.mark.parametrize("path", ["/websocket", "/talk"])
def test_a_token_that_expires_while_its_handshake_runs_lets_nobody_in(where, path, pause):
    with serving(pause, where) as site:
        over = time.time() + 0.5
        token = jwt.encode({"sub": "42", "exp": over}, SECRET, algorithm="HS256")
        result = comes(site, f"{path}?token={token}")
        assert pause.reached.wait(PATIENCE)
        wait_until(lambda: time.time() > over)
        pause.over.set()
        refused = result()
        assert (refused.status, refused.body) == (401, b"the token is not valid: get a new one\n")
        assert len(site.push) == 0


def test_a_token_that_expires_before_connect_lets_nobody_in():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def talk(self, Id=None):
            """Accept everybody."""

    with running_site(Site(), plugin={"tokens": Tokens(secret=SECRET, grace=0.0)}) as site:
        over = time.time() + 0.5
        token = jwt.encode({"sub": "42", "exp": over}, SECRET, algorithm="HS256")
        with RawClient(site, f"/talk?token={token}") as client:
            wait_until(lambda: time.time() > over)
            assert client.connect() == 109


def test_who_is_disconnected_in_the_last_moment_is_closed_at_once(monkeypatch, pause):
    """The connection is in the hub, but what was said of it before is yet to be looked at."""
    class Talker(CentrifugeConnection):
        pass

    end, told = Acceptor._context_of, []

    def disconnecting(acceptor, runtime):
        told.append(acceptor._server.disconnect("42"))
        return end(acceptor, runtime)

    monkeypatch.setattr(Acceptor, "_context_of", disconnecting)
    pause.over.set()
    log = recorder()
    with serving(pause, "page", log) as site, site.client("/websocket?Id=42") as client:
        assert client.close_code() == 3505 and told == [0] and len(site.push) == 0
        client.close()
        wait_until(lambda: log.log and log.log[-1][0] == "closed")
    assert [entry[0] for entry in log.log] == ["opened", "closed"]


def test_endings_are_kept_only_for_handshakes_in_progress(pause):
    with serving(pause, "page") as site:
        endings = site.push._acceptor._endings
        first = endings.now
        for number in range(10):
            site.push.disconnect(str(number))
        assert len(list(first.since())) == 10
        assert list(endings.now.since()) == []


def test_what_a_page_handler_sends_before_it_closes_reaches_a_client_that_reads_late():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(trust_id=True)
        def talk(self):
            """Say something long, and that this is all."""
            cherrypy.request.ws_handler.send("x" * 500_000)
            cherrypy.request.ws_handler.close(4000, "that is all")

    with running_site(Site(), buffers=4096) as site:
        with site.client("/talk?Id=42", receive_buffer=4096) as client:
            wait_until(lambda: not len(site.push))
            over = time.monotonic() + 10 * LAST_WORDS
            wait_until(lambda: time.monotonic() > over)
            assert len(client.message()) == 500_000
            assert client.close_code() == 4000


def test_a_stop_gives_nobody_more_than_the_last_words():
    with running_site(buffers=4096) as site:
        with site.client("/websocket?Id=42", receive_buffer=4096) as client:
            for _ in range(100):
                site.push.send("42", "x" * 5000)
            site.push.disconnect("42")
            site.push.drain()
            over = time.monotonic() + 10 * LAST_WORDS
            wait_until(lambda: time.monotonic() > over)
            got = 0
            while (frame := client.frame())[0] == 0x81:
                got += 1
            assert frame == (0x88, b"\x0d\xb1disconnected by the site") and got < 90


@pytest.mark.parametrize("what", ["_catch_up", "Early"])
def test_what_fails_while_a_connection_is_opened_leaves_no_place_taken(monkeypatch, caplog, what):
    def fail(*_):
        raise RuntimeError("in the last moment")

    with running_site(settings={"max_connections": 2}) as site:
        with monkeypatch.context() as patch:
            if what == "Early":
                patch.setattr(Connection, "begin", fail)
            else:
                patch.setattr(acceptor, "_catch_up", fail)
            for _ in range(5):
                with site.socket() as client:
                    with pytest.raises((Refused, ConnectionError)):
                        client.handshake()
                    assert client.at_end()
                wait_until(lambda: not len(site.push))
        with site.client("/websocket?Id=1"), site.client("/websocket?Id=2"):
            assert len(site.push) == 2
    assert "could not be opened" in caplog.text
