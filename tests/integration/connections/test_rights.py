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
        @cherrypy.tools.push(handler_cls=handlers[0], trust_id=True)
        def websocket(self, Id=None):
            """Accept everybody."""
            cherrypy.request.push_session = "the session"

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=handlers[1], trust_id=True)
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


def test_a_client_over_tls_that_does_not_read_gets_only_what_had_left(
        gate, server_certificate, client_tls):
    made = root(gate)
    with running_site(made, settings={"close_timeout": PATIENCE, "max_outbox": 1 << 24},
                      buffers=SMALL, tls=server_certificate) as site, \
            site.client("/websocket?Id=42", tls=client_tls, receive_buffer=SMALL) as client:
        for number in range(200):
            site.push.send("42", f"{number:<10000}")
        link, = site.push._hub.everyone()
        wait_until(lambda: link.outbox.size > 1_000_000)
        site.push.disconnect("42")
        wait_until(lambda: link.outbox.size < 100_000)
        first, numbers = 0, []
        while first != 0x88:
            first, payload = client.frame()
            numbers += [int(payload)] if first == 0x81 else []
        assert payload[2:] == b"disconnected by the site"
        assert numbers == list(range(len(numbers))) and len(numbers) < 100


def test_what_is_sent_before_a_disconnect_arrives_before_it(site):
    """If the client takes it: a site says why before it ends somebody."""
    for _ in range(10):
        with site.client("/websocket?Id=42") as client:
            for number in range(3):
                site.push.send("42", f"you are banned, {number}")
            site.push.disconnect("42", 4500, "banned")
            assert [client.message() for _ in range(3)] == [f"you are banned, {number}"
                                                            for number in range(3)]
            assert client.close_code() == 4500


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


# Rights in one channel

def test_a_subscription_ends_with_its_token_while_a_call_blocks(gate, site):
    with RawClient(site, "/talk") as client, RawClient(site, "/talk") as other:
        client.connect(token=token(PATIENCE)), other.connect(token=token(PATIENCE, "43"))
        assert client.call("subscribe", channel="private:a",
                           token=token(channel="private:a"))["expires"]
        other.call("subscribe", channel="private:a",
                   token=token(PATIENCE, "43", channel="private:a"))
        client.send(client.command("rpc", method="slow", data=1),
                    *publishes(client, *range(WAITING), channel="private:a"))
        gate.reached()
        while "unsubscribe" not in (push := client.push()):
            pass
        assert push == {"channel": "private:a",
                        "unsubscribe": {"code": 2501, "reason": "subscription expired"}}
        assert not gate.is_open.is_set()
        site.push.publish("private:a", "not for the client")
        gate.is_open.set()
        replies = [client.next() for _ in range(1 + WAITING)]
        assert {reply["error"]["code"] for reply in replies[1:]} == {103}
        assert came(site, "private:a") == ["not for the client"]
        while "leave" not in (push := other.push()):
            pass
        assert push["leave"]["info"]["user"] == "42"
        assert client.call("subscribe", channel="private:a",    # and back with a new one
                           token=token(PATIENCE, channel="private:a"))["expires"]


def slow_recovery(site, monkeypatch, gate):
    """Have the broker's history block; it is asked while a client catches up."""
    recover = site.push._broker.recover

    def blocking(*args):
        gate()
        return recover(*args)

    monkeypatch.setattr(site.push._broker, "recover", blocking)


@pytest.mark.parametrize("end, code", [
    (lambda site: site.push.unsubscribe_id("42", "private:a"), 103), (by_exp, 109)],
    ids=["by_unsubscribe", "by_exp"])
def test_who_may_be_in_a_channel_no_more_while_catching_up_gets_nothing(end, code, gate, site,
                                                                        monkeypatch):
    for number in range(5):
        site.push.publish("private:a", number)
    with RawClient(site, "/talk") as client:
        client.connect(token=token(PATIENCE))
        slow_recovery(site, monkeypatch, gate)
        command = client.command("subscribe", channel="private:a", recover=True,
                                 token=token(channel="private:a"))
        client.send(command)
        gate.reached()
        end(site)
        assert "unsubscribe" in client.push()
        site.push.publish("private:a", "too late")
        gate.is_open.set()
        assert client.next() == {"id": command["id"], "error": {
            "code": code, "message": "permission denied" if code == 103 else "token expired"}}
        assert site.push.channels() == {} and site.push.presence("private:a") == {}


def test_who_is_taken_out_right_after_the_answer_gets_no_second_one(site, monkeypatch):
    announce = site.push._node.announce

    def taking_out(member, arrivals):
        site.push.unsubscribe_id("42", "open:a")
        announce(member, arrivals)

    with RawClient(site, "/talk?Id=42") as client:
        client.connect()
        monkeypatch.setattr(site.push._node, "announce", taking_out)
        client.send(client.command("subscribe", channel="open:a"),
                    client.command("unsubscribe", channel="open:b"))
        assert "subscribe" in client.next()
        assert client.push()["unsubscribe"]["code"] == 2000
        assert client.next()["unsubscribe"] == {}


@ways
def test_who_is_ended_while_catching_up_gets_nothing_of_it(end, gate, site, monkeypatch):
    for number in range(5):
        site.push.publish("open:a", number)
    with RawClient(site, "/talk") as client:
        client.connect(token=token())
        slow_recovery(site, monkeypatch, gate)
        client.send(client.command("subscribe", channel="open:a", recover=True, epoch="",
                                   offset=0), *publishes(client, "late"))
        gate.reached()
        end(site)
        assert client.close_code() == CODES[end]     # and no reply before it
        gate.is_open.set()
        client.close()
        wait_until(lambda: site.Talker.codes)
        assert came(site, "open:a") == list(range(5)) and site.push.channels() == {}


def test_a_client_whose_token_expires_while_its_connect_catches_up_is_not_let_in(gate, site,
                                                                                 monkeypatch):
    site.push.publish("open:a", "missed")
    slow_recovery(site, monkeypatch, gate)
    with RawClient(site, "/talk") as client:
        client.send(client.command("connect", token=token(channels=["open:a"]),
                                   subs={"open:a": {"recover": True, "offset": 0, "epoch": ""}}))
        gate.reached()
        assert client.close_code() == 3005
        gate.is_open.set()


@pytest.mark.parametrize("end", [
    lambda site: site.push.unsubscribe_id("42", "members:a"),
    lambda site: site.push.connections("42")[0].unsubscribe("members:a")],
    ids=["by_id", "by_connection"])
def test_what_waits_to_be_published_by_one_who_was_taken_out_is_refused(end, gate, site):
    with RawClient(site, "/talk?Id=42") as client:
        client.connect()
        client.call("subscribe", channel="members:a")
        assert client.call("publish", channel="members:a", data="in time") == {}
        client.send(client.command("rpc", method="slow", data=1))
        gate.reached()
        client.send(*publishes(client, *range(WAITING), channel="members:a"))
        end(site)
        while "unsubscribe" not in (push := client.push()):
            pass
        assert push["unsubscribe"]["code"] == 2000 and not gate.is_open.is_set()
        site.push.publish("members:a", "not for the client")
        gate.is_open.set()
        replies = [client.next() for _ in range(1 + WAITING)]
        assert {reply["error"]["code"] for reply in replies[1:]} == {103}
        assert came(site, "members:a") == ["in time", "not for the client"]


def test_a_rule_that_changes_its_answer_counts_for_what_already_waits(gate):
    allowed = {"42"}
    rules = (ChannelRule("open:", history=100, publish=lambda one, channel: one.Id in allowed,
                         subscribe=lambda one, channel: one.Id in allowed),)
    made = root(gate)
    with running_site(made, plugin={"channels": rules}) as site, \
            RawClient(site, "/talk?Id=42") as client:
        client.connect()
        assert client.call("publish", channel="open:a", data="in time") == {}
        client.send(client.command("rpc", method="slow", data=1),
                    *publishes(client, *range(WAITING)),
                    client.command("subscribe", channel="open:a"))
        gate.reached()
        allowed.clear()
        gate.is_open.set()
        replies = [client.next() for _ in range(2 + WAITING)]
        assert {reply["error"]["code"] for reply in replies[1:]} == {103}
        assert came(site, "open:a") == ["in time"] and site.push.channels() == {}


def test_who_is_taken_out_before_it_connects_is_not_in_the_channel(site):
    with RawClient(site, "/talk?Id=42") as client:
        connection, = site.push.connections("42")
        assert connection.subscribe("open:a") and connection.subscribe("open:b")
        assert connection.unsubscribe("open:a") and not connection.unsubscribe("open:a")
        assert set(client.connect()["subs"]) == {"open:b"}


@pytest.mark.parametrize("end, code", [
    (lambda site: site.push.unsubscribe_id("42", "private:a"), 2000), (by_exp, 2501)],
    ids=["by_unsubscribe", "by_exp"])
def test_a_client_that_reads_late_gets_no_more_from_a_channel_it_was_taken_out_of(end, code, gate):
    with serving(gate, max_outbox=1 << 24) as site, \
            RawClient(site, "/talk", receive_buffer=SMALL) as client:
        client.connect(token=token(PATIENCE))
        for channel in ("private:a", "private:b"):
            client.call("subscribe", channel=channel,
                        token=token(SOON if channel == "private:a" else PATIENCE, channel=channel))
        for number in range(300):
            for channel in ("private:a", "private:b"):
                site.push.publish(channel, f"{number:<5000}")
        link, = site.push._hub.everyone()
        wait_until(lambda: link.outbox.size > 2_000_000)
        end(site)
        wait_until(lambda: link.outbox.size < 2_000_000)
        got = {"private:a": [], "private:b": []}
        while len(got["private:b"]) < 300:
            push = client.push()
            if "pub" in push:
                got[push["channel"]].append(int(push["pub"]["data"]))
            elif "unsubscribe" in push:
                assert push["unsubscribe"]["code"] == code and push["channel"] == "private:a"
        assert got["private:b"] == list(range(300))
        assert got["private:a"] == list(range(len(got["private:a"]))) and len(got["private:a"]) < 60


# Those who have gone

@pytest.mark.parametrize("end", [by_exp, lambda site: site.push.disconnect("42"),
                                 lambda site: site.push.end_session("the session")],
                         ids=["by_exp", "by_disconnect", "by_end_session"])
def test_what_somebody_has_left_behind_is_not_done_once_his_rights_have_ended(end, gate, site):
    """His socket is closed, but his commands still wait."""
    with RawClient(site, "/talk") as client:
        over = time.time() + SOON
        client.connect(token=token())
        client.send(client.command("rpc", method="slow", data=1))
        gate.reached()
        client.send(*publishes(client, *range(WAITING)))
        link, = site.push._hub.everyone()
        wait_until(lambda: link.inbox.jobs)
    wait_until(lambda: not site.push._lifecycle.runtime.links)
    assert not end(site)
    if end is by_exp:
        wait_until(lambda: time.time() > over and link.inbox.is_shut)
    gate.is_open.set()
    wait_until(lambda: site.Talker.codes)
    assert came(site, "open:a") == []
    wait_until(lambda: site.push._hub.leaving() == ())


def test_a_client_that_is_only_slow_and_then_disconnected_does_nothing_more(gate):
    with serving(gate, max_outbox=100_000, close_timeout=PATIENCE) as site, \
            RawClient(site, "/talk?Id=42", receive_buffer=SMALL) as client:
        client.connect()
        client.send(client.command("rpc", method="slow", data=1))
        gate.reached()
        client.send(*publishes(client, *range(WAITING)))
        link, = site.push._hub.everyone()
        wait_until(lambda: link.inbox.jobs)
        while len(site.push):
            site.push.send("42", "x" * 50_000)      # it does not read: 3008
        assert site.push.disconnect("42") == 0
        gate.is_open.set()
        wait_until(lambda: not link.inbox.active)
        assert came(site, "open:a") == []
        assert client.close_code() == 3008
