"""The HTTP API: what it does to the clients of a user."""
from __future__ import annotations

import threading
import time

import pytest

from pushserver.centrifuge import json_codec
from tests.support.api_site import user
from tests.support.waiting import PATIENCE, wait_until


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


def test_presence_is_encoded_once_until_it_changes(site, api, monkeypatch):
    encoded, encode = [], json_codec.encoded_info
    monkeypatch.setattr(json_codec, "encoded_info", lambda info: encoded.append(1) or encode(info))
    client, name = user(site)
    other, other_name = user(site)
    with client, other:
        client.call("subscribe", channel="news:s")
        encoded.clear()     # what joining has announced
        for _ in range(3):
            assert set(api.call("presence", channel="news:s")["presence"]) == {name}
        assert len(encoded) == 1
        other.call("subscribe", channel="news:s")
        encoded.clear()
        assert set(api.call("presence", channel="news:s")["presence"]) == {name, other_name}
        assert len(encoded) == 2


def test_a_disconnect_without_a_reason_has_one_for_clients_that_need_it(site, api):
    client, _ = user(site)
    with client:
        assert api.call("disconnect", user="42", disconnect={"code": 4500}) == {}
        assert client.closing() == (4500, "disconnected")


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


@pytest.mark.parametrize("call, code", [
    (lambda api, client: api.call("disconnect", user="42"), 3505),
    (lambda api, client: api.call("disconnect", user="42", whitelist=["else"]), 3505),
    (lambda api, client: api.call("disconnect", user="42", client=client), 3505),
    (lambda api, client: api.call("refresh", user="42", expired=True), 3005),
    (lambda api, client: api.call("refresh", user="42", expire_at=1), 3005)],
    ids=["user", "whitelist", "client", "expired", "expire_at"])
def test_a_call_that_blocks_delays_no_end(call, code, site, api, monkeypatch):
    blocked, over = threading.Event(), threading.Event()

    def block(*_):
        blocked.set()
        assert over.wait(PATIENCE)

    client, name = user(site)
    with client:
        monkeypatch.setattr(type(site.push.connections("42")[0]), "rpc", block)
        client.send(client.command("rpc", method="x", data=1),
                    client.command("subscribe", channel="news:late"))
        try:
            assert blocked.wait(PATIENCE)
            assert call(api, name) == {}
            assert client.close_code() == code
        finally:
            over.set()
        wait_until(lambda: site.push._hub.leaving() == ())
        assert site.push.channels() == {}
