"""Centrifugo's JSON protocol: what was missed comes later, or is said to be lost."""
from __future__ import annotations

import threading
import time

import pytest

from pushserver import ChannelRule
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import position, serving, vanish
from tests.support.waiting import wait_until


def test_what_was_missed_comes_with_the_subscription(site, join):
    client = join()
    at = position(client.call("subscribe", channel="deep:a"))
    client.close()
    for number in range(1000):
        site.push.publish("deep:a", number)
    again = join()
    result = again.call("subscribe", channel="deep:a", recover=True, **at)
    assert result["recovered"] is result["was_recovering"] is True
    assert [one["data"] for one in result["publications"]] == list(range(1000))
    assert [one["offset"] for one in result["publications"]] == list(range(1, 1001))
    assert result.get("offset", 0) == at["offset"]
    site.push.publish("deep:a", "next")
    assert again.publication("deep:a") == {"data": "next", "offset": 1001}


def test_what_is_lost_is_said_to_be_lost(site, join):
    client = join()
    at = position(client.call("subscribe", channel="news:a"))
    client.close()
    for number in range(20):
        top = site.push.publish("news:a", number)
    for asked in (at, {"offset": 15, "epoch": "old"}, {"offset": 99, "epoch": top.epoch},
                  {"offset": 15}, {}):
        result = join().call("subscribe", channel="news:a", recover=True, **asked)
        assert result["was_recovering"] is True and "recovered" not in result
        assert "publications" not in result
        assert position(result) == {"offset": 20, "epoch": top.epoch}


def test_what_is_lost_is_an_error_where_the_client_wants_it_so(site, join):
    client = join()
    at = position(client.call("subscribe", channel="news:a"))
    client.call("unsubscribe", channel="news:a")
    for number in range(20):
        top = site.push.publish("news:a", number)
    for flag in (2, 3):
        assert client.call("subscribe", channel="news:a", recover=True, flag=flag, **at) == 112
    assert site.push.channels() == {}
    asked = {"recover": True, "flag": 3, "offset": 15, "epoch": top.epoch}
    result = client.call("subscribe", channel="news:a", **asked)
    assert result["recovered"] and len(result["publications"]) == 5
    assert "was_recovering" not in client.call("subscribe", channel="open:a", flag=3)
    client.send(client.command("subscribe", channel="open:b", flag="3"))
    assert client.close_code() == 3501


@pytest.mark.parametrize("flag", [0, 2])
def test_what_does_not_fit_the_reply_follows_it(flag):
    with serving(settings={"max_outbox": 20_000}) as site:
        first = site.push.publish("deep:a", "x" * 1000)
        for _ in range(100):
            site.push.publish("deep:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            result = client.call("subscribe", channel="deep:a", recover=True, offset=1,
                                 epoch=first.epoch, flag=flag)
            assert result["recovered"] and result["offset"] == 1
            found = [one["offset"] for one in result["publications"]]
            assert 2 < len(found) < 20
            site.push.publish("deep:a", "live")
            while found[-1] < 102:
                found.append(client.publication("deep:a")["offset"])
            assert found == list(range(2, 103))


def test_who_leaves_while_the_rest_follows_gets_no_more_of_it():
    with serving(settings={"max_outbox": 20_000}, buffers=4096) as site:
        first = site.push.publish("deep:a", "x" * 1000)
        for _ in range(1000):
            site.push.publish("deep:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42", receive_buffer=4096) as client:
            client.connect()
            client.call("subscribe", channel="deep:a", recover=True, offset=1, epoch=first.epoch)
            client.call("unsubscribe", channel="deep:a")
            assert len(client.pushes) < 1000
            assert client.call("rpc", method="add", data=[1]) == {"data": 1}
            count = len(client.pushes)
            assert client.call("rpc", method="add", data=[1]) == {"data": 1}
            assert len(client.pushes) == count and site.push.channels() == {}


def test_who_reads_more_slowly_than_a_history_forgets_is_told():
    with serving(settings={"max_outbox": 20_000}, buffers=4096,
                 plugin={"channels": [ChannelRule("short:", history=100)]}) as site:
        first = site.push.publish("short:a", "x" * 1000)
        for _ in range(99):
            site.push.publish("short:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42", receive_buffer=4096) as client:
            client.connect()
            asked = {"channel": "short:a", "recover": True, "epoch": first.epoch}
            result = client.call("subscribe", offset=0, **asked)
            assert result["recovered"]
            for _ in range(150):
                site.push.publish("short:a", "x" * 1000)
            found = [one["offset"] for one in result["publications"]]
            while "pub" in (push := client.push()):
                found.append(push["pub"]["offset"])
            assert push == {"channel": "short:a", "unsubscribe": {"code": 2500,
                                                                  "reason": "insufficient state"}}
            assert found == list(range(1, len(found) + 1))
            result = client.call("subscribe", offset=found[-1], **asked)
            assert "recovered" not in result and result["offset"] == 250


def test_a_channel_from_the_start_comes_with_connect_and_recovers(site, join):
    client = join(data="start")
    at = position(client.connected["subs"]["news:start"])
    vanish(client)
    wait_until(lambda: site.push._node.next_departure() is not None)  # else both have joined
    site.push.publish("news:start", "missed")
    again = join(data="start", subs={"news:start": {"recover": True, **at},
                                     "news:unknown": {"recover": True}})
    result, = again.connected["subs"].values()
    assert result["recovered"] and [one["data"] for one in result["publications"]] == ["missed"]
    site.push.publish("news:start", "live")
    assert again.publication("news:start") == {"data": "live", "offset": 2}
    assert again.call("subscribe", channel="news:start") == 105


@pytest.mark.parametrize("channel", ["deep:a", "deep:b"])
def test_under_a_flood_with_cuts_every_subscriber_has_all_once_and_in_order(site, channel):
    """Threads publish without a pause while clients come, read a little and are cut."""
    total, done = 4000, threading.Event()

    def publish(start):
        for number in range(start, total, 2):
            site.push.publish(channel, number)
            if number % 64 < 2:
                time.sleep(0.002)
        done.set()

    with RawClient(site, PATH + "?Id=first") as client:
        client.connect()
        at = position(client.call("subscribe", channel=channel))
    publishers = [threading.Thread(target=publish, args=(start,)) for start in (0, 1)]
    logs = [[] for _ in range(3)]

    def follow(log, patience):
        here = dict(at)

        def read(publication):
            log.append((publication["offset"], publication["data"]))
            here["offset"] = publication["offset"]

        while here["offset"] < total:
            with RawClient(site, PATH + "?Id=follower") as client:
                client.connect()
                result = client.call("subscribe", channel=channel, recover=True, **here)
                assert result["recovered"], (here, result)
                for publication in result.get("publications", ()):
                    read(publication)
                for _ in range(patience):
                    if here["offset"] >= total:
                        break
                    read(client.publication(channel))

    followers = [threading.Thread(target=follow, args=(log, patience))
                 for log, patience in zip(logs, (7, 50, 333))]
    for thread in (*publishers, *followers):
        thread.start()
    for thread in (*publishers, *followers):
        thread.join(60)
    assert [offset for offset, _ in logs[0]] == list(range(1, total + 1))
    assert logs[0] == logs[1] == logs[2]
    assert sorted(data for _, data in logs[0]) == list(range(total))
