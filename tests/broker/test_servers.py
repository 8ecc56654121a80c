"""Whole servers of one site: what one pushes reaches the clients of the other."""
from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from pushserver.channels.publication import NOWHERE, Position
from pushserver.wire.disconnects import BY_SITE
from tests.broker.clients import RULES, Echo, offsets, subscribed, talker, up_to
from tests.broker.recording_node import in_threads
from tests.support.bare_server import codes, hosting
from tests.support.history import offsets as offsets_of
from tests.support.waiting import wait_until


@pytest.fixture
def hosts(wide_site):
    """Return two servers of one site."""
    with hosting(broker=wide_site.broker, channels=RULES) as one, \
            hosting(broker=wide_site.another(), channels=RULES) as other:
        yield one, other


def pairs(hosts):
    """Yield each server with the other one."""
    return (hosts, hosts[::-1])


@pytest.mark.parametrize("channel", ["kept:a", "open:a"])
def test_a_publication_reaches_the_clients_of_both(hosts, channel):
    plain = [host.join(channels=[channel]) for host in hosts]
    clients = [talker(host, "2") for host in hosts]
    for client in clients:
        subscribed(client, channel)
    for number, host in enumerate(hosts):
        host.server.publish(channel, {"number": number})
    for peer in plain:
        assert up_to(peer, {"number": 1}) == [{"number": 0}, {"number": 1}]
    for client in clients:
        assert [client.publication(channel)["data"] for _ in hosts] == [{"number": 0},
                                                                        {"number": 1}]


def test_what_a_client_publishes_reaches_the_clients_of_both_with_who_it_was(hosts):
    writer, reader = talker(hosts[0], "ann"), talker(hosts[1], "bob")
    subscribed(reader, "kept:a")
    assert writer.call("publish", channel="kept:a", data="hello") == {}
    told = reader.publication("kept:a")
    assert (told["data"], told["offset"], told["info"]["user"]) == ("hello", 1, "ann")


def test_a_channels_history_is_that_of_both(hosts):
    first = hosts[0].server.publish("kept:a", 1)
    assert hosts[1].server.publish("kept:a", 2) == (2, first.epoch)
    assert hosts[1].server.publish("kept:a", 3, key="k") \
        == hosts[0].server.publish("kept:a", 4, key="k")
    for host in hosts:
        assert offsets_of(host.server.history("kept:a")) == [1, 2, 3]
    answer = subscribed(talker(hosts[1]), "kept:a", first)
    assert answer["recovered"] and [one["data"] for one in answer["publications"]] == [2, 3]
    hosts[1].server.remove_history("kept:a")
    assert offsets_of(hosts[0].server.history("kept:a")) == []


def test_broadcast_and_send_reach_the_connections_of_both_once(hosts):
    for host, other in pairs(hosts):
        peers = [one.join(Id) for one in hosts for Id in "12"]
        host.server.broadcast([1])
        assert host.server.send("1", [2]) >= 1
        host.server.broadcast([3])
        for number, peer in enumerate(peers):
            assert up_to(peer, [3]) == ([[1], [3]] if number % 2 else [[1], [2], [3]])


def test_a_send_reaches_an_id_that_only_the_other_has(hosts):
    peer, client = hosts[1].join("1"), talker(hosts[1], "1")
    hosts[0].server.send("1", b"bytes")
    hosts[0].server.send("1", "text")
    assert [peer.next(), peer.next()] == [b"bytes", "text"]
    assert [client.push()["message"]["data"] for _ in "12"][1] == "text"


def test_a_disconnect_reaches_the_connections_of_both(hosts):
    peers, other = [host.join("1") for host in hosts], hosts[1].join("2")
    assert hosts[0].server.disconnect("1", 4001, "enough") >= 1
    assert [codes([peer.next()]) for peer in peers] == [[4001], [4001]]
    wait_until(lambda: hosts[1].server.ids() == ["2"])
    hosts[0].server.send("2", "still there")
    assert other.next() == "still there"


def test_a_session_ends_on_both(hosts):
    peers = [host.join("1") for host in hosts]
    for peer in peers:
        peer.connection.session = "s"
    assert hosts[0].server.end_session("other") == 0
    hosts[0].server._rename_session("s", "a new id")
    wait_until(lambda: peers[1].connection.session == "a new id")
    assert hosts[0].server.end_session("s") == 0
    assert hosts[1].server.end_session("a new id") >= 1
    for peer in peers:
        assert codes([peer.next()]) == [BY_SITE.code]


def test_an_id_is_put_into_a_channel_and_taken_out_on_both(hosts):
    peers = [host.join("1") for host in hosts]
    client = talker(hosts[1], "1")
    assert hosts[0].server.subscribe_id("1", "kept:a") >= 1
    assert client.push()["subscribe"]["recoverable"]
    wait_until(lambda: [host.server.channels() for host in hosts]
               == [{"kept:a": 1}, {"kept:a": 2}])
    hosts[0].server.publish("kept:a", "in")
    assert [peer.next() for peer in peers] == ["in", "in"]
    assert client.publication("kept:a")["data"] == "in"
    assert hosts[1].server.unsubscribe_id("1", "kept:a") >= 1
    assert "unsubscribe" in client.push()
    wait_until(lambda: not hosts[0].server.channels() and not hosts[1].server.channels())
    hosts[0].server.publish("kept:a", "out")
    hosts[0].server.broadcast("end")
    assert [peer.next() for peer in peers] == ["end", "end"]


def test_presence_is_that_of_both(hosts):
    clients = [talker(host, user) for host, user in zip(hosts, ("ann", "bob"))]
    for client in clients:
        subscribed(client, "here:a")
    for host in hosts:
        found = host.server.presence("here:a")
        assert sorted(info.user for info in found.values()) == ["ann", "bob"]
        assert host.server.presence_stats("here:a") == (2, 2)
    told = clients[1].call("presence", channel="here:a")["presence"]
    assert sorted(one["user"] for one in told.values()) == ["ann", "bob"]
    clients[0].close()
    wait_until(lambda: hosts[1].server.presence_stats("here:a") == (1, 1))
    assert clients[1].call("presence_stats", channel="here:a") == {"num_clients": 1, "num_users": 1}


def test_clients_that_come_and_go_while_both_publish_miss_nothing_and_get_nothing_twice(hosts):
    count, channel = 200, "kept:a"

    def publish(host):
        for number in range(count // 2):
            host.server.publish(channel, number)
            time.sleep(0.001)

    def follow(host, Id):
        client, found, since = talker(host, Id), [], NOWHERE
        while found[-1:] != [count]:
            answer = subscribed(client, channel, since)
            assert answer["recovered"]
            client.call("unsubscribe", channel=channel)
            pushed = [push["pub"] for push in client.pushes if "pub" in push]
            client.pushes.clear()
            found += [one["offset"] for one in (*answer.get("publications", ()), *pushed)]
            since = Position(len(found), answer["epoch"])
        return found

    found = in_threads(*[partial(publish, host) for host in hosts],
                       *[partial(follow, host, Id) for host in hosts for Id in "123"])
    assert found[2:] == [list(range(1, count + 1))] * 6


def test_clients_that_stay_while_both_publish_get_all_in_one_order(hosts):
    count, channel = 200, "kept:a"
    clients = [talker(host, Id) for host in hosts for Id in "12"]
    for client in clients:
        subscribed(client, channel)
    in_threads(*[partial(publish_all, host, channel, count // 4) for host in hosts * 2])
    for client in clients:
        assert offsets(client, channel, count) == list(range(1, count + 1))


def publish_all(host, channel, count):
    for number in range(count):
        host.server.publish(channel, number)


def test_a_server_that_was_stopped_comes_back_to_its_site(wide_site, hosts):
    hosts[1].server.stop()
    hosts[0].server.publish("kept:a", 1)
    hosts[0].server.send("1", "nobody")
    hosts[1].server.start()
    peer, client = hosts[1].join("1", handler_cls=Echo, channels=["kept:a"]), talker(hosts[1], "2")
    assert offsets_of(hosts[1].server.history("kept:a")) == [1]
    subscribed(client, "kept:a")
    hosts[0].server.publish("kept:a", 2)
    hosts[0].server.send("1", 3)
    assert sorted([peer.next(), peer.next()]) == ["2", "3"]
    assert client.publication("kept:a")["offset"] == 2


def test_who_was_on_a_server_that_stops_is_there_no_more(hosts):
    clients = [talker(host, user) for host, user in zip(hosts, ("ann", "bob"))]
    for client in clients:
        subscribed(client, "here:a")
    hosts[1].server.stop()
    assert [info.user for info in hosts[0].server.presence("here:a").values()] == ["ann"]
    assert clients[0].call("presence_stats", channel="here:a") == {"num_clients": 1, "num_users": 1}


def test_no_thread_is_left_of_servers_that_start_and_stop(wide_site):
    before = set(threading.enumerate())
    for _ in range(2):
        with hosting(broker=wide_site.broker, channels=RULES) as host:
            host.server.publish("kept:a", 1)
    wait_until(lambda: set(threading.enumerate()) <= before)
