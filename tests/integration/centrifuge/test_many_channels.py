"""Centrifugo's JSON protocol: a client that makes channels without end."""
from __future__ import annotations

import itertools

import pytest

from pushserver import Position
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving
from tests.support.history import offsets

TOTAL, EACH = 30, 10


@pytest.fixture
def site():
    with serving(settings={"max_channels": TOTAL, "max_channels_per_connection": EACH}) as site:
        yield site


@pytest.fixture
def connected(site):
    """Return a function that connects a client, without an Id unless one is given."""
    clients = []

    def connect(Id=None):
        clients.append(RawClient(site, f"{PATH}?Id={Id}" if Id else PATH))
        clients[-1].connect()
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def publish_until_refused(client, names):
    """Publish to one channel after another; return how many took it, and the error."""
    for count, name in enumerate(names):
        answer = client.call("publish", channel=name, data="x" * 1000)
        if answer != {}:
            return count, answer
    return None


def test_a_client_that_publishes_to_ever_new_channels_is_refused(site, connected):
    client = connected()
    names = (f"deep:{number}" for number in itertools.count())
    assert publish_until_refused(client, names) == (EACH, 106)
    assert client.call("publish", channel="deep:0", data=1) == {}
    assert client.call("publish", channel="deep:new", data=1) == 106
    assert client.call("subscribe", channel="deep:0") != 106


def test_channels_without_a_history_are_not_counted(site, connected):
    client = connected()
    assert client.call("subscribe", channel="open:a") == {}
    for _ in range(2 * EACH):
        assert client.call("publish", channel="open:a", data=1) == {}
    assert publish_until_refused(client, (f"deep:{number}" for number in range(99))) == (EACH, 106)


def test_one_that_comes_back_for_more_takes_only_its_own(site, connected):
    own = site.push.publish("deep:site", "own")
    ann = connected("ann")
    assert ann.call("publish", channel="deep:ann", data="hers") == {}
    names = (f"deep:{number}" for number in itertools.count())
    for number in range(8):
        assert publish_until_refused(connected(), names) == (EACH, 106)
        assert offsets(site.push.history("deep:site"))[0] == own.offset
        site.push.publish(f"deep:of the site {number}", "more")
        assert site.push.publish("deep:site", "again").epoch == own.epoch
    broker = site.push._broker
    assert len(broker._by_clients) == TOTAL
    assert offsets(site.push.history("deep:ann")) == [1]
    assert all(offsets(site.push.history(f"deep:of the site {number}")) for number in range(8))


def test_others_hear_what_is_published_to_a_channel_that_had_to_go(site, connected):
    reader = connected("reader")
    assert reader.call("subscribe", channel="deep:0")["recoverable"]
    names = (f"deep:{number}" for number in itertools.count())
    for _ in range(5):
        publish_until_refused(connected(), names)
    assert reader.publication("deep:0")["offset"] == 1
    assert offsets(site.push.history("deep:0")) == []
    last = site.push.publish("deep:0", "site")
    assert reader.publication("deep:0") == {"data": "site", "offset": 2}
    found = connected("later").call("subscribe", channel="deep:0", recover=True, offset=1,
                                    epoch=last.epoch)
    assert found["recovered"] is True and len(found["publications"]) == 1
    assert not site.push.history("deep:0", since=Position(0, last.epoch)).recovered


def test_a_client_is_in_so_many_channels(connected):
    client = connected()
    for number in range(EACH):
        assert "epoch" in client.call("subscribe", channel=f"deep:{number}")
    assert client.call("subscribe", channel="deep:more") == 106
    assert client.call("unsubscribe", channel="deep:0") == {}
    assert "epoch" in client.call("subscribe", channel="deep:more")


def test_when_there_are_too_many_channels_who_is_in_few_still_enters_new_ones(site, connected):
    names = (f"deep:{number}" for number in itertools.count())
    greedy = [connected() for _ in range(4)]
    refused = [next(answer for answer in (client.call("subscribe", channel=name) for name in names)
                    if answer == 106) for client in greedy]
    assert refused == [106] * 4
    assert TOTAL <= len(site.push.channels()) < TOTAL + EACH
    assert "epoch" in greedy[-1].call("subscribe", channel="deep:0")
    newcomer = connected("ann")
    assert "epoch" in newcomer.call("subscribe", channel="deep:newcomer")
    site.push.subscribe_id("ann", "deep:by the site")
    assert "deep:by the site" in site.push.channels()
