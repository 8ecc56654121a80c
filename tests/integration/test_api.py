"""The HTTP API over real HTTP: each method, each refusal, and what clients get of it."""
from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time

import cherrypy
import pytest
from cherrypy._cptree import Tree

from pushserver import CentrifugeConnection, ChannelRule, InvalidSetting, PushAPI, PushServer
from pushserver.calls import METHODS
from tests.api_client import KEY, Api
from tests.centrifuge_client import PATH, RawClient
from tests.support import Root, running_site, wait_until

SECOND_KEY = "another key that is long enough".replace(" ", "-")
RULES = (ChannelRule("news:", history=10, see_presence="subscribers"),
         ChannelRule("met:", see_presence="anyone", join_leave=True))


class Anonymous(CentrifugeConnection):
    anonymous = True


def root():
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Anonymous)
        def websocket(self, Id=None):
            """Accept everybody."""

    class Site(Root):
        connection = Connection()
    return Site()


@contextlib.contextmanager
def serving(keys=(KEY, SECOND_KEY), **options):
    """Serve a site with the API mounted as its documentation says."""
    tree = Tree()
    with running_site(tree, plugin={"channels": RULES}, **options.pop("site", {})) as site:
        tree.mount(root(), "/")
        tree.mount(PushAPI(site.push, keys=keys, **options), "/api")
        yield site


@pytest.fixture(scope="module")
def shared():
    """One site for the tests that leave nothing behind in it."""
    with serving() as site:
        yield site


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def api(site):
    return Api(site.port)


def user(site, Id="42"):
    """Return a client of a user, connected, and its name."""
    client = RawClient(site, f"{PATH}?Id={Id}")
    return client, client.connect()["client"]


# Who may

def test_every_key_opens_and_no_other_does(shared):
    for key in (KEY, SECOND_KEY):
        assert Api(shared.port, key).call("channels") == {"channels": {}}
    for key in ("", "x", KEY[:-1], KEY + "x", KEY.upper(), KEY + SECOND_KEY, "\xff" * 32, None):
        assert Api(shared.port, key).status("channels") == \
            (401, "no valid key: send one in the X-API-Key header")


def test_older_clients_show_their_key_in_authorization(shared):
    api = Api(shared.port, key=None)
    assert api.request("info", Authorization=f"apikey {KEY}")[0] == 200
    assert api.request("info", Authorization=f"ApiKey {KEY}")[0] == 200
    for value in (f"Bearer {KEY}", KEY, "apikey", "apikey ", f"apikey {KEY} x", "apikey wrong"):
        assert api.request("info", Authorization=value)[0] == 401, value
    assert api.request("info", X_API_Key="wrong", Authorization=f"apikey {KEY}")[0] == 401


def test_a_key_in_the_url_is_none(shared):
    assert Api(shared.port, key=None).request(f"info?api_key={KEY}")[0] == 401


def test_without_keys_the_api_is_off():
    with serving(keys=[]) as site:
        for method in METHODS:
            status, message = Api(site.port).status(method, "{}")
            assert (status, message[:19]) == (403, "the HTTP API is off")


@pytest.mark.parametrize("keys", ["a key", b"a key", None, 5, [""], [None], ["with space"],
                                  ["ümlaut"], ["new\nline"]])
def test_wrong_keys_are_refused_where_they_are_given_and_not_shown(keys):
    with pytest.raises(InvalidSetting) as raised:
        PushAPI(PushServer(), keys=keys)
    assert "ümlaut" not in str(raised.value)


def test_a_short_key_is_logged_without_being_shown(caplog):
    api = PushAPI(PushServer(), keys=["tiny-key"])
    assert "8 characters and can be guessed" in caplog.text
    assert "tiny-key" not in caplog.text + repr(api)


@pytest.mark.parametrize("size", [0, -1, True, "5", 1.5])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(InvalidSetting, match="max_body is .*: use bytes, 1 or more"):
        PushAPI(PushServer(), keys=[KEY], max_body=size)


# What concerns HTTP

@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_than_post_are_405(shared, method):
    status, headers, _ = Api(shared.port).request("info", method=method)
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["", "nothing", "info/more", "default", "_calls", "%2e%2e",
                                  "publish%2finfo", "keys"])
def test_unknown_paths_are_404(shared, path):
    status, message = Api(shared.port).status(path)
    assert (status, message[:23]) == (404, "there is no such method")


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"{}{}", b"\xff\xfe", b'{"data": NaN}',
                                  b"[" * 100_000, b'{"a": "' + b"\x01" + b'"}'])
def test_malformed_bodies_are_400(shared, body):
    status, message = Api(shared.port).status("publish", body)
    assert (status, message[:19]) == (400, "the body is no JSON")


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_told_so(shared, body):
    status, message = Api(shared.port).status("publish", body)
    assert status == 200 and message.endswith(": send an object")


@pytest.mark.parametrize("headers", [
    {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Type": "application/xml"},
    {"Content_Type": "application/json; charset=latin-1"}, {"Content_Encoding": "gzip"}])
def test_other_kinds_of_body_are_415(shared, headers):
    assert Api(shared.port).request("info", b"{}", **headers)[0] == 415


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8",
                                  "APPLICATION/JSON;charset=UTF-8", "text/plain",
                                  "application/x-www-form-urlencoded"])
def test_json_is_taken_under_the_names_that_clients_give_it(shared, kind):
    assert Api(shared.port).request("channels", b"{}", Content_Type=kind)[0] == 200


def test_bodies_over_the_limit_are_413():
    with serving(max_body=1000) as site:
        api = Api(site.port)
        fits = json.dumps({"channel": "c", "data": ""}).encode()
        fits = fits[:-2] + b"x" * (1000 - len(fits)) + fits[-2:]
        assert api.request("publish", fits)[0] == 200
        assert api.request("publish", fits + b" ")[0] == 413
        chunks = (b" " * 100 for _ in range(11))
        status, _, body = api.request("publish", chunks)
        assert status == 413 and b"send at most 1000 bytes" in body


def test_a_chunked_body_is_read(shared):
    status, _, body = Api(shared.port).request("channels", iter([b"{", b"}"]))
    assert (status, json.loads(body)) == (200, {"result": {"channels": {}}})


def raw(site, *lines):
    """Send a request as it stands; return all that comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_the_body_of_who_has_no_key_is_not_waited_for(shared):
    answer = raw(shared, "POST /api/publish HTTP/1.1", "Host: x", "Content-Length: 50000000")
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = raw(shared, "POST /api/publish HTTP/1.1", "Host: x", f"X-API-Key: {KEY}",
                 "Content-Length: 50000000")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_connection_serves_many_calls(shared):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        sock = connection.sock
        for _ in range(3):
            connection.request("POST", "/api/info", "{}", {"X-API-Key": KEY})
            assert connection.getresponse().read()
        assert connection.sock is sock


# Publishing

def test_published_data_reaches_both_kinds_of_clients(site, api):
    plain = site.client("/websocket?Id=42")
    client, _ = user(site)
    with plain, client:
        assert api.call("subscribe", user="42", channel="news:1") == {}
        assert client.push()["channel"] == "news:1"
        for number, data in enumerate(({"a": [1, "é"]}, "text", 5, False, [], ""), 1):
            answer = api.call("publish", channel="news:1", data=data)
            assert answer == {"offset": number, "epoch": site.push.history("news:1").top.epoch}
            assert client.publication("news:1") == {"data": data, "offset": number}
            expected = data if isinstance(data, str) else json.dumps(
                data, separators=(",", ":"), ensure_ascii=False)
            assert plain.message() == expected
        api.call("publish", channel="news:1", b64data="AP8=", tags={"kind": "bytes"})
        assert client.publication("news:1") == {"data": "AP8=", "offset": 7,
                                                "tags": {"kind": "bytes"}}
        assert plain.message() == b"\0\xff"


def test_a_channel_that_remembers_nothing_gives_no_position(shared):
    assert Api(shared.port).call("publish", channel="fleeting", data=1) == {}


def test_skip_history_delivers_and_forgets(site, api):
    client, _ = user(site)
    with client:
        client.call("subscribe", channel="news:skip")
        assert api.call("publish", channel="news:skip", data=1)["offset"] == 1
        assert api.call("publish", channel="news:skip", data=2, skip_history=True) == {}
        assert api.call("publish", channel="news:skip", data=3)["offset"] == 2
        assert [client.publication("news:skip") for _ in range(3)] == [
            {"data": 1, "offset": 1}, {"data": 2}, {"data": 3, "offset": 2}]
        held = api.call("history", channel="news:skip", limit=-1)["publications"]
        assert [one["data"] for one in held] == [1, 3]


def test_a_key_publishes_once_for_each_channel(site, api):
    client, _ = user(site)
    with client:
        client.call("subscribe", channel="news:a")
        first = api.call("publish", channel="news:a", data=1, idempotency_key="k")
        assert api.call("publish", channel="news:a", data=2, idempotency_key="k") == first
        other = api.call("publish", channel="news:b", data=3, idempotency_key="k")
        assert other["epoch"] != first["epoch"]
        assert api.call("publish", channel="news:a", data=4, idempotency_key="l")["offset"] == 2
        assert [client.publication("news:a")["data"] for _ in range(2)] == [1, 4]


def test_a_broadcast_answers_for_each_channel(site, api):
    found = api.call("broadcast", channels=["news:x", "plain", "", "c" * 256], data=1)
    first, second, third, fourth = found["responses"]
    assert first["result"]["offset"] == 1
    assert second == {"result": {}}
    assert third["error"]["code"] == fourth["error"]["code"] == 107


@pytest.mark.parametrize("method, request_, message", [
    ("publish", {}, "channel is missing: give it"),
    ("publish", {"channel": "c"}, "data is missing: give what is to be published"),
    ("publish", {"channel": "c", "data": None}, "data is missing"),
    ("publish", {"channel": 5, "data": 1}, "channel is a number: use text"),
    ("publish", {"channel": "c", "date": 1}, "there is no field 'date': use channel, data"),
    ("publish", {"channel": "c", "data": 1, "delta": True}, "delta is not supported here"),
    ("publish", {"channel": "c", "data": 1, "tags": {"a": 1}}, "tags have a value"),
    ("publish", {"channel": "c", "data": 1, "idempotency_key": "k" * 256}, "use at most 255"),
    ("publish", {"channel": "c", "data": 1, "skip_history": "yes"}, "use true or false"),
    ("publish", {"channel": "\ud800", "data": 1}, "half of a surrogate pair"),
    ("publish", {"channel": "c", "data": "\ud800"}, "text that UTF-8 cannot hold"),
    ("publish", {"channel": "c", "data": "x" * (1 << 20)}, "send at most 1048576"),
    ("broadcast", {"data": 1}, "channels: give a list of 1 to 10000 names"),
    ("broadcast", {"channels": "c", "data": 1}, "channels is text: use a list of text"),
    ("subscribe", {"channel": "c"}, "user is missing: give it"),
    ("subscribe", {"user": "42"}, "channel is missing: give it"),
    ("subscribe", {"user": "42", "channel": "c", "session": "x"}, "session is not supported"),
    ("subscribe", {"user": "42", "channel": "c", "b64info": "AA=="}, "use info and data"),
    ("subscribe", {"user": "42", "channel": "c", "recover_since": 5}, "use an object"),
    ("unsubscribe", {"user": "42"}, "channel is missing: give it"),
    ("unsubscribe", {"channel": "c"}, "user is missing: give it"),
    ("disconnect", {}, "user is missing: give it"),
    ("disconnect", {"user": "42", "disconnect": {"code": 1005}}, "cannot be sent"),
    ("disconnect", {"user": "42", "disconnect": {"code": 3000, "reason": "x" * 124}}, "at most"),
    ("disconnect", {"user": "42", "whitelist": "x"}, "whitelist is text: use a list of text"),
    ("refresh", {"user": "42", "expire_at": -1}, "expire_at is -1"),
    ("refresh", {}, "user is missing: give it"),
    ("presence", {}, "channel is missing: give it"),
    ("presence_stats", {"channel": ["c"]}, "channel is a list: use text"),
    ("history", {"channel": "news:1", "limit": "5"}, "limit is text: use a whole number"),
    ("history", {"channel": "news:1", "since": {"offset": "5"}}, "offset is text"),
    ("history_remove", {}, "channel is missing: give it"),
    ("channels", {"pattern": "{a,b}"}, r"pattern has a character that means nothing here"),
    ("info", {"verbose": True}, "there is no field 'verbose': use none"),
    ("batch", {"commands": {}}, "commands: give a list"),
    ("batch", {"commands": [], "parallel": 1}, "parallel is a number")])
def test_what_is_wrong_with_a_request_is_said_in_one_line(shared, method, request_, message):
    status, _, body = Api(shared.port).request(method, json.dumps(request_))
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (200, 107)
    assert message in error["message"] and "\n" not in error["message"]


def test_errors_have_a_status_where_the_caller_wants_it(shared):
    api = Api(shared.port)
    options = {"X_Centrifugo_Error_Mode": "transport"}
    for method, request, status, code in (
            ("publish", {}, 400, 107), ("history", {"channel": "c"}, 400, 108),
            ("history", {"channel": "news:1", "since": {"offset": 9, "epoch": "?"}}, 416, 112)):
        found = api.request(method, json.dumps(request), **options)
        assert (found[0], json.loads(found[2])["code"]) == (status, code)


def test_what_fails_inside_is_logged_and_not_told(site, api, monkeypatch, caplog):
    monkeypatch.setattr(site.push, "channels", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "pushserver"):
        assert api.error("channels") == (100, "internal server error: see the site's log")
    assert "ZeroDivisionError" in caplog.text


# Users

def test_subscribing_tells_the_client_with_all_that_was_missed(site, api):
    for number in range(5):
        position = site.push.publish("news:s", number)
    client, name = user(site)
    other, _ = user(site)
    with client, other:
        assert api.call("subscribe", user="42", client=name, channel="news:s", info={"role": "x"},
                        data={"hello": 1},
                        recover_since={"offset": 2, "epoch": position.epoch}) == {}
        told = client.push()
        assert told["channel"] == "news:s"
        assert told["subscribe"] == {"data": {"hello": 1}, "recoverable": True, "positioned": True,
                                     "offset": 2, "epoch": position.epoch}
        assert [client.publication("news:s") for _ in range(3)] == [
            {"data": number, "offset": number + 1} for number in (2, 3, 4)]
        found = api.call("presence", channel="news:s")["presence"]
        assert found == {name: {"user": "42", "client": name, "chan_info": {"role": "x"}}}
        assert site.push.channels() == {"news:s": 1}
        assert api.call("subscribe", user="42", channel="news:s") == {}
        assert other.push()["subscribe"]["offset"] == 5
        assert api.call("presence_stats", channel="news:s") == {"num_clients": 2, "num_users": 1}


def test_what_cannot_be_recovered_is_not_pushed(site, api):
    site.push.publish("news:s", 0)
    client, name = user(site)
    with client:
        api.call("subscribe", user="42", channel="news:s", data=0,
                 recover_since={"offset": 1, "epoch": "another"})
        assert client.push()["subscribe"]["offset"] == 1
        api.call("subscribe", user="42", channel="fleeting", data=0)
        assert client.push()["subscribe"] == {"data": 0}
        site.push.publish("news:s", 1)
        assert client.publication("news:s")["data"] == 1


def test_unsubscribing_tells_the_client(site, api):
    client, name = user(site)
    with client, site.client("/websocket?Id=42") as plain:
        api.call("subscribe", user="42", channel="met:1")
        assert client.push()["channel"] == "met:1"
        wait_until(lambda: site.push.channels() == {"met:1": 2})
        assert api.call("unsubscribe", user="42", channel="met:1") == {}
        pushes = iter(client.push, None)
        told = next(push for push in pushes if "unsubscribe" in push)
        assert told["unsubscribe"]["code"] == 2000
        assert site.push.channels() == {}
        assert api.call("unsubscribe", user="nobody", channel="met:1") == {}
        site.push.send("42", "still there")
        while plain.message() != "still there":
            pass


def test_one_client_of_a_user_is_disconnected_or_all_but_some(site, api):
    clients = [user(site) for _ in range(3)]
    try:
        (first, first_name), (second, second_name), (third, _) = clients
        assert api.call("disconnect", user="42", client=first_name) == {}
        assert first.closing() == (3505, "disconnected by the site")
        api.call("disconnect", user="42", whitelist=[second_name],
                 disconnect={"code": 4100, "reason": "later"})
        assert third.closing() == (4100, "later")
        assert second.call("presence_stats", channel="met:1")["num_clients"] == 0
        assert api.call("disconnect", user="else", client=second_name) == {}
        assert api.call("disconnect", user="", client=second_name) == {}
        assert second.closing()[0] == 3505
    finally:
        for client, _ in clients:
            client.close()


def test_a_refresh_sets_when_connections_end(site, api):
    client, name = user(site)
    with client, site.client("/websocket?Id=42") as plain:
        assert api.call("refresh", user="42", expire_at=int(time.time()) + 3600) == {}
        assert api.call("refresh", user="42") == {}
        assert api.call("refresh", user="42", client=name, expire_at=1) == {}
        assert client.closing()[0] == 3005
        assert api.call("refresh", user="42", expired=True) == {}
        assert plain.close_code() == 3005


# Channels

def test_history_is_paged_from_both_ends(site, api):
    for number in range(1, 13):
        top = site.push.publish("news:h", number)
    position = {"offset": top.offset, "epoch": top.epoch}

    def numbers(**request):
        found = api.call("history", channel="news:h", **request)
        assert {name: found[name] for name in position} == position
        return [one["data"] for one in found["publications"]]

    assert numbers() == []
    assert numbers(limit=-1) == list(range(3, 13))
    assert numbers(limit=3) == [3, 4, 5]
    assert numbers(limit=3, reverse=True) == [12, 11, 10]
    assert numbers(limit=3, since={**position, "offset": 5}) == [6, 7, 8]
    assert numbers(limit=3, reverse=True, since={**position, "offset": 5}) == [4, 3]
    for lost in ({**position, "offset": 1}, {"offset": 5, "epoch": "?"}):
        assert api.error("history", channel="news:h", limit=1, since=lost)[0] == 112


def test_history_can_be_removed_and_offsets_go_on(site, api):
    api.call("publish", channel="news:r", data=1)
    assert api.call("history_remove", channel="news:r") == {}
    found = api.call("history", channel="news:r", limit=-1)
    assert (found["publications"], found["offset"]) == ([], 1)


@pytest.mark.parametrize("method", ["history", "history_remove"])
def test_a_channel_that_remembers_nothing_has_no_history(shared, method):
    code, message = Api(shared.port).error(method, channel="fleeting")
    assert code == 108 and "ChannelRule" in message


def test_channels_and_info_tell_who_is_there(site, api):
    client, _ = user(site)
    with client, site.client("/websocket?Id=7"), RawClient(site) as anonymous:
        anonymous.connect()
        for Id, channel in (("42", "met:1"), ("7", "met:1"), ("42", "news:1")):
            api.call("subscribe", user=Id, channel=channel)
        everything = {"met:1": {"num_clients": 2}, "news:1": {"num_clients": 1}}
        assert api.call("channels")["channels"] == everything
        for pattern, names in (("met:*", ["met:1"]), ("*", ["met:1", "news:1"]), ("me", []),
                               ("?????1", ["news:1"]), ("[mx]et:1", ["met:1"])):
            assert list(api.call("channels", pattern=pattern)["channels"]) == names
        node, = api.call("info")["nodes"]
        assert (node["num_clients"], node["num_users"], node["num_channels"],
                node["num_subs"]) == (3, 3, 2, 3)
        assert node["version"].startswith("pushserver ") and node["uid"] and node["name"]


# Batches

def test_a_batch_answers_each_command_in_order(site, api):
    found = api.call("batch", commands=[
        {"publish": {"channel": "news:1", "data": 1}}, {"publish": {"channel": ""}},
        {"batch": {"commands": []}}, {"nothing": {}}, {}, 5, None, {"info": {}, "channels": {}},
        {"publish": None}, {"presence_stats": {"channel": "news:1"}}], parallel=True)
    replies = found["replies"]
    assert replies[0]["publish"]["offset"] == 1
    assert [reply["error"]["code"] for reply in replies[1:-1]] == \
        [107, 104, 104, 107, 107, 107, 107, 107]
    assert replies[-1] == {"presence_stats": {"num_clients": 0, "num_users": 0}}


def test_many_threads_publish_each_once(site):
    threads, each = 8, 25

    def publish(number):
        api = Api(site.port)
        for index in range(each):
            api.call("publish", channel="news:many", data=[number, index])

    workers = [threading.Thread(target=publish, args=(number,)) for number in range(threads)]
    client, _ = user(site)
    with client:
        client.call("subscribe", channel="news:many")
        for worker in workers:
            worker.start()
        got = [client.publication("news:many") for _ in range(threads * each)]
        for worker in workers:
            worker.join()
    assert [one["offset"] for one in got] == list(range(1, threads * each + 1))
    for number in range(threads):
        assert [index for who, index in (one["data"] for one in got) if who == number] == \
            list(range(each))
