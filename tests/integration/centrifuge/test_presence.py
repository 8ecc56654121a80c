"""Centrifugo's JSON protocol: who is in a channel."""
from __future__ import annotations

import pytest

from pushserver import ChannelRule
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving, vanish
from tests.support.raw_client import close_clients
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


def in_room(site, Id):
    client = RawClient(site, PATH + (f"?Id={Id}" if Id else ""))
    client.client = client.connect()["client"]
    client.call("subscribe", channel="room")
    return client


def moves(site, watcher):
    """Return who was told to have come and gone, since the last call."""
    site.push.publish("room", "end")
    found = []
    while "pub" not in (push := watcher.push()):
        found += [(what, push[what]["info"]["user"]) for what in ("join", "leave") if what in push]
    return found


def give_up(site, client):
    """End a connection as one of which no FIN has come: its pings stayed unanswered."""
    link, = (link for link in site.push._hub.everyone() if link.connection.client == client.client)
    link.context.runtime.loop.call_for(link, link.no_pong)
    wait_until(lambda: client.client not in site.push.presence("room")
               or site.push._node.next_departure() is not None)


@pytest.fixture(params=[0, 0.05, 15], ids="linger {}".format)
def room(request):
    rules = (ChannelRule("room", join_leave=True, see_presence="anyone", linger=request.param),)
    with serving(plugin={"channels": rules}) as site:
        site.linger = request.param
        yield site
        close_clients()


def test_who_is_back_before_the_loss_was_noticed_has_neither_left_nor_come(room):
    with in_room(room, "watcher") as watcher:
        lost = in_room(room, "ann")
        again = in_room(room, "ann")
        assert moves(room, watcher) == [("join", "watcher"), ("join", "ann")]
        assert room.push.presence_stats("room") == (3, 2)
        give_up(room, lost)
        assert set(room.push.presence("room")) == {watcher.client, again.client}
        assert moves(room, watcher) == []
        again.call("unsubscribe", channel="room")
        assert moves(room, watcher) == [("leave", "ann")]


def test_who_was_lost_several_times_has_neither_left_nor_come(room):
    with in_room(room, "watcher") as watcher:
        lost = [in_room(room, "ann") for _ in range(4)]
        again = in_room(room, "ann")
        for client in lost[::2] + lost[1::2]:
            give_up(room, client)
        assert moves(room, watcher) == [("join", "watcher"), ("join", "ann")]
        assert set(room.push.presence("room")) == {watcher.client, again.client}


def test_a_second_window_neither_joins_nor_leaves(room):
    with in_room(room, "watcher") as watcher:
        first, second = in_room(room, "ann"), in_room(room, "ann")
        first.socket.hang_up()
        wait_until(lambda: len(room.push.presence("room")) == 2)
        third = in_room(room, "ann")
        second.socket.hang_up()
        wait_until(lambda: set(room.push.presence("room")) == {watcher.client, third.client})
        assert moves(room, watcher) == [("join", "watcher"), ("join", "ann")]
        third.socket.hang_up()
        wait_until(lambda: set(room.push.presence("room")) == {watcher.client})
        assert moves(room, watcher) == [("leave", "ann")]


def test_the_last_loss_of_a_user_is_told_after_its_linger(room):
    with in_room(room, "watcher") as watcher:
        first, second = in_room(room, "ann"), in_room(room, "ann")
        give_up(room, second), give_up(room, first)
        if room.linger < 15:
            wait_until(lambda: set(room.push.presence("room")) == {watcher.client})
        found = [("leave", "ann")] if room.linger < 15 else []
        assert moves(room, watcher) == [("join", "watcher"), ("join", "ann"), *found]


def test_each_anonymous_client_is_told_of(room):
    with in_room(room, "watcher") as watcher, in_room(room, None) as first:
        second = in_room(room, None)
        assert moves(room, watcher) == [("join", "watcher"), ("join", ""), ("join", "")]
        give_up(room, second)
        assert moves(room, watcher) == [("leave", "")]
        assert set(room.push.presence("room")) == {watcher.client, first.client}
