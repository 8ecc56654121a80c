"""The HTTP API: publishing, what channels remember, and batches."""
from __future__ import annotations

import json
import threading

import pytest

from pushserver.api import patience
from pushserver.api.methods import MAX_COMMANDS
from tests.support.api_client import Api
from tests.support.api_site import user
from tests.support.centrifuge_client import RawClient


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


def test_what_is_null_in_a_command_is_not_there(api):
    found = api.call("batch", commands=[
        {"publish": {"channel": "c", "data": 1}, "presence": None}, {"info": None}])
    assert found["replies"] == [{"publish": {}}, {"error": {
        "code": 107, "message": 'a command has one method: send {"publish": {...}}'}}]


def test_commands_that_say_their_method_are_answered_a_line_each(site, api):
    """As older clients send them, to the API's own address."""
    lines = [{"method": "publish", "params": {"channel": "news:l", "data": "a\u2028b"}},
             {"method": "presence_stats", "params": {"channel": "news:l"}, "id": 5},
             {"method": "nothing", "params": {}}, {"params": {}}, 5]
    body = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n"
    status, _, answer = api.request("", body.encode())
    first, second, *bad = [json.loads(line) for line in answer.decode().split("\n")]
    assert status == 200 and first["result"]["offset"] == 1
    assert second == {"result": {"num_clients": 0, "num_users": 0}}
    assert [one["error"]["code"] for one in bad] == [104, 107, 107]
    assert bad[2]["error"]["message"].endswith("send an object")
    assert [one.data for one in site.push.history("news:l").publications] == ["a\u2028b"]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"{}" + b"\n{}" * MAX_COMMANDS, b"{}\n{"])
def test_lines_that_cannot_be_answered_are_a_400(api, body):
    assert api.status("", body)[0] == 400


def test_what_takes_too_long_in_one_request_is_refused_command_by_command(site, api, monkeypatch):
    monkeypatch.setattr(patience, "MAX_SECONDS", -1.0)
    batch = api.call("batch", commands=[{"publish": {"channel": "c", "data": 1}}] * 2)
    assert [one["error"]["code"] for one in batch["replies"]] == [106, 106]
    found = api.call("broadcast", channels=["c", "d"], data=1)
    assert [one["error"]["code"] for one in found["responses"]] == [106, 106]
    assert "send the rest again" in found["responses"][0]["error"]["message"]


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
