"""Centrifugo's library for its HTTP API, ``cent``, unmodified, against a site: each call it has."""
from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.support.api_client import KEY
from tests.support.centrifuge_client import RawClient
from tests.support.installed import needed_module
from tests.support.official_packages import official_site, token


@pytest.fixture(scope="module")
def cent():
    needed_module("cent", "cent")
    import cent
    return cent


@pytest.fixture
def site(cent):
    with official_site() as site:
        yield site


@pytest.fixture
def client(cent, site):
    client = cent.Client(f"http://127.0.0.1:{site.port}/api", KEY)
    yield client
    client.close()


@pytest.fixture
def join(site):
    """Connect clients of a user; each comes with its name."""
    with contextlib.ExitStack() as stack:
        def connect(user="42"):
            one = stack.enter_context(RawClient(site))
            return one, one.connect(token=token(user))["client"]
        yield connect


def test_publish(cent, client, join):
    listener, _ = join()
    listener.call("subscribe", channel="room:1")
    assert listener.push()["join"]
    found = client.publish(cent.PublishRequest(channel="room:1", data={"a": 1},
                                               tags={"kind": "x"}))
    assert (found.offset, bool(found.epoch)) == (1, True)
    assert listener.publication("room:1") == {"data": {"a": 1}, "offset": 1, "tags": {"kind": "x"}}
    asked = cent.PublishRequest(channel="room:1", data=2, idempotency_key="once")
    assert client.publish(asked).offset == client.publish(asked).offset == 2
    assert client.publish(cent.PublishRequest(channel="room:1", data=3,
                                              skip_history=True)).offset == 0
    assert client.publish(cent.PublishRequest(channel="fleeting", data="x")).epoch == ""


def test_broadcast(cent, client):
    found = client.broadcast(cent.BroadcastRequest(channels=["room:1", "room:2", "x"], data=1))
    assert [one.result.offset for one in found.responses] == [1, 1, 0]


def test_subscribe_and_unsubscribe(cent, client, join):
    listener, name = join()
    client.subscribe(cent.SubscribeRequest(user="42", channel="room:1", client=name,
                                           info={"role": "x"}, data={"hello": 1}))
    assert listener.push()["subscribe"]["data"] == {"hello": 1}
    info = client.presence(cent.PresenceRequest(channel="room:1")).presence[name]
    assert (info.user, info.client, info.chan_info) == ("42", name, {"role": "x"})
    client.unsubscribe(cent.UnsubscribeRequest(user="42", channel="room:1"))
    assert client.presence(cent.PresenceRequest(channel="room:1")).presence == {}


def test_subscribe_recovers(cent, client, join):
    listener, name = join()
    for number in range(1, 4):
        found = client.publish(cent.PublishRequest(channel="deep:1", data=number))
    client.subscribe(cent.SubscribeRequest(
        user="42", channel="deep:1",
        recover_since=cent.StreamPosition(offset=1, epoch=found.epoch)))
    assert listener.push()["subscribe"]["offset"] == 1
    assert [listener.publication("deep:1")["data"] for _ in range(2)] == [2, 3]


def test_disconnect(cent, client, join):
    (first, name), (second, _) = join(), join()
    client.disconnect(cent.DisconnectRequest(user="42", whitelist=[name]))
    assert second.closing()[0] == 3505
    client.disconnect(cent.DisconnectRequest(
        user="42", client=name, disconnect=cent.Disconnect(code=4500, reason="go")))
    assert first.closing() == (4500, "go")


def test_refresh(cent, client, join):
    (first, name), (second, _) = join(), join()
    client.refresh(cent.RefreshRequest(user="42", client=name, expired=True))
    assert first.closing()[0] == 3005
    client.refresh(cent.RefreshRequest(user="42", expire_at=int(time.time()) + 1))
    assert second.closing()[0] == 3005


def test_presence_stats(cent, client, join):
    for user in ("42", "42", "7"):
        listener, _ = join(user)
        listener.call("subscribe", channel="room:1")
    found = client.presence_stats(cent.PresenceStatsRequest(channel="room:1"))
    assert (found.num_clients, found.num_users) == (3, 2)


def test_history_and_its_removal(cent, client):
    for number in range(1, 6):
        top = client.publish(cent.PublishRequest(channel="room:1", data=number))

    def history(**asked):
        return client.history(cent.HistoryRequest(channel="room:1", **asked))

    assert history().publications == [] and history().offset == 5
    assert [one.data for one in history(limit=-1).publications] == [1, 2, 3, 4, 5]
    assert [one.offset for one in history(limit=2, reverse=True).publications] == [5, 4]
    since = cent.StreamPosition(offset=2, epoch=top.epoch)
    assert [one.data for one in history(limit=2, since=since).publications] == [3, 4]
    client.history_remove(cent.HistoryRemoveRequest(channel="room:1"))
    assert history(limit=-1).publications == [] and history().offset == 5
    with pytest.raises(cent.CentApiResponseError) as raised:
        history(limit=1, since=since)
    assert raised.value.code == 112


def test_channels_and_info(cent, client, join):
    listener, _ = join()
    for channel in ("room:1", "deep:1"):
        listener.call("subscribe", channel=channel)
    found = client.channels(cent.ChannelsRequest()).channels
    assert {name: one.num_clients for name, one in found.items()} == {"room:1": 1, "deep:1": 1}
    assert list(client.channels(cent.ChannelsRequest(pattern="room:*")).channels) == ["room:1"]
    node, = client.info(cent.InfoRequest()).nodes
    assert (node.num_clients, node.num_users, node.num_channels, node.num_subs) == (1, 1, 2, 2)


@pytest.mark.parametrize("parallel", [False, True])
def test_batch(cent, client, parallel):
    found = client.batch(cent.BatchRequest(parallel=parallel, requests=[
        cent.PublishRequest(channel="room:1", data=1), cent.PresenceStatsRequest(channel="room:1"),
        cent.HistoryRequest(channel="room:1", limit=-1), cent.ChannelsRequest()]))
    published, stats, history, channels = found.replies
    assert (published.offset, stats.num_clients) == (1, 0)
    assert [one.data for one in history.publications] == [1]
    assert channels.channels == {}


def test_errors_are_those_of_the_library(cent, site, client):
    with pytest.raises(cent.CentApiResponseError) as raised:
        client.publish(cent.PublishRequest(channel="", data=1))
    assert (raised.value.code, raised.value.message) == (107, "channel is missing: send it")
    with pytest.raises(cent.CentApiResponseError) as raised:
        client.history(cent.HistoryRequest(channel="fleeting"))
    assert raised.value.code == 108
    with contextlib.closing(cent.Client(f"http://127.0.0.1:{site.port}/api", "wrong")) as stranger:
        with pytest.raises(cent.CentUnauthorizedError):
            stranger.info(cent.InfoRequest())
    with pytest.raises(cent.CentTransportError) as raised:
        client.block_user(cent.BlockUserRequest(user="42"))
    assert raised.value.status_code == 404


def test_its_asynchronous_client(cent, site):
    async def publish():
        client = cent.AsyncClient(f"http://127.0.0.1:{site.port}/api", KEY)
        try:
            asked = cent.PublishRequest(channel="room:1", data=1)
            found = await asyncio.gather(*(client.publish(asked) for _ in range(10)))
            return sorted(one.offset for one in found)
        finally:
            await client.close()
    assert asyncio.run(publish()) == list(range(1, 11))
