"""A site in CherryPy over a broker, with pushclient as its client: no loss goes untold."""
from __future__ import annotations

import random
import threading
import time

import pytest

from pushclient import PushClient
from pushserver import ChannelRule
from tests.support import centrifuge_site
from tests.support.bare_server import hosting
from tests.support.centrifuge_client import PATH
from tests.support.remote_broker import RemoteSite
from tests.support.waiting import PATIENCE, wait_until

RULES = (ChannelRule("kept:", history=1000), ChannelRule("few:", history=3))


class Follower:
    """A client that notes what it gets of one channel; it is the unmodified ``PushClient``."""

    def __init__(self, url, channel):
        self.got, self.gaps = [], []
        self.client = PushClient(url, Id="1", channels=[channel], proxy=None, timeout=PATIENCE,
                                 on_message=self.got.append, on_gap=self.gaps.append)

    @property
    def offsets(self):
        return [publication.offset for publication in self.got]

    def has(self, offset):
        """Wait until a publication has come."""
        wait_until(lambda: self.offsets[-1:] == [offset], what=f"publication {offset}")


class Sites:
    """A site in CherryPy, whose broker has the troubles, and another server of the same site."""

    def __init__(self, near, far, broker):
        self.near, self.far, self.broker = near, far, broker

    def publish(self, channel, count):
        for _ in range(count):
            self.far.server.publish(channel, "x")


@pytest.fixture
def sites():
    shared = RemoteSite()
    broker, other = shared.node(), shared.node()
    with hosting(broker=other, channels=RULES) as far, \
            centrifuge_site.serving(plugin={"broker": broker, "channels": RULES}) as near:
        yield Sites(near, far, broker)
    assert shared.mistakes == []


@pytest.fixture
def follow(sites):
    """Start a client that is in a channel of the near site; it is closed at the end."""
    started = []

    def follow(channel):
        follower = Follower(sites.near.url(PATH), channel)
        started.append(follower.client.start())
        wait_until(lambda: follower.client.position(channel), what="the subscription")
        return follower

    yield follow
    for client in started:
        client.close()


def losing(first, last):
    return lambda channel, publication: not first <= publication.offset <= last


def test_a_plugin_starts_and_stops_the_broker_that_it_is_given():
    shared = RemoteSite()
    before = set(threading.enumerate())
    with centrifuge_site.serving(plugin={"broker": shared.node(), "channels": RULES}) as near:
        assert {thread.name for thread in set(threading.enumerate()) - before} \
            >= {"remote-deliveries", "remote-commands"}
        near.push.publish("kept:a", 1)
        near.bus.publish("push-publish", "kept:a", 2)
        assert len(near.push.history("kept:a").publications) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("remote")]
    assert near.push.publish("kept:a", 3).offset == 3
    assert shared.mistakes == []


def test_what_another_server_publishes_reaches_pushclient_without_a_gap(sites, follow):
    follower = follow("kept:a")
    sites.broker.copies = losing(2, 4)
    sites.publish("kept:a", 6)
    follower.has(6)
    assert follower.offsets == [1, 2, 3, 4, 5, 6] and follower.gaps == []


def test_of_what_is_lost_for_good_pushclient_is_told_once(sites, follow):
    follower = follow("few:a")
    sites.publish("few:a", 2)
    follower.has(2)
    for number, top in enumerate((9, 18), 1):
        sites.broker.copies = losing(top - 6, top - 1)
        sites.publish("few:a", 7)
        wait_until(lambda: len(follower.gaps) == number, what="the gap")
        sites.publish("few:a", 2)
        follower.has(top + 2)
    assert [(one.offset, one.after_gap) for one in follower.got] == [
        (1, False), (2, False), (10, True), (11, False), (19, True), (20, False)]
    assert [gap.channel for gap in follower.gaps] == ["few:a", "few:a"]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_lost_pushclient_misses_nothing_silently(sites, follow, seed):
    chance, follower, count = random.Random(seed), follow("few:a"), 200
    lost = {offset for first in chance.sample(range(2, count), 20)
            for offset in range(first, first + chance.randrange(1, 6))}
    sites.broker.copies = lambda channel, publication: publication.offset not in lost
    for _ in range(count):
        sites.publish("few:a", 1)
        time.sleep(0.001)
    sites.broker.copies = losing(0, 0)
    wait_until(lambda: sites.publish("few:a", 1) or follower.offsets[-1] > count)
    jumps = [later.offset for earlier, later in zip(follower.got, follower.got[1:])
             if later.offset != earlier.offset + 1]
    told = [one.offset for one in follower.got if one.after_gap]
    assert follower.offsets == sorted(set(follower.offsets))
    assert set(jumps) <= set(told) and 0 < len(told) <= len(follower.gaps)
