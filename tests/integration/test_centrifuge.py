"""Centrifugo's JSON protocol over real sockets, command by command, as its documents say."""
from __future__ import annotations

import contextlib
import json
import threading
import time

import cherrypy
import pytest

from pushserver import CentrifugeConnection, ChannelRule, CloseConnection, CommandError, Disconnect
from tests.centrifuge_client import PATH, RawClient
from tests.support import PATIENCE, masked_frame, running_site, wait_until

CONNECT = masked_frame(0x81, b'{"id":1,"connect":{}}')
"""The first command, to be sent behind the handshake: no time passes in between."""

RULES = (
    ChannelRule("news:", history=10, see_history="subscribers", publish="users",
                see_presence="subscribers", join_leave=True),
    ChannelRule("deep:", history=5000, history_bytes=1 << 24, publish="anyone",
                see_history="anyone"),
    ChannelRule("open:", publish="subscribers"),
    ChannelRule("private:", subscribe="token"),
    ChannelRule("own:", subscribe=lambda connection, channel: channel == f"own:{connection.Id}"),
    ChannelRule("broken:", subscribe=lambda connection, channel: 1 / 0))


class Handler(CentrifugeConnection):
    """A site's handler, with a hook for each thing."""

    anonymous = True
    heard: list = []

    def connecting(self, data):
        if data == "refuse":
            raise CloseConnection(Disconnect(4500, "not you"))
        if data == "error":
            raise CommandError(400, "not today")
        if data == "start":
            self.subscribe("news:start")
        return {"you sent": data} if data else None

    def rpc(self, method, data):
        if method == "add":
            return sum(data)
        if method == "echo":
            return data
        if method == "echo error":
            raise CommandError(404, f"there is no {data}")
        if method == "own error":
            raise CommandError(401, "no", temporary=True)
        if method == "fail":
            raise RuntimeError("the site's mistake")
        if method == "unjson":
            return object()
        return super().rpc(method, data)

    def message(self, data):
        self.heard.append(data)


class Root:
    @cherrypy.expose
    @cherrypy.tools.push()
    def websocket(self, Id):
        """Accept everybody."""

    @cherrypy.expose
    def index(self):
        return "page"


def root():
    """Return a site; its class is made anew, for the tool is the running site's."""
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler)
        def websocket(self, Id=None):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", channels=["news:tool", "open:tool"])
        def strict(self, Id=None):
            """Accept who says who it is."""

    site = Root()
    site.connection = Connection()
    return site


@contextlib.contextmanager
def serving(**options):
    with running_site(root(), plugin={"channels": RULES, **options.pop("plugin", {})},
                      **options) as site:
        yield site


@pytest.fixture(scope="module")
def shared():
    """One site for all tests that leave nothing behind in it."""
    with serving() as site:
        yield site


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def join(site):
    """Connect clients that vanish at the end."""
    clients = []

    def join(Id="42", connect=True, path=PATH, **request):
        client = RawClient(site, f"{path}?Id={Id}" if Id else path)
        clients.append(client)
        if connect:
            client.connected = client.connect(**request)
        return client

    yield join
    for client in clients:
        client.close()


def vanish(client):
    """Close a client's socket, once what it has asked for is done to the last."""
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    client.close()


# Connecting

def test_connect_tells_who_one_is_and_how_often_pings_come(join):
    result = join().connected
    assert result["ping"] == 25 and result["pong"] is True
    assert len(result["client"]) == 36 and result["version"].startswith("pushserver ")
    assert not {"expires", "ttl", "data", "subs"} & set(result)


def test_the_site_hears_what_came_with_connect_and_answers(join):
    assert join(data={"a": 1}).connected["data"] == {"you sent": {"a": 1}}


def test_the_site_refuses_with_its_own_code_or_error(join):
    client = join(connect=False)
    client.send(client.command("connect", data="refuse"))
    assert client.closing() == (4500, "not you")
    client = join(connect=False)
    assert client.connect(data="error") == 400
    client.send(client.command("publish", channel="open:a", data=1))
    assert client.closing() == (3501, "bad request")


def test_several_commands_in_a_frame_have_several_replies_in_a_frame(join):
    client = join(connect=False)
    commands = [client.command("connect"), client.command("subscribe", channel="news:a"),
                client.command("presence_stats", channel="news:a"),
                client.command("rpc", method="add", data=[1, 2])]
    client.send(*commands)
    replies = {}
    while len(replies) < 4:
        found = client.next()
        if "id" in found:
            replies[found["id"]] = found
    assert replies[3]["presence_stats"] == {"num_clients": 1, "num_users": 1}
    assert replies[4]["rpc"] == {"data": 3}
    client.send(*[client.command("rpc", method="add", data=[number]) for number in range(3)])
    lines = client.socket.message().split("\n")
    while "join" in lines[0]:
        lines = client.socket.message().split("\n")
    assert [json.loads(line)["rpc"]["data"] for line in lines] == [0, 1, 2]


def test_more_replies_than_a_frame_should_hold_come_in_several(site, join):
    for number in range(8):
        site.push.publish("deep:a", "x" * 10_000)
    client = join()
    client.send(*[client.command("history", channel="deep:a", limit=-1) for _ in range(10)])
    sizes, numbers = [], []
    while len(numbers) < 10:
        text = client.socket.message()
        sizes.append(len(text))
        numbers += [json.loads(line)["id"] for line in text.split("\n")]
    assert numbers == list(range(2, 12))
    assert max(sizes) < 200_000


def test_who_does_not_read_its_replies_is_not_answered_on():
    with serving(settings={"max_outbox": 200_000}) as site:
        for number in range(9):
            site.push.publish("deep:a", "x" * 10_000)
        calls = []
        history = site.push.history

        def counted(*args):
            calls.append(args)
            return history(*args)

        site.push.history = counted
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            client.send(*[{"id": number, "history": {"channel": "deep:a", "limit": -1}}
                          for number in range(2, 1002)])
            wait_until(lambda: not site.push.ids())
        del site.push.history
    assert 2 < len(calls) < 900


@pytest.mark.parametrize("text, code", [
    ("{", 3501), ("[]", 3501), ("", 3501), ("null", 3501), ('{"id":2}', 3501), ("[" * 50_000, 3501),
    ('{"id":2,"what":{}}', 3501), ('{"id":-1,"rpc":{}}', 3501), ('{"id":"2","rpc":{}}', 3501),
    ('{"rpc":{}}', 3501), ('{"id":2,"rpc":[]}', 3501), ('{"id":2,"rpc":{"method":5}}', 3501),
    ('{"id":2,"subscribe":{}}', 3501), ('{"id":2,"subscribe":{"channel":7}}', 3501),
    ('{"id":2,"subscribe":{"channel":"open:a","offset":-1,"recover":true}}', 3501),
    ('{"id":2,"subscribe":{"channel":"open:a","offset":true,"recover":true}}', 3501),
    ('{"id":2,"subscribe":{"channel":"open:a","recover":"yes"}}', 3501),
    ('{"id":2,"publish":{"channel":"open:a","data":NaN}}', 3501), ('{"id":2,"connect":{}}', 3501),
    ('{"id":2,"history":{"channel":"deep:a","since":5}}', 3501), ('{}\n\n{}', 3501),
    ('{"id":2,"refresh":{"token":"x"}}', 3501), ('{"id":2,"history":{"channel":""}}', 3501),
    ('{"id":99999999999,"rpc":{}}', 3501)])
def test_what_is_malformed_ends_this_connection_and_no_other(shared, text, code):
    with RawClient(shared, PATH + "?Id=1") as other, RawClient(shared, PATH + "?Id=42") as client:
        other.connect()
        client.connect()
        client.text(text)
        assert client.closing()[0] == code
        assert other.call("rpc", method="add", data=[5]) == {"data": 5}


@pytest.mark.parametrize("text", ['{"id":1,"subscribe":{"channel":"open:a"}}', "{}", "{",
                                  '{"send":{"data":1}}'])
def test_a_command_before_connect_is_a_bad_request(shared, text):
    with RawClient(shared, PATH + "?Id=42") as client:
        client.text(text)
        assert client.closing() == (3501, "bad request")


def test_a_frame_that_is_too_large_is_1009_and_a_binary_one_3506(shared):
    with RawClient(shared, PATH + "?Id=42") as client:
        client.text(" " * 70_000)
        assert client.close_code() == 1009
    with RawClient(shared, PATH + "?Id=42") as client:
        client.socket.send(0x82, b"\x01\x02")
        assert client.closing() == (3506, "inappropriate protocol")


def test_who_does_not_connect_in_time_is_stale():
    with serving(settings={"connect_timeout": 0.1}) as site:
        with RawClient(site, PATH + "?Id=42", behind=CONNECT) as client, \
                RawClient(site, PATH + "?Id=42") as idle:
            assert client.reply(1)["connect"]
            assert idle.closing() == (3502, "stale")
            assert client.call("rpc", method="add", data=[5]) == {"data": 5}


def test_who_has_not_connected_is_told_nothing(site, join):
    waiting, client = join(connect=False), join()
    site.push.send("42", "for those who have")
    site.push.broadcast({"all": 1})
    got = [client.push()["message"]["data"] for _ in range(2)]
    assert got == ["for those who have", {"all": 1}]
    assert waiting.connect()["client"]
    assert not waiting.pushes


def test_an_anonymous_client_may_connect_where_the_handler_says_so(join):
    client = join(Id=None)
    assert client.connected["client"]
    assert client.call("subscribe", channel="open:a") == {}
    assert client.call("publish", channel="news:a", data=1) == 103
    refused = join(Id=None, connect=False, path="/connection/strict")
    refused.send(refused.command("connect"))
    assert refused.closing() == (3500, "invalid token")


# Pings

def test_the_server_pings_with_an_empty_reply_and_hears_the_pong():
    with serving(settings={"ping_interval": 0.1, "pong_timeout": PATIENCE}) as site:
        with RawClient(site, PATH + "?Id=42") as client:
            assert client.connect()["ping"] == 1

            def is_pinged():
                assert client.call("rpc", method="add", data=[1]) == {"data": 1}
                return client.pings >= 3

            wait_until(is_pinged, what="being pinged though it is never silent")


def test_who_answers_no_ping_is_closed_with_3012():
    with serving(settings={"ping_interval": 0.1, "pong_timeout": 0.3}) as site:
        with RawClient(site, PATH + "?Id=1", behind=CONNECT) as silent:
            silent.answers_pings = False
            assert silent.close_code() == 3012


# Channels

def test_who_subscribes_receives_what_follows(site, join):
    client = join()
    result = client.call("subscribe", channel="news:a")
    assert result["recoverable"] is result["positioned"] is True and result["epoch"]
    assert not {"offset", "recovered", "was_recovering", "publications"} & set(result)
    client.push()   # its own join
    position = site.push.publish("news:a", {"n": 1})
    site.push.publish("news:a", "text", tags={"kind": "b"})
    site.push.publish("news:a", b"\xff\x00")
    assert client.publication("news:a") == {"data": {"n": 1}, "offset": 1}
    assert client.publication("news:a") == {"data": "text", "offset": 2, "tags": {"kind": "b"}}
    assert client.publication("news:a") == {"data": "/wA=", "offset": 3}
    assert position == (1, result["epoch"])


def test_a_channel_without_memory_has_no_positions(site, join):
    client = join()
    assert client.call("subscribe", channel="open:a") == {}
    assert site.push.publish("open:a", [1]) == (0, "")
    assert client.publication("open:a") == {"data": [1]}
    assert client.call("subscribe", channel="open:b", recover=True, offset=5, epoch="x") == {
        "was_recovering": True}


def test_what_may_not_be_is_refused_with_its_error(join):
    client = join()
    assert client.call("subscribe", channel="unknown") == 103
    assert client.call("subscribe", channel="x" * 256) == 107
    assert client.call("subscribe", channel="private:a") == 103
    assert client.call("subscribe", channel="private:a", token="x") == 103
    assert client.call("subscribe", channel="own:43") == 103
    assert client.call("subscribe", channel="own:42") == {}
    assert client.call("subscribe", channel="own:42") == 105
    assert client.call("subscribe", channel="broken:a") == 100
    assert client.call("publish", channel="open:a", data=1) == 103
    assert client.call("publish", channel="news:a") == 107
    assert client.call("presence", channel="news:a") == 103
    assert client.call("presence_stats", channel="news:a") == 103
    assert client.call("history", channel="news:a") == 103
    assert client.call("history", channel="open:a") == 103
    assert client.call("sub_refresh", channel="open:a", token="x") == 103
    assert client.call("ping") == 108


def test_half_a_surrogate_pair_is_an_error_for_its_sender_only(join, caplog):
    client, other = join(), join("43")
    for name in ("subscribe", "unsubscribe", "history", "presence", "presence_stats"):
        assert client.call(name, channel="open:\ud800") == 107
    assert client.call("publish", channel="open:\ud800", data=1) == 107
    assert client.call("rpc", method="echo", data="\ud800") == 100
    assert client.call("rpc", method="echo error", data="\ud800") == 100
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    assert other.call("subscribe", channel="open:\U0001f600") == {}
    assert not any(record.exc_info for record in caplog.records)


def test_a_connection_may_be_in_a_number_of_channels(join):
    client = join()
    for number in range(128):
        assert client.call("subscribe", channel=f"open:{number}") == {}
    assert client.call("subscribe", channel="open:one more") == 106
    assert client.call("unsubscribe", channel="open:5") == {}
    assert client.call("subscribe", channel="open:one more") == {}


def test_who_unsubscribes_receives_no_more(site, join):
    client = join()
    client.call("subscribe", channel="open:a")
    assert client.call("unsubscribe", channel="open:a") == {}
    assert client.call("unsubscribe", channel="open:a") == {}
    site.push.publish("open:a", "not for you")
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    assert not client.pushes
    assert site.push.channels() == {}


def test_a_client_publishes_to_all_protocols_and_is_named_as_the_publisher(site, join):
    class Plain:
        """A plain client beside it."""

    writer, reader = join("1"), join("2")
    with site.client("/websocket?Id=3") as plain:
        connection, = site.push.connections("3")
        connection.subscribe("open:a")
        for client in (writer, reader):
            client.call("subscribe", channel="open:a")
        assert writer.call("publish", channel="open:a", data={"é": ["\n", 1.5]}) == {}
        got = [client.publication("open:a") for client in (writer, reader)]
        assert got[0] == got[1] == {"data": {"é": ["\n", 1.5]},
                                    "info": {"user": "1", "client": writer.connected["client"]}}
        assert json.loads(plain.message()) == {"é": ["\n", 1.5]}


def test_presence_shows_who_is_there_and_joins_and_leaves_are_told(site, join):
    ann, bob = join("ann"), join("bob")
    ann.call("subscribe", channel="news:a")
    one = {"user": "ann", "client": ann.connected["client"]}
    two = {"user": "bob", "client": bob.connected["client"]}
    assert ann.push() == {"channel": "news:a", "join": {"info": one}}
    bob.call("subscribe", channel="news:a")
    assert ann.push() == bob.push() == {"channel": "news:a", "join": {"info": two}}
    assert ann.call("presence", channel="news:a") == {
        "presence": {one["client"]: one, two["client"]: two}}
    assert ann.call("presence_stats", channel="news:a") == {"num_clients": 2, "num_users": 2}
    assert {info.user for info in site.push.presence("news:a").values()} == {"ann", "bob"}
    bob.call("unsubscribe", channel="news:a")
    assert ann.push() == {"channel": "news:a", "leave": {"info": two}}
    assert ann.call("presence_stats", channel="news:a") == {"num_clients": 1, "num_users": 1}


def test_more_clients_than_fit_a_reply_are_an_error_and_not_looked_at(monkeypatch):
    with serving(settings={"max_outbox": 2000}) as site:
        with RawClient(site, PATH + "?Id=42") as client, RawClient(site, PATH + "?Id=43") as other:
            client.connect()
            other.connect()
            client.call("subscribe", channel="news:a")
            assert len(client.call("presence", channel="news:a")["presence"]) == 1
            with monkeypatch.context() as patch:
                patch.setattr(site.push, "presence",
                              lambda channel: {str(number): None for number in range(17)})
                assert client.call("presence", channel="news:a") == 106
            connection, = site.push.connections("43")
            connection.info = "x" * 1000
            other.call("subscribe", channel="news:a")
            assert client.call("presence", channel="news:a") == 106


def test_a_reload_is_neither_told_as_a_leave_nor_as_a_join(site, join):
    watcher, ann = join("watcher"), join("ann")
    for client in (watcher, ann):
        client.call("subscribe", channel="news:a")
    watcher.push(), watcher.push()
    vanish(ann)
    wait_until(lambda: site.push._exchange.next_departure() is not None)
    again = join("ann")
    again.call("subscribe", channel="news:a")
    site.push.publish("news:a", "end")
    assert watcher.publication("news:a")["data"] == "end"
    clients = {info.client for info in site.push.presence("news:a").values()}
    assert again.connected["client"] in clients and len(clients) == 2


def test_who_vanishes_has_left_after_its_linger():
    rules = (ChannelRule("news:", join_leave=True, linger=0.1),)
    with serving(plugin={"channels": rules}) as site:
        with RawClient(site, PATH + "?Id=watcher") as watcher:
            watcher.connect()
            watcher.call("subscribe", channel="news:a")
            with RawClient(site, PATH + "?Id=ann") as ann:
                ann.connect()
                ann.call("subscribe", channel="news:a")
                watcher.push(), watcher.push()
            assert watcher.push()["leave"]["info"]["user"] == "ann"
            assert site.push.presence_stats("news:a") == (1, 1)


def test_history_is_read_in_pages_both_ways(site, join):
    client = join()
    for number in range(1, 16):
        top = site.push.publish("news:a", number)
    client.call("subscribe", channel="news:a")
    client.push()

    def history(**request):
        found = client.call("history", channel="news:a", **request)
        if isinstance(found, int):
            return found
        assert (found["offset"], found["epoch"]) == top
        return [(one["offset"], one["data"]) for one in found["publications"]]

    def numbers(*found):
        return [(number, number) for number in found]

    assert history() == history(limit=0) == []
    assert history(limit=-1) == numbers(*range(6, 16))
    assert history(limit=2) == numbers(6, 7)
    assert history(limit=2, reverse=True) == numbers(15, 14)
    since = {"offset": 8, "epoch": top.epoch}
    assert history(limit=2, since=since) == numbers(9, 10)
    assert history(limit=5, since=since, reverse=True) == numbers(7, 6)
    assert history(limit=5, since={"offset": 2, "epoch": top.epoch}) == 112
    assert history(limit=5, since={"offset": 8, "epoch": "old"}) == 112
    assert history(limit=5, since={"offset": 99, "epoch": top.epoch}) == 112


def test_a_history_that_fits_no_reply_comes_in_parts():
    with serving(settings={"max_outbox": 10_000}) as site:
        for number in range(50):
            site.push.publish("deep:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            found, since = [], None
            while True:
                page = client.call("history", channel="deep:a", limit=-1,
                                   **({"since": since} if since else {}))
                if not page["publications"]:
                    break
                found += [one["offset"] for one in page["publications"]]
                since = {"offset": found[-1], "epoch": page["epoch"]}
            assert found == list(range(1, 51))


def test_a_publication_that_fits_no_reply_is_an_error(caplog):
    with serving(settings={"max_outbox": 10_000}) as site:
        site.push.publish("deep:a", "small")
        site.push.publish("deep:a", "\x01" * 5000)  # six times as long in JSON
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            page = client.call("history", channel="deep:a", limit=-1)
            assert [one["data"] for one in page["publications"]] == ["small"]
            since = {"offset": 1, "epoch": page["epoch"]}
            assert client.call("history", channel="deep:a", limit=-1, since=since) == 106
            assert client.call("history", channel="deep:a")["offset"] == 2
    assert not any(record.exc_info for record in caplog.records)


# Recovery

def position(result):
    return {"offset": result.get("offset", 0), "epoch": result["epoch"]}


def test_what_was_missed_comes_with_the_subscription(site, join):
    client = join()
    at = position(client.call("subscribe", channel="deep:a"))
    client.close()
    for number in range(1000):
        site.push.publish("deep:a", number)
    again = join()
    result = again.call("subscribe", channel="deep:a", recover=True, **at)
    assert result["recovered"] is result["was_recovering"] is True
    assert [one["data"] for one in result["publications"]] == list(range(1000))
    assert [one["offset"] for one in result["publications"]] == list(range(1, 1001))
    assert result.get("offset", 0) == at["offset"]
    site.push.publish("deep:a", "next")
    assert again.publication("deep:a") == {"data": "next", "offset": 1001}


def test_what_is_lost_is_said_to_be_lost(site, join):
    client = join()
    at = position(client.call("subscribe", channel="news:a"))
    client.close()
    for number in range(20):
        top = site.push.publish("news:a", number)
    for asked in (at, {"offset": 15, "epoch": "old"}, {"offset": 99, "epoch": top.epoch},
                  {"offset": 15}, {}):
        result = join().call("subscribe", channel="news:a", recover=True, **asked)
        assert result["was_recovering"] is True and "recovered" not in result
        assert "publications" not in result
        assert position(result) == {"offset": 20, "epoch": top.epoch}


def test_what_is_lost_is_an_error_where_the_client_wants_it_so(site, join):
    client = join()
    at = position(client.call("subscribe", channel="news:a"))
    client.call("unsubscribe", channel="news:a")
    for number in range(20):
        top = site.push.publish("news:a", number)
    for flag in (2, 3):
        assert client.call("subscribe", channel="news:a", recover=True, flag=flag, **at) == 112
    assert site.push.channels() == {}
    asked = {"recover": True, "flag": 3, "offset": 15, "epoch": top.epoch}
    result = client.call("subscribe", channel="news:a", **asked)
    assert result["recovered"] and len(result["publications"]) == 5
    assert "was_recovering" not in client.call("subscribe", channel="open:a", flag=3)
    client.send(client.command("subscribe", channel="open:b", flag="3"))
    assert client.close_code() == 3501


def test_more_than_fits_a_reply_is_said_to_be_lost():
    with serving(settings={"max_outbox": 20_000}) as site:
        first = site.push.publish("deep:a", "x" * 1000)
        for _ in range(20):
            site.push.publish("deep:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            result = client.call("subscribe", channel="deep:a", recover=True, offset=1,
                                 epoch=first.epoch)
            assert "recovered" not in result and result["offset"] == 21


def test_a_channel_from_the_start_comes_with_connect_and_recovers(site, join):
    client = join(data="start")
    at = position(client.connected["subs"]["news:start"])
    vanish(client)
    wait_until(lambda: site.push._exchange.next_departure() is not None)  # else both have joined
    site.push.publish("news:start", "missed")
    again = join(data="start", subs={"news:start": {"recover": True, **at},
                                     "news:unknown": {"recover": True}})
    result, = again.connected["subs"].values()
    assert result["recovered"] and [one["data"] for one in result["publications"]] == ["missed"]
    site.push.publish("news:start", "live")
    assert again.publication("news:start") == {"data": "live", "offset": 2}
    assert again.call("subscribe", channel="news:start") == 105


def test_the_tools_channels_are_there_from_the_start(join):
    client = join(path="/connection/strict")
    assert set(client.connected["subs"]) == {"news:tool", "open:tool"}


def test_the_site_subscribes_and_unsubscribes_its_clients(site, join):
    client = join()
    connection, = site.push.connections("42")
    assert site.push.subscribe_id("42", "news:a") == 1
    assert site.push.subscribe_id("42", "news:a") == 0
    push = client.push()
    assert push["channel"] == "news:a" and push["subscribe"]["recoverable"]
    assert client.push()["join"]
    site.push.publish("news:a", "x")
    assert client.publication("news:a") == {"data": "x", "offset": 1}
    assert site.push.unsubscribe_id("42", "news:a") == 1
    assert not connection.unsubscribe("news:a")
    assert client.push() == {"channel": "news:a",
                             "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}


@pytest.mark.parametrize("channel", ["deep:a", "deep:b"])
def test_under_a_flood_with_cuts_every_subscriber_has_all_once_and_in_order(site, channel):
    """Threads publish without a pause while clients come, read a little and are cut."""
    total, done = 4000, threading.Event()

    def publish(start):
        for number in range(start, total, 2):
            site.push.publish(channel, number)
            if number % 64 < 2:
                time.sleep(0.002)
        done.set()

    with RawClient(site, PATH + "?Id=first") as client:
        client.connect()
        at = position(client.call("subscribe", channel=channel))
    publishers = [threading.Thread(target=publish, args=(start,)) for start in (0, 1)]
    logs = [[] for _ in range(3)]

    def follow(log, patience):
        here = dict(at)

        def read(publication):
            log.append((publication["offset"], publication["data"]))
            here["offset"] = publication["offset"]

        while here["offset"] < total:
            with RawClient(site, PATH + "?Id=follower") as client:
                client.connect()
                result = client.call("subscribe", channel=channel, recover=True, **here)
                assert result["recovered"], (here, result)
                for publication in result.get("publications", ()):
                    read(publication)
                for _ in range(patience):
                    if here["offset"] >= total:
                        break
                    read(client.publication(channel))

    followers = [threading.Thread(target=follow, args=(log, patience))
                 for log, patience in zip(logs, (7, 50, 333))]
    for thread in (*publishers, *followers):
        thread.start()
    for thread in (*publishers, *followers):
        thread.join(60)
    assert [offset for offset, _ in logs[0]] == list(range(1, total + 1))
    assert logs[0] == logs[1] == logs[2]
    assert sorted(data for _, data in logs[0]) == list(range(total))


# Calls and messages

def test_a_call_is_answered_by_the_site(join):
    client = join()
    assert client.call("rpc", method="add", data=[1, 2]) == {"data": 3}
    assert client.call("rpc", method="unknown", data=None) == 108
    assert client.call("rpc", method="own error") == 401
    assert client.call("rpc", method="fail") == 100
    assert client.call("rpc", method="unjson") == 100
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}


def test_an_error_can_be_temporary(join):
    client = join()
    command = client.command("rpc", method="own error")
    client.send(command)
    assert client.reply(command["id"])["error"] == {"code": 401, "message": "no",
                                                    "temporary": True}


def test_a_message_reaches_the_site_without_an_answer(join):
    client = join()
    Handler.heard.clear()
    client.send({"send": {"data": {"a": 1}}})
    assert client.call("rpc", method="add", data=[1]) == {"data": 1}
    assert Handler.heard == [{"a": 1}]
    deaf = join(path="/connection/strict")
    deaf.send({"send": {"data": 1}})
    assert deaf.closing() == (3508, "not available")


def test_the_site_sends_to_one_connection_and_closes_it(site, join):
    client = join()
    connection, = site.push.connections("42")
    connection.send({"only": "you"})
    assert client.push() == {"message": {"data": {"only": "you"}}}
    assert site.push.disconnect("42") == 1
    assert client.closing() == (3505, "disconnected by the site")


def test_a_client_that_asks_for_heartbeats_has_pings_and_gets_no_empty_messages(shared):
    with RawClient(shared, f"{PATH}?Id=42&heartbeat=5") as client:
        assert client.connect()["client"]
        client.send({})
        assert client.call("subscribe", channel="open:beat") == {}
