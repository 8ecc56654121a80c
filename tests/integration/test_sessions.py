"""CherryPy's sessions and the sockets that are bound to them: logout, a new id, expiry."""
from __future__ import annotations

import contextlib
import threading
import time
from http.client import HTTPConnection

import cherrypy
import pytest
from cherrypy.lib import sessions

from pushserver import InvalidSetting
from pushserver.connections import lease
from tests.support.raw_client import Refused
from tests.support.site import running_site
from tests.support.waiting import PATIENCE, wait_until

BRIEF = 1.2 / 60
"""Minutes for which the sessions of some tests are kept after each request."""

STORAGES = {"ram": sessions.RamSession, "file": sessions.FileSession}


class Own(sessions.RamSession):
    """A site's own storage, by CherryPy's interface."""

    cache: dict = {}
    locks: dict = {}


class Site:
    """Pages of a site with a login."""

    def __init__(self):
        self.pausing, self.reached = None, threading.Event()

    @cherrypy.expose
    def login(self):
        self.lock()
        cherrypy.session["user"] = "42"

    @cherrypy.expose
    def regenerate(self):
        self.lock()
        cherrypy.session.regenerate()
        cherrypy.session["user"] = "42"

    @cherrypy.expose
    def logout(self):
        return str(cherrypy.serving.push.end_session())

    @cherrypy.expose
    def regenerate_and_logout(self):
        self.regenerate()
        return self.logout()

    @cherrypy.expose
    def end(self, session):
        return str(cherrypy.serving.push.end_session(session))

    @cherrypy.expose
    def delete(self):
        self.lock()
        cherrypy.session.delete()

    @cherrypy.expose
    def name(self):
        return cherrypy.session.id

    @cherrypy.expose
    def use(self):
        self.lock()
        return cherrypy.session.get("user", "")

    @staticmethod
    def lock():
        if not cherrypy.session.locked:
            cherrypy.session.acquire_lock()


def root():
    class Pages(Site):
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            self.use()
            cherrypy.serving.push.bind_session()
            self.pause()

        @cherrypy.expose
        @cherrypy.tools.push()
        def expiring(self, Id):
            cherrypy.serving.push.bind_session(expires=True)

        def pause(self):
            self.reached.set()
            if self.pausing is not None:
                assert self.pausing.wait(PATIENCE)

    return Pages()


@contextlib.contextmanager
def serving(tmp_path, storage="ram", timeout=60.0, locking="implicit"):
    pages = root()
    config = {"/": {"tools.sessions.on": True, "tools.sessions.timeout": timeout,
                    "tools.sessions.locking": locking,
                    "tools.sessions.storage_class": STORAGES.get(storage, Own)}}
    if storage == "file":
        config["/"]["tools.sessions.storage_path"] = str(tmp_path)
    with running_site(pages, config=config) as site:
        site.pages = pages

        def give():
            cherrypy.serving.push = site.push

        cherrypy.engine.subscribe("before_request", give)
        try:
            yield site
        finally:
            cherrypy.engine.unsubscribe("before_request", give)


class Browser:
    """Keep a cookie."""

    def __init__(self, site):
        self.site = site
        self.cookie = ""

    def page(self, path):
        connection = HTTPConnection(self.site.host, self.site.port, timeout=PATIENCE)
        connection.request("GET", path, headers={"Cookie": self.cookie} if self.cookie else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        given = answer.getheader("Set-Cookie")
        self.cookie = given.split(";")[0] if given else self.cookie
        return text

    def socket(self, path="/websocket?Id=42"):
        return self.site.client(path, headers={"Cookie": self.cookie})


kinds = pytest.mark.parametrize("storage", ["ram", "file", "own"])
lockings = pytest.mark.parametrize("locking", ["implicit", "early", "explicit"])


@kinds
@lockings
def test_a_logout_ends_the_sockets_opened_before_and_after_the_session_got_a_new_id(
        storage, locking, tmp_path):
    with serving(tmp_path, storage, locking=locking) as site:
        ann, bob = Browser(site), Browser(site)
        ann.page("/login"), bob.page("/login")
        with ann.socket() as first, bob.socket() as other:
            old = ann.page("/name")
            ann.page("/regenerate")
            assert ann.page("/name") != old
            with ann.socket() as second:
                assert ann.page("/logout") == "2"
                assert first.close_code() == second.close_code() == 3505
                site.push.broadcast("still here")
                assert other.message() == "still here"
                assert ann.page("/logout") == "0"


def test_a_logout_may_give_the_session_a_new_id_first(tmp_path):
    with serving(tmp_path) as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket() as socket:
            assert ann.page("/regenerate_and_logout") == "1"
            assert socket.close_code() == 3505


def test_nobody_can_take_over_what_is_bound_to_a_name_that_is_no_session(tmp_path):
    """A cookie may say anything; only the id of a session that exists is followed."""
    with serving(tmp_path) as site:
        ann, eve = Browser(site), Browser(site)
        ann.page("/login")
        with ann.socket() as socket:
            connection, = site.push.connections()
            connection.session = "own-name"
            eve.cookie = "session_id=own-name"
            eve.page("/regenerate"), eve.page("/logout")
            assert connection.session == "own-name"
            assert site.push.end_session("own-name") == 1
            assert socket.close_code() == 3505


def test_a_site_may_name_the_session_itself(tmp_path):
    with serving(tmp_path) as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket() as socket:
            connection, = site.push.connections()
            assert connection.session == ann.page("/name")
            assert site.push.end_session("") == 0
            assert ann.page(f"/end?session={connection.session}") == "1"
            assert socket.close_code() == 3505


def test_a_logout_behind_the_page_handler_of_a_handshake_keeps_it_out(tmp_path):
    with serving(tmp_path, locking="explicit") as site:
        ann = Browser(site)
        ann.page("/login")
        held = threading.Event()

        def hold():
            if cherrypy.serving.request.path_info == "/websocket":
                site.pages.reached.set()
                assert held.wait(PATIENCE)

        tool = cherrypy.Tool("on_end_resource", hold, priority=99)
        cherrypy.tools.hold, site.pages._cp_config = tool, {"tools.hold.on": True}
        refused = []

        def come():
            with pytest.raises(Refused) as caught:
                ann.socket()
            refused.append(caught.value.status)

        site.pages.reached.clear()
        thread = threading.Thread(target=come)
        thread.start()
        assert site.pages.reached.wait(PATIENCE)
        assert ann.page("/logout") == "0"
        held.set()
        thread.join(PATIENCE)
        assert refused == [403] and len(site.push) == 0
        with ann.socket():
            assert len(site.push) == 1


@kinds
def test_a_socket_ends_when_its_session_expires_if_the_site_wants_that(storage, tmp_path):
    with serving(tmp_path, storage, BRIEF) as site:
        ann, bob = Browser(site), Browser(site)
        ann.page("/login"), bob.page("/login")
        with ann.socket("/expiring?Id=42") as socket, bob.socket() as other:
            assert socket.close_code() == 3005
            assert ann.page("/use") == ""
            site.push.broadcast("still here")
            assert other.message() == "still here"


@kinds
def test_each_request_of_a_session_keeps_its_sockets(storage, tmp_path):
    with serving(tmp_path, storage, BRIEF) as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket("/expiring?Id=42") as socket:
            began = time.monotonic()
            while time.monotonic() < began + 2 * BRIEF * 60:
                assert ann.page("/use") == "42"
                time.sleep(BRIEF * 60 / 20)
            assert len(site.push) == 1
            assert socket.close_code() == 3005


def test_a_request_in_progress_keeps_the_sockets_of_its_session(tmp_path):
    """It has the session's lock, and prolongs the session when it ends."""
    with serving(tmp_path, timeout=BRIEF) as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket("/expiring?Id=42"):
            site.pages.pausing = threading.Event()
            site.pages.reached.clear()
            thread = threading.Thread(target=lambda: ann.socket().close())
            thread.start()
            assert site.pages.reached.wait(PATIENCE)
            over = time.monotonic() + 2 * BRIEF * 60
            wait_until(lambda: time.monotonic() > over)
            assert len(site.push.connections("42")) == 1
            site.pages.pausing.set()
            thread.join(PATIENCE)
            assert len(site.push.connections("42")) >= 1


@kinds
def test_a_session_that_is_deleted_ends_its_sockets_at_the_next_look(storage, tmp_path,
                                                                     monkeypatch):
    monkeypatch.setattr(lease, "LOOK_EVERY", 0.1)
    with serving(tmp_path, storage) as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket("/expiring?Id=42") as socket:
            ann.page("/regenerate")     # which deletes the old one, but is followed
            lease_of = wait_until(lambda: site.push.connections()[0]._lease)
            looked = lease_of._job
            wait_until(lambda: lease_of._job is not looked)
            ann.page("/delete")
            assert socket.close_code() == 3005


def test_a_storage_that_fails_ends_nobody_and_is_asked_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lease, "LOOK_EVERY", 0.05)
    with serving(tmp_path, "own") as site:
        ann = Browser(site)
        ann.page("/login")
        with ann.socket("/expiring?Id=42") as socket:
            wait_until(lambda: site.push.connections()[0]._lease)
            load, asked = Own._load, []

            def fail(session):
                asked.append(session)
                raise OSError("the storage is away")

            monkeypatch.setattr(Own, "_load", fail)
            wait_until(lambda: len(asked) > 6)
            assert len(site.push) == 1 and "Id '42': its session cannot be looked up" in caplog.text
            monkeypatch.setattr(Own, "_load", load)
            ann.page("/delete")
            assert socket.close_code() == 3005


def test_only_cherrypys_sessions_can_expire(tmp_path):
    with serving(tmp_path) as site:
        found = []

        @cherrypy.expose
        @cherrypy.tools.push()
        def mine(Id):
            with pytest.raises(InvalidSetting, match="expires is for CherryPy's sessions"):
                site.push.bind_session("mine", expires=True)
            site.push.bind_session("mine")
            found.append(True)

        site.pages.mine = mine
        with Browser(site).socket("/mine?Id=42") as socket:
            assert found == [True] and site.push.end_session("mine") == 1
            assert socket.close_code() == 3505
