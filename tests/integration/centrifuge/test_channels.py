"""Centrifugo's JSON protocol: channels, and what may not be."""
from __future__ import annotations

import json

import pytest


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


@pytest.mark.parametrize("name, request_", [
    ("subscribe", {"channel": "open:a", "type": 1}),
    ("subscribe", {"channel": "open:a", "type": 4}),
    ("publish", {"channel": "open:a", "data": 1, "key": "k"}),
    ("publish", {"channel": "open:a", "data": 1, "type": 1}),
    ("sub_refresh", {"channel": "open:a", "type": 2})])
def test_maps_and_shared_polls_are_refused_and_not_taken_for_channels(site, join, name, request_):
    client = join()
    if name != "subscribe":
        client.call("subscribe", channel="open:a")
    assert client.call(name, **request_) == 108
    assert site.push.channels() == ({} if name == "subscribe" else {"open:a": 1})


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
