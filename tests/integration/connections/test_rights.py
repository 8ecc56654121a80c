"""Rights end when they end: whatever waits, blocks or is in progress then."""
from __future__ import annotations

import contextlib
import threading
import time

import cherrypy
import jwt
import pytest

from pushserver import CentrifugeConnection, ChannelRule, CloseConnection, Connection, Disconnect, \
    Tokens
from tests.support.centrifuge_client import RawClient
from tests.support.handlers import SMALL
from tests.support.site import running_site
from tests.support.waiting import PATIENCE, wait_until

SECRET = "0123456789abcdef0123456789abcdef"
SOON = 1.0
"""Seconds for which the tokens of these tests are valid: their clients do all they do before."""

WAITING = 28
"""Commands or messages that wait behind the one that blocks."""


def token(ttl=SOON, sub="42", **claims):
    return jwt.encode({"sub": sub, "exp": time.time() + ttl, **claims}, SECRET, algorithm="HS256")


class Gate:
    """What the site's code waits for; a test opens it when the right has ended."""

    def __init__(self):
        self.is_reached = threading.Event()
        self.is_open = threading.Event()

    def __call__(self, *_):
        self.is_reached.set()
        assert self.is_open.wait(PATIENCE)

    def reached(self):
        assert self.is_reached.wait(PATIENCE)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.is_open.set()


def plain(gate):
    """Return a handler that blocks in its first message, with a log of what is called."""
    class Plain(Connection):
        log: list = []

        def received_message(self, message):
            self.log.append(str(message))
            if str(message) == "block":
                gate()

        def ponged(self, pong):
            self.log.append("pong")

        def closed(self, code, reason=None):
            self.log.append(code)

    return Plain


def talker(gate):
    """Return a handler of Centrifugo's protocol whose calls block."""
    class Talker(CentrifugeConnection):
        anonymous = True
        codes: list = []

        def rpc(self, method, data):
            gate()
            if method == "close":
                self.close(4001, "enough")
            elif method == "refuse":
                raise CloseConnection(Disconnect(4001, "enough"))
            return "late"

        def message(self, data):
            self.server.publish("heard:", data)

        def allows_publish(self, channel, data):
            if data == "block":
                gate()
            return super().allows_publish(channel, data)

        def closed(self, code, reason=None):
            self.codes.append(code)
            super().closed(code, reason)

    return Talker


def root(gate):
    class Site:
        handlers = plain(gate), talker(gate)

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=handlers[0])
        def websocket(self, Id=None):
            """Accept everybody."""
            cherrypy.request.push_session = "the session"

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=handlers[1])
        def talk(self, Id=None):
            """Accept everybody."""
            cherrypy.request.push_session = "the session"

    return Site()


RULES = (ChannelRule("open:", history=100, publish="anyone"),
         ChannelRule("heard:", history=100),
         ChannelRule("members:", history=100, publish="subscribers"),
         ChannelRule("private:", history=100, subscribe="token", publish="subscribers",
                     see_presence="subscribers", join_leave=True))


@contextlib.contextmanager
def serving(gate, **settings):
    """Serve; ``Plain`` and ``Talker`` are the handlers' classes."""
    made = root(gate)
    with running_site(made, plugin={"channels": RULES, "tokens": Tokens(secret=SECRET, grace=0.0)},
                      settings={"close_timeout": 0.5, **settings}, buffers=SMALL) as site:
        site.Plain, site.Talker = made.handlers
        yield site


@pytest.fixture
def site(gate):
    with serving(gate) as site:
        yield site


# Ways to end a connection's rights, each of which the site or the clock takes

def by_exp(site):
    """Wait: the client's token lives for ``SOON``."""


def by_disconnect(site):
    assert site.push.disconnect("42") == 1


def by_end_session(site):
    assert site.push.end_session("the session") == 1


def by_close(site):
    connection, = site.push.connections("42")
    connection.close(4000, "enough")


def by_expire(site):
    connection, = site.push.connections("42")
    connection.expire(0.05)


CODES = {by_exp: 3005, by_expire: 3005, by_disconnect: 3505, by_end_session: 3505, by_close: 4000}

ways = pytest.mark.parametrize("end", CODES, ids=lambda way: way.__name__)


def came(site, *channels):
    """Return what clients have published."""
    return [one.data for channel in channels for one in site.push.history(channel).publications]


def publishes(client, *data, channel="open:a"):
    return [client.command("publish", channel=channel, data=one) for one in data]


@ways
def test_a_blocked_handler_keeps_nobody_connected_and_gets_nothing_more(end, gate, site):
    with site.client(f"/websocket?token={token()}") as client:
        client.text("block")
        gate.reached()
        for number in range(WAITING):
            client.text(f"late {number}")
        client.send(0x8A, b"late")
        end(site)
        assert client.close_code() == CODES[end]
        assert not gate.is_open.is_set() and len(site.push) == 0
        client.close()
        gate.is_open.set()
        wait_until(lambda: len(site.Plain.log) > 1)
    assert site.Plain.log == ["block", CODES[end]]


@ways
@pytest.mark.parametrize("together", [False, True], ids=["in many frames", "in one frame"])
@pytest.mark.parametrize("blocked", ["rpc", "publish"])
def test_no_command_that_waits_is_run_for_one_whose_rights_have_ended(end, together, blocked, gate,
                                                                      site):
    with RawClient(site, "/talk") as client:
        client.connect(token=token())
        first = client.command("rpc", method="slow", data=1) if blocked == "rpc" \
            else publishes(client, "block")[0]
        late = publishes(client, *range(WAITING)) + [
            {"send": {"data": "x"}}, client.command("subscribe", channel="open:b")]
        if together:
            client.send(first, *late)
        else:
            for command in (first, *late):
                client.send(command)
        gate.reached()
        end(site)
        assert client.close_code() == CODES[end]
        assert not gate.is_open.is_set()
        gate.is_open.set()
        client.close()
        wait_until(lambda: site.Talker.codes)
        assert came(site, "open:a", "heard:") == [] and site.push.channels() == {}
    assert site.Talker.codes == [CODES[end]]


@pytest.mark.parametrize("how", ["close", "refuse"])
def test_what_waits_behind_a_refusal_by_the_handler_is_not_run(how, gate, site):
    gate.is_open.set()
    with RawClient(site, "/talk?Id=42") as client:
        client.connect()
        client.send(client.command("rpc", method=how, data=1), *publishes(client, *range(WAITING)))
        assert client.closing() == (4001, "enough")
        client.close()
        wait_until(lambda: site.Talker.codes)
        assert came(site, "open:a") == []


@pytest.mark.parametrize("end", [way for way in CODES if way is not by_close])
def test_a_client_that_does_not_read_gets_only_what_had_left(end, gate):
    """What the server still holds when the right ends is not sent later, when the client reads."""
    with serving(gate, close_timeout=PATIENCE, max_outbox=1 << 24) as site:
        with site.client(f"/websocket?token={token()}", receive_buffer=SMALL) as client:
            for number in range(200):
                site.push.send("42", f"{number:<10000}")
            link, = site.push._hub.everyone()
            wait_until(lambda: link.outbox.size > 1_000_000)
            end(site)
            wait_until(lambda: link.outbox.size < 100_000)
            numbers = []
            while True:
                first, payload = client.frame()
                if first == 0x88:
                    break
                numbers.append(int(payload))
            assert int.from_bytes(payload[:2], "big") == CODES[end]
            assert numbers == list(range(len(numbers))) and len(numbers) < 100


def test_what_a_handler_sends_before_it_closes_reaches_also_a_client_that_reads_late(gate):
    with serving(gate, close_timeout=PATIENCE, max_outbox=1 << 24) as site:
        with site.client("/websocket?Id=42", receive_buffer=SMALL) as client:
            connection, = site.push.connections("42")
            for number in range(200):
                connection.send(f"{number:<10000}")
            connection.close(4000, "enough")
            time.sleep(0.2)     # longer than a right's end waits
            assert [int(client.message()) for _ in range(200)] == list(range(200))
            assert client.close_code() == 4000
