"""Centrifugo's JSON protocol: connecting, frames of commands, pings."""
from __future__ import annotations

import json

import pytest

from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import CONNECT, serving
from tests.support.waiting import PATIENCE, wait_until


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
    with serving(settings={"max_outbox": 200_000, "pong_timeout": 0.3}) as site:
        for number in range(9):
            site.push.publish("deep:a", "x" * 10_000)
        calls = []
        history = site.push._node.history

        def counted(*args):
            calls.append(args)
            return history(*args)

        site.push._node.history = counted
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            client.send(*[{"id": number, "history": {"channel": "deep:a", "limit": -1}}
                          for number in range(2, 1002)])
            wait_until(lambda: not site.push.ids())
        del site.push._node.history
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
    assert refused.closing() == (3500, "invalid token: none was sent")


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


def test_a_client_that_asks_for_heartbeats_has_pings_and_gets_no_empty_messages(shared):
    with RawClient(shared, f"{PATH}?Id=42&heartbeat=5") as client:
        assert client.connect()["client"]
        client.send({})
        assert client.call("subscribe", channel="open:beat") == {}
