"""How many may connect, and when."""
from __future__ import annotations

import threading

import cherrypy

from tests.support.handshakes import accepted, hook, refusal
from tests.support.raw_client import Refused
from tests.support.site import running_site
from tests.support.waiting import wait_until


def test_an_id_with_too_many_connections_is_answered_429():
    with running_site(settings={"max_connections_per_id": 2, "retry_after": 7}) as site:
        with site.client() as one, site.client() as two:
            refused = refusal(site)
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "7"
            accepted(site, "/websocket?Id=another")
            assert one.hang_up() == 1000
            wait_until(lambda: len(site.push) == 1)
            accepted(site)
            assert two.hang_up() == 1000


def test_a_server_with_too_many_connections_answers_503():
    with running_site(settings={"max_connections": 2}) as site:
        with site.client("/websocket?Id=1") as one, site.client("/websocket?Id=2"):
            refused = refusal(site, "/websocket?Id=3")
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "5"
            one.reset()
            wait_until(lambda: len(site.push._lifecycle.runtime.links) == 1)
            accepted(site, "/websocket?Id=3")


def test_many_handshakes_at_once_do_not_pass_the_limit():
    results = []
    with running_site(settings={"max_connections_per_id": 3}) as site:
        gate, leave = threading.Barrier(8), threading.Event()

        def connect():
            with site.socket() as client:
                gate.wait()
                try:
                    client.handshake()
                    results.append(101)
                except Refused as refused:
                    results.append(refused.status)
                leave.wait(10)

        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(results) == 8)
            assert sorted(results) == [101] * 3 + [429] * 5
            assert len(site.push) == 3
        finally:
            leave.set()
            for thread in threads:
                thread.join()
        wait_until(lambda: len(site.push) == 0)
        assert site.push._hub._reserved == {}


def test_several_connections_share_an_id_and_all_receive():
    with running_site() as site, site.client() as one, site.client() as two:
        assert site.push.send("42", "for both") == 2
        assert one.message() == two.message() == "for both"
        assert site.push.ids() == ["42"]
        assert len(site.push) == len(site.push.connections("42")) == 2


def test_the_newer_connection_replaces_the_older():
    with running_site(settings={"duplicates": "replace"}) as site:
        with site.client() as older, site.client() as newer:
            assert older.close_code() == 3504
            assert site.push.send("42", "for the newer") == 1
            assert newer.message() == "for the newer"
            older.send(0x88, (3504).to_bytes(2, "big"))
            assert older.at_end()


def test_the_older_connection_keeps_the_newer_out():
    with running_site(settings={"duplicates": "reject"}) as site:
        with site.client() as older:
            refused = refusal(site)
            assert refused.status == 429
            assert "Retry-After" in refused.headers
            older.message_of = site.push.send("42", "still here")
            assert older.message() in ("not for those that were refused", "still here")
            assert older.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        accepted(site)


def test_a_server_that_drains_answers_503():
    with running_site() as site:
        site.push.drain()
        refused = refusal(site)
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "5"


def test_a_server_that_has_not_started_answers_503():
    with running_site() as site:
        site.push.stop()
        assert refusal(site).status == 503
        site.push.start()
        accepted(site)


def test_a_stop_during_the_page_handler_is_answered_503():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self, Id):
            site.push.stop()

    with running_site(Site()) as site:
        assert refusal(site).status == 503


def test_a_stop_behind_the_page_handler_is_answered_503():
    """The place was reserved already."""
    def stop():
        site.push.stop()

    with running_site(config=hook("on_end_resource", stop)) as site:
        refused = refusal(site)
        assert refused.status == 503
