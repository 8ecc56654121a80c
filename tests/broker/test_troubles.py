"""Servers whose broker loses, doubles, is slow or cannot be reached."""
from __future__ import annotations

import contextlib
import random
import threading
import time
from functools import partial

import pytest

from pushserver.channels.publication import NOWHERE, Position
from pushserver.connections import housekeeping
from pushserver.centrifuge.errors import INSUFFICIENT_STATE
from pushserver.wire.frames import OPCODE_TEXT
from tests.broker.clients import (RULES, Blocked, Closed, Echo, offsets, subscribed, talker,
                                  up_to)
from tests.broker.recording_node import in_threads
from tests.support.bare_server import codes, hosting
from tests.support.remote_broker import RemoteSite
from tests.support.waiting import wait_until


class Pair:
    """Two servers of one site; ``near`` is the one whose broker has the troubles."""

    def __init__(self, near, far, broker):
        self.near, self.far, self.broker = near, far, broker

    def publish(self, *numbers, channel="kept:a"):
        for number in numbers:
            position = self.far.server.publish(channel, number)
        return position

    def both(self, channel="kept:a"):
        """Return a client of the protocol and a plain one, in a channel of the near server."""
        client, peer = talker(self.near), self.near.join("2", channels=[channel])
        subscribed(client, channel)
        return client, peer


@pytest.fixture
def pair():
    site = RemoteSite()
    near, far = site.node(), site.node()
    with hosting(broker=near, channels=RULES) as one, hosting(broker=far, channels=RULES) as other:
        yield Pair(one, other, near)
        assert one.server.failure is None
    assert site.mistakes == []


def losing(*numbers):
    return lambda channel, publication: publication.offset not in numbers


# Holes

@pytest.mark.parametrize("lost", [(2,), (3, 4), (2, 4, 5, 7), (2, 3, 4, 5, 6, 7, 8)], ids=str)
def test_a_hole_is_mended_for_all(pair, lost):
    client, peer = pair.both()
    pair.broker.copies = losing(*lost)
    pair.publish(*range(1, 10))
    assert offsets(client, "kept:a", 9) == list(range(1, 10))
    assert up_to(peer, 9) == list(range(1, 10))


def test_a_publication_that_is_delivered_twice_reaches_everybody_once(pair):
    client, peer = pair.both()
    pair.broker.copies = lambda channel, publication: 2
    pair.publish(1, 2, 3)
    pair.broker.copies = lambda channel, publication: 1
    pair.publish(4)
    assert offsets(client, "kept:a", 4) == [1, 2, 3, 4]
    assert up_to(peer, 4) == [1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(3))
def test_losses_and_doubles_in_any_order_are_mended(pair, seed):
    client, peer = pair.both()
    chance, count = random.Random(seed), 300
    pair.broker.copies = lambda channel, publication: (
        1 if publication.offset in (1, count) else chance.choice((0, 1, 1, 2)))
    pair.publish(*range(1, count + 1))
    assert offsets(client, "kept:a", count) == list(range(1, count + 1))
    assert up_to(peer, count) == list(range(1, count + 1))


def follow(host, Id, channel, last):
    """Return the offsets that a client gets, up to one, which comes and goes and comes back."""
    found, since, client = [], NOWHERE, talker(host, Id)
    while found[-1:] != [last]:
        try:
            answer = subscribed(client, channel, since)
            assert answer["recovered"]
            client.call("unsubscribe", channel=channel)
        except Closed as closed:
            assert closed.code == INSUFFICIENT_STATE.code
            client.close()
            client = talker(host, Id)
            continue
        pushed = [push["pub"] for push in client.pushes if "pub" in push]
        client.pushes.clear()
        found += [one["offset"] for one in (*answer.get("publications", ()), *pushed)]
        since = Position(len(found), answer["epoch"])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_clients_that_come_and_go_miss_nothing_of_what_is_lost_on_the_way(pair, seed):
    chance, count = random.Random(seed), 200
    pair.broker.copies = lambda channel, publication: (
        1 if publication.offset == count else chance.choice((0, 1, 1, 2)))

    def publish():
        for number in range(count):
            pair.publish(number)
            time.sleep(0.001)

    found = in_threads(publish, *[partial(follow, pair.near, Id, "kept:a", count) for Id in "1234"])
    assert found[1:] == [list(range(1, count + 1))] * 4


def test_a_hole_is_mended_though_the_site_blocks_all_workers(pair):
    client, peer = pair.both()
    held, is_open, runtime = [], threading.Event(), pair.near.server._lifecycle.runtime
    workers = pair.near.server.settings.workers
    handler_cls = type("Handler", (Blocked,), {"held": held, "is_open": is_open})
    for number in range(workers):
        pair.near.join(f"blocked {number}", handler_cls=handler_cls).send(OPCODE_TEXT, b"x")
    wait_until(lambda: len(held) == workers and runtime._relief is None)
    pair.broker.copies = losing(2)
    pair.publish(1, 2, 3)
    try:
        assert offsets(client, "kept:a", 3) == up_to(peer, 3) == [1, 2, 3]
    finally:
        is_open.set()


def test_a_hole_before_the_first_delivery_is_mended_for_who_has_a_position(pair):
    client = talker(pair.near)
    since = pair.publish(1)
    answer = subscribed(client, "kept:a", since)
    assert answer["recovered"] and "publications" not in answer
    pair.broker.copies = losing(2, 3)
    pair.publish(2, 3, 4)
    assert offsets(client, "kept:a", 4) == [2, 3, 4]


def test_a_hole_that_the_history_does_not_hold_is_told_and_never_said_to_be_recovered(pair):
    client, peer = pair.both()
    pair.publish(1)
    seen = Position(client.publication("kept:a")["offset"],
                    pair.near.server.history("kept:a").top.epoch)
    pair.broker.copies = losing(2, 3)
    pair.publish(2, 3)
    pair.far.server.remove_history("kept:a")
    pair.publish(4)
    assert client.push() == {"channel": "kept:a", "unsubscribe": {
        "code": 2500, "reason": "insufficient state"}}
    answer = subscribed(client, "kept:a", seen)
    assert not answer.get("recovered") and "publications" not in answer
    pair.publish(5)
    assert client.publication("kept:a")["offset"] == 5
    assert up_to(peer, 5) == [1, 4, 5]
    answer = subscribed(talker(pair.far, "3"), "kept:a", seen)
    assert not answer.get("recovered")


class Removed:
    """A client that was removed from a channel, and has yet to be told.

    Attributes:
        client: the client.
        told: tells it, behind all that it has asked for by then.
    """

    def __init__(self, pair, channel):
        self.client = talker(pair.near)
        subscribed(self.client, channel)
        handle = self.client.peer.connection.handle
        assert handle.context.hub.unsubscribe(handle.link, channel)
        self.told = partial(handle.link.lost, channel)


def test_who_has_come_back_before_it_is_told_that_publications_are_lost_stays(pair):
    removed = Removed(pair, "kept:a")
    removed.client.call("unsubscribe", channel="kept:a")
    subscribed(removed.client, "kept:a")
    removed.told()
    assert removed.client.call("rpc", data="behind it") == {"data": "behind it"}
    pair.publish(1, 2)
    assert offsets(removed.client, "kept:a", 2) == [1, 2]


def test_who_has_left_before_it_is_told_that_publications_are_lost_has_left(pair):
    removed = Removed(pair, "here:a")
    removed.client.call("unsubscribe", channel="here:a")
    removed.told()
    assert removed.client.call("rpc", data="behind it") == {"data": "behind it"}
    assert removed.client.pushes == [] and pair.near.server.presence("here:a") == {}
    assert subscribed(removed.client, "here:a") == {}


def test_who_comes_back_because_publications_were_lost_has_neither_left_nor_come(pair):
    watcher, removed = talker(pair.near, "watcher"), Removed(pair, "told:a")
    subscribed(watcher, "told:a")
    removed.told()
    assert "join" in removed.client.push()      # its own
    assert removed.client.push()["unsubscribe"]["code"] == 2500
    assert len(pair.near.server.presence("told:a")) == 2
    subscribed(removed.client, "told:a")
    removed.client.call("unsubscribe", channel="told:a")
    found = [(what, push["channel"]) for push in (watcher.push(), watcher.push())
             for what in ("join", "leave") if what in push]
    assert found == [("join", "told:a"), ("leave", "told:a")]   # its own join; the last leave


def test_a_hole_in_one_channel_ends_no_other_subscription(pair):
    client, _ = pair.both()
    subscribed(client, "kept:b")
    pair.publish(1), pair.publish(1, channel="kept:b")
    pair.broker.copies = losing(2)
    pair.publish(2)
    pair.far.server.remove_history("kept:a")
    pair.publish(3)
    pair.broker.copies = losing()
    pair.publish(2, channel="kept:b")
    found = [client.push() for _ in range(4)]
    assert [one["pub"]["offset"] for one in found if one["channel"] == "kept:b"] == [1, 2]
    assert [one for one in found if one["channel"] == "kept:a"][1]["unsubscribe"]["code"] == 2500


def test_a_history_that_was_lost_is_another_one(pair):
    client, peer = pair.both()
    old = pair.publish(1, 2)
    assert offsets(client, "kept:a", 2) == [1, 2]
    pair.broker.site.lose_histories()
    pair.broker.copies = losing(1)
    pair.publish(3, 4)
    assert offsets(client, "kept:a", 2) == [1, 2]
    assert up_to(peer, 4) == [1, 2, 3, 4]
    client.call("unsubscribe", channel="kept:a")
    answer = subscribed(client, "kept:a", old)
    assert not answer.get("recovered") and answer["epoch"] != old.epoch


# A slow network

@contextlib.contextmanager
def slow(broker):
    """Have calls of a broker wait meanwhile."""
    broker.is_open.clear()
    try:
        yield
    finally:
        broker.is_open.set()


def test_a_slow_broker_holds_up_no_push_to_another_client(pair):
    client, peer = pair.both()
    echo, server = pair.near.join("3", handler_cls=Echo), pair.near.server
    waiting, leaving = talker(pair.near, "4"), pair.near.join("5", channels=["kept:b"])
    published, sent = [], []
    with slow(pair.broker):
        waiting.send(waiting.command("subscribe", channel="kept:a"))
        leaving.sock.close()
        publishing = threading.Thread(
            target=lambda: published.append(server.publish("kept:a", "held up")))
        publishing.start()
        for number in range(1, 20):     # what comes from the other server
            pair.publish(number)
        assert offsets(client, "kept:a", 19) == list(range(1, 20))
        assert up_to(peer, 19) == list(range(1, 20))
        pair.far.server.send("2", "sent")
        assert peer.next() == "sent"
        peer.connection.send("own")
        assert peer.next() == "own"
        echo.send(1, b"echoed")
        assert echo.next() == "echoed"
        sending = threading.Thread(target=lambda: sent.append(server.send("2", "here")))
        sending.start()     # it tells the others after its own connections
        assert peer.next() == "here"
        assert not published and not sent
    publishing.join(), sending.join()
    assert waiting.reply(2)["subscribe"]["epoch"] == published[0].epoch
    assert client.publication("kept:a")["offset"] == 20


def test_a_client_that_leaves_a_slow_subscription_is_in_no_channel(pair):
    waiting = talker(pair.near)
    with slow(pair.broker):
        waiting.send(waiting.command("subscribe", channel="kept:a"))
        wait_until(lambda: pair.near.server.channels() == {"kept:a": 1})
        waiting.close()
        wait_until(lambda: len(pair.near.server) == 0)
    wait_until(lambda: not pair.broker.channels)
    assert not pair.near.server.channels()


# A network that is away

def test_what_the_store_cannot_take_is_an_error_and_reaches_nobody(pair):
    client, peer = pair.both()
    pair.broker.is_reachable = False
    for call in (lambda: pair.near.server.publish("kept:a", 1),
                 lambda: pair.near.server.history("kept:a")):
        with pytest.raises(ConnectionError):
            call()
    peer.connection.send("own")
    assert peer.next() == "own"
    pair.publish(1, 2)      # these do not arrive
    pair.broker.is_reachable = True
    pair.near.server.publish("kept:a", 3)
    assert up_to(peer, 3)[-1] == 3
    assert client.publication("kept:a")["data"] in (1, 3)


def test_what_did_not_arrive_meanwhile_is_mended_afterwards(pair):
    client, peer = pair.both()
    pair.publish(1)
    assert client.publication("kept:a")["offset"] == 1
    pair.broker.is_reachable = False
    pair.publish(2, 3)
    pair.broker.is_reachable = True
    pair.publish(4)
    assert offsets(client, "kept:a", 4) == [2, 3, 4]
    assert up_to(peer, 4) == [1, 2, 3, 4]


def test_a_hole_whose_history_cannot_be_read_is_told(pair):
    client, peer = pair.both()
    since = pair.publish(1)
    assert client.publication("kept:a")["offset"] == 1
    pair.broker.copies = losing(2)
    with slow(pair.broker):
        pair.publish(2, 3)
        wait_until(lambda: pair.broker.waiting)     # what mends
        pair.broker.is_reachable = False
    assert client.push()["unsubscribe"]["code"] == 2500
    pair.broker.is_reachable = True
    answer = subscribed(client, "kept:a", since)
    assert answer["recovered"] and [one["offset"] for one in answer["publications"]] == [2, 3]
    assert up_to(peer, 3) == [1, 3]


def test_who_subscribes_while_the_store_is_away_is_in_no_channel_and_may_come_back(pair):
    client, peer = talker(pair.near), pair.near.join("2")
    pair.broker.is_reachable = False
    with pytest.raises(ConnectionError):
        peer.connection.subscribe("kept:a")
    client.send(client.command("subscribe", channel="kept:a"))
    assert codes([client.peer.next()]) == [1011]    # a code that has it connect again
    client.close()
    wait_until(lambda: len(pair.near.server) == 1)
    assert pair.near.server.channels() == {}
    pair.broker.is_reachable = True
    client = talker(pair.near)
    assert peer.connection.subscribe("kept:a") and subscribed(client, "kept:a")["epoch"]
    pair.publish(1)
    assert client.publication("kept:a")["offset"] == 1 and peer.next() == "1"


def test_who_leaves_while_the_store_is_away_leaves_nothing_behind(pair, monkeypatch):
    monkeypatch.setattr(housekeeping, "SWEEP_INTERVAL", 0.05)
    pair.near.server.stop()
    pair.near.server.start()
    peer = pair.near.join("2", channels=["kept:a", "kept:b", "kept:c"])
    wait_until(lambda: pair.broker.channels == {"kept:a", "kept:b", "kept:c"})
    connection = peer.connection
    pair.broker.is_reachable = False
    peer.sock.close()
    wait_until(lambda: len(pair.near.server) == 0)
    wait_until(lambda: connection.sock is None)    # all is done that its end brings
    pair.broker.is_reachable = True
    wait_until(lambda: not pair.broker.channels)
