"""Centrifugo's JSON protocol: who is in a channel."""
from __future__ import annotations

from pushserver import ChannelRule
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving, vanish
from tests.support.waiting import wait_until


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
                patch.setattr(site.push._broker.presence, "of",
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
    wait_until(lambda: site.push._node.next_departure() is not None)
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
