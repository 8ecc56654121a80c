"""Heartbeats as clients get them from a site."""
from __future__ import annotations

import cherrypy
import pytest

from pushclient import PushClient, WebSocketClient
from tests.support.raw_client import Refused
from tests.support.site import running_site
from tests.support.third_party_clients import READERS
from tests.support.waiting import wait_until

TEXT = 0x81


class Root:
    """Page handlers that do and do not take a parameter ``heartbeat``."""

    seen: list

    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    @cherrypy.tools.push()
    def pulse(self, Id, heartbeat="none"):
        self.seen.append(heartbeat)

    @cherrypy.expose
    @cherrypy.tools.push(trust_id=True)
    def any(self, **query):
        self.seen.append(query)


@pytest.fixture
def site():
    root = Root()
    root.seen = []
    with running_site(root) as site:
        site.seen = root.seen
        yield site


def test_a_client_that_asks_gets_empty_messages_and_its_page_handler_no_argument(site):
    with site.client("/websocket?Id=42&heartbeat=1") as client:
        assert [client.frame() for _ in range(2)] == [(TEXT, b"")] * 2
        site.push.send("42", "pushed")
        assert client.frame() == (TEXT, b"pushed")


@pytest.mark.parametrize("query, text", [
    ("heartbeat=0", "from 1 to 3600"), ("heartbeat=", "from 1 to 3600"),
    ("heartbeat=nan", "from 1 to 3600"), ("heartbeat=%00", "from 1 to 3600"),
    ("heartbeat=5&heartbeat=5", "more than once")])
def test_a_heartbeat_that_cannot_be_is_refused(site, query, text):
    with site.socket() as client, pytest.raises(Refused) as refused:
        client.handshake(f"/websocket?Id=42&{query}")
    body = refused.value.body.decode()
    assert refused.value.status == 400 and text in body and body.count("\n") == 1


def test_other_unknown_parameters_are_still_not_found(site):
    with site.socket() as client, pytest.raises(Refused) as refused:
        client.handshake("/websocket?Id=42&heartbeat=5&beat=5")
    assert refused.value.status == 404


def test_a_page_handler_with_such_a_parameter_keeps_it_to_itself(site):
    with site.client("/pulse?Id=42&heartbeat=strong") as client:
        site.push.send("42", "pushed")
        assert client.frame() == (TEXT, b"pushed")
    assert site.seen == ["strong"]


def test_a_page_handler_that_takes_anything_does_not_see_it(site):
    with site.client("/any?Id=42&heartbeat=5&nick=x") as client:
        assert client.frame() == (TEXT, b"")
    assert site.seen == [{"Id": "42", "nick": "x"}]


def test_the_python_client_takes_them_as_messages(site):
    with PushClient(site.url("/websocket?heartbeat=1"), Id="42") as client:
        assert [client.receive(10) for _ in range(2)] == ["", ""]


def test_clients_that_do_not_ask_see_none(site):
    with site.client("/websocket?Id=other&heartbeat=1") as asking, \
            PushClient(site.url("/websocket"), Id="42") as client:
        assert asking.frame() == asking.frame() == (TEXT, b"")
        wait_until(lambda: "42" in site.push.ids())
        site.push.broadcast("pushed")
        assert client.receive(10) == "pushed"


@pytest.mark.parametrize("name", ["websockets", "websocket-client", "Tornado", "aiohttp", "ws4py"])
def test_clients_of_others_receive_them(site, name):
    found = READERS[name](site.url("/websocket?Id=42&heartbeat=1"), 2)
    assert [message for message, _ in found] == ["", ""]


def test_the_drop_in_for_ws4py_receives_them(site):
    found = []

    class Reader(WebSocketClient):
        def received_message(self, message):
            found.append(str(message))
            self.close()

    reader = Reader(site.url("/websocket?Id=42&heartbeat=1"))
    reader.connect()
    reader.run_forever()
    assert found[0] == ""
