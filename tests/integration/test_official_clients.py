"""Centrifugo's clients as they come from npm and PyPI, unmodified, against a site."""
from __future__ import annotations

import contextlib
import time

import pytest

from tests.support.centrifuge_client import RawClient
from tests.support.official_packages import (COMMANDS, GRACE, Handler, OfficialClient,
                                             official_site, token)
from tests.support.relay import Relay
from tests.support.waiting import wait_until

MISSED = 1000


@pytest.fixture(params=COMMANDS)
def name(request):
    COMMANDS[request.param]()   # skips without the package
    return request.param


@pytest.fixture
def site(name, request):
    with official_site(**getattr(request, "param", {})) as site:
        yield site


SMALL_OUTBOX = pytest.mark.parametrize("site", [{}, {"max_outbox": 10_000}], indirect=True,
                                       ids=["in the reply", "behind the reply"])


@pytest.fixture
def join(site, name):
    """Start clients that are ended with the test."""
    with contextlib.ExitStack() as stack:
        def start(port=None, **options):
            return stack.enter_context(OfficialClient(name, port or site.port, **options))
        yield start


@pytest.fixture
def relay(site):
    with Relay(site.port) as relay:
        yield relay


def test_it_connects_with_a_token_and_gets_the_sites_answer(site, join):
    client = join(data={"page": 1})
    told = client.connect()
    assert told["data"] == {"hello": {"page": 1}}
    connection, = site.push.connections("42")
    assert (connection.client, connection.user_id) == (told["client"], "42")
    client.call("disconnect")
    assert client.event("disconnected")["code"] == 0
    wait_until(lambda: not len(site.push))


def test_a_wrong_token_is_final_and_an_expired_one_is_replaced(join):
    stranger = join(tokens=[token() + "x"])
    stranger.call("connect")
    assert stranger.event("disconnected")["code"] == 3500
    late = join(tokens=[token(ttl=-60), token()])
    assert late.connect()
    late.event("token")
    late.event("token")


def test_a_refused_handshake_is_final_for_those_who_ask_why(site, join):
    client = join(query="?token=x&refusals=close")
    client.call("connect")
    told = client.event("disconnected")
    assert (told["code"], told["reason"]) == (4501, "the token is not valid: get a new one")


def test_what_is_published_arrives_with_its_publisher(site, api, join):
    client, other = join(), join(tokens=[token("7")])
    for one in (client, other):
        one.connect()
        assert one.subscribe("room:1")["recoverable"] is True
    assert other.call("publish", channel="room:1", data={"text": "é", "n": [1, None]}) is None
    api.call("publish", channel="room:1", data="from outside", tags={"kind": "x"})
    for one in (client, other):
        first, second = one.publications("room:1", 2)
        assert (first["data"], first["offset"], first["user"]) == \
            ({"text": "é", "n": [1, None]}, 1, "7")
        assert (second["data"], second["offset"], second["user"], second["tags"]) == \
            ("from outside", 2, None, {"kind": "x"})


def test_refusals_carry_their_codes(join):
    client = join()
    client.connect()
    client.call("subscribe", channel="closed:1")
    assert client.event("unsubscribed", channel="closed:1")["code"] == 103
    assert client.call("publish", channel="room:1", data=1) == {"error": 103}
    assert client.call("presence", channel="room:1") == {"error": 103}
    assert client.call("rpc", method="nothing", data=None) == {"error": 404}


def test_presence_and_its_numbers(join):
    clients = join(), join(), join(tokens=[token("7")])
    names = {}
    for one, user in zip(clients, ("42", "42", "7")):
        names[one.connect()["client"]] = user
        one.subscribe("room:1")
    found = clients[0].call("presence", channel="room:1")
    assert {client: info["user"] for client, info in found.items()} == names
    assert clients[0].call("presence_stats", channel="room:1") == {"clients": 3, "users": 2}


def test_join_and_leave_are_told(join):
    client, other = join(), join(tokens=[token("7")])
    client.connect()
    client.subscribe("room:1")
    client.event("join", user="42")
    other.connect()
    other.subscribe("room:1")
    assert client.event("join", user="7")
    other.call("unsubscribe", channel="room:1")
    assert client.event("leave", user="7")
    other.subscribe("room:1")
    assert client.event("join", user="7")
    other.call("disconnect")
    assert client.event("leave", user="7")


def test_history_is_read_page_by_page_from_both_ends(site, join):
    client = join()
    client.connect()
    client.subscribe("deep:1")
    for number in range(1, 26):
        top = site.push.publish("deep:1", number)
    for reverse in (False, True):
        seen, since = [], None
        while True:
            asked = {} if since is None else {"since": since}
            page = client.call("history", channel="deep:1", limit=10, reverse=reverse, **asked)
            assert (page["offset"], page["epoch"]) == top
            if not page["publications"]:
                break
            seen += [one["data"] for one in page["publications"]]
            since = {"offset": page["publications"][-1]["offset"], "epoch": page["epoch"]}
        assert seen == list(range(25, 0, -1) if reverse else range(1, 26))
    assert client.call("history", channel="deep:1", limit=0)["publications"] == []
    lost = {"offset": 5, "epoch": "another"}
    assert client.call("history", channel="deep:1", limit=1, since=lost) == {"error": 112}


def test_calls_are_answered(join):
    client = join()
    client.connect()
    assert client.call("rpc", method="add", data=[1, 2, 3]) == {"sum": 6}


@pytest.mark.parametrize("name", ["javascript"], indirect=True)  # the other has no send, no message
def test_a_message_without_a_channel_is_heard_and_answered(site, join):
    client = join()
    client.connect()
    Handler.heard.clear()
    client.call("send", data={"a": 1})
    wait_until(lambda: Handler.heard == [{"a": 1}])
    site.push.send("42", {"b": 2})
    assert client.event("message")["data"] == {"b": 2}


@pytest.mark.slow
def test_a_connection_outlives_its_token_by_a_refresh(site, join):
    expires = time.time() + 2
    client = join(tokens=[token(ttl=2), token(ttl=3600)])
    client.connect()
    client.subscribe("room:1")
    wait_until(lambda: time.time() > expires + GRACE + 0.5)
    site.push.publish("room:1", "still here")
    assert client.publications("room:1", 1)[0]["data"] == "still here"
    client.event("token")
    client.event("token")
    assert client.count("disconnected") == 0 and client.count("connecting") == 1


@pytest.mark.slow
def test_a_subscription_outlives_its_token_by_a_refresh(site, join):
    expires = time.time() + 2
    client = join(channelTokens=[token(ttl=2, channel="private:1"),
                                 token(ttl=3600, channel="private:1")])
    client.connect()
    client.subscribe("private:1", token=True)
    wait_until(lambda: time.time() > expires + GRACE + 0.5)
    site.push.publish("private:1", "still here")
    assert client.publications("private:1", 1)[0]["data"] == "still here"
    client.event("channel_token")
    client.event("channel_token")
    assert client.count("unsubscribed") == 0


def cut_while_publishing(site, relay, client, channel, missed):
    """Cut the client off, publish what it misses, and let it come back."""
    client.connect()
    client.subscribe(channel)
    for number in range(1, 4):
        site.push.publish(channel, number)
    assert [one["data"] for one in client.publications(channel, 3)] == [1, 2, 3]
    relay.cut()
    client.event("connecting", code=1)
    for number in range(4, 4 + missed):
        site.push.publish(channel, number)
    relay.restore()
    return client.event("subscribed", channel=channel)


@SMALL_OUTBOX
def test_all_that_was_missed_is_recovered_once_and_in_order(site, relay, join):
    client = join(relay.port)
    told = cut_while_publishing(site, relay, client, "deep:1", MISSED)
    assert (told["was_recovering"], told["recovered"]) == (True, True)
    site.push.publish("deep:1", "after")
    got = client.publications("deep:1", MISSED + 1)
    assert [one["offset"] for one in got] == list(range(4, MISSED + 5))
    assert [one["data"] for one in got] == [*range(4, MISSED + 4), "after"]


def test_what_is_lost_is_told_so(site, relay, join):
    client = join(relay.port)
    told = cut_while_publishing(site, relay, client, "short:1", MISSED)
    assert (told["was_recovering"], told["recovered"]) == (True, False)
    site.push.publish("short:1", "after")
    got, = client.publications("short:1", 1)
    assert (got["data"], got["offset"]) == ("after", MISSED + 4)


def test_a_disconnect_by_the_server_that_asks_to_come_back_loses_nothing(site, api, join):
    client = join()
    client.connect()
    client.subscribe("deep:1")
    site.push.publish("deep:1", 1)
    assert client.publications("deep:1", 1)
    api.call("disconnect", user="42", disconnect={"code": 3001, "reason": "move on"})
    site.push.publish("deep:1", 2)
    assert client.event("connecting", code=3001)["reason"] == "move on"
    assert client.publications("deep:1", 1)[0]["data"] == 2


def test_the_server_disconnects_for_good(api, join):
    client = join()
    client.connect()
    api.call("disconnect", user="42")
    told = client.event("disconnected")
    assert (told["code"], told["reason"]) == (3505, "disconnected by the site")


def test_the_server_subscribes_and_unsubscribes(site, api, join):
    client = join()
    client.connect()
    client.subscribe("room:1")
    api.call("unsubscribe", user="42", channel="room:1")
    assert client.event("unsubscribed", channel="room:1")["code"] == 2000
    api.call("subscribe", user="42", channel="room:2")
    client.event("server_subscribed", channel="room:2")
    api.call("publish", channel="room:2", data=1)
    assert client.event("server_publication", channel="room:2")["data"] == 1
    api.call("unsubscribe", user="42", channel="room:2")
    client.event("server_unsubscribed", channel="room:2")


@SMALL_OUTBOX
def test_channels_from_the_start_recover_too(site, relay, join):
    client = join(relay.port, tokens=[token(channels=["deep:mine"])])
    client.connect()
    client.event("server_subscribed", channel="deep:mine")
    site.push.publish("deep:mine", 0)
    assert client.event("server_publication")["data"] == 0
    relay.cut()
    client.event("connecting", code=1)
    for number in range(1, MISSED + 1):
        site.push.publish("deep:mine", number)
    relay.restore()
    told = client.event("server_subscribed", channel="deep:mine")
    assert (told["was_recovering"], told["recovered"]) == (True, True)
    assert [client.event("server_publication")["data"] for _ in range(MISSED)] == \
        list(range(1, MISSED + 1))


def test_a_raw_client_and_an_official_one_share_a_channel(site, join):
    client = join()
    client.connect()
    client.subscribe("room:1")
    with RawClient(site) as raw:
        raw.connect(token=token("7"))
        raw.call("subscribe", channel="room:1")
        raw.call("publish", channel="room:1", data="raw")
        assert client.publications("room:1", 1)[0]["data"] == "raw"
