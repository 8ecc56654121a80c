"""Centrifugo's JSON protocol: what a channel remembers."""
from __future__ import annotations

import pytest

from pushserver import ChannelRule, Position
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import position, serving


def test_history_is_read_in_pages_both_ways(site, join):
    client = join()
    for number in range(1, 16):
        top = site.push.publish("news:a", number)
    client.call("subscribe", channel="news:a")
    client.push()

    def history(**request):
        found = client.call("history", channel="news:a", **request)
        if isinstance(found, int):
            return found
        assert (found["offset"], found["epoch"]) == top
        return [(one["offset"], one["data"]) for one in found["publications"]]

    def numbers(*found):
        return [(number, number) for number in found]

    assert history() == history(limit=0) == []
    assert history(limit=-1) == numbers(*range(6, 16))
    assert history(limit=2) == numbers(6, 7)
    assert history(limit=2, reverse=True) == numbers(15, 14)
    since = {"offset": 8, "epoch": top.epoch}
    assert history(limit=2, since=since) == numbers(9, 10)
    assert history(limit=5, since=since, reverse=True) == numbers(7, 6)
    assert history(limit=5, since={"offset": 2, "epoch": top.epoch}) == 112
    assert history(limit=5, since={"offset": 8, "epoch": "old"}) == 112
    assert history(limit=5, since={"offset": 99, "epoch": top.epoch}) == 112


def test_a_history_that_fits_no_reply_comes_in_parts():
    with serving(settings={"max_outbox": 10_000}) as site:
        for number in range(50):
            site.push.publish("deep:a", "x" * 1000)
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            found, since = [], None
            while True:
                page = client.call("history", channel="deep:a", limit=-1,
                                   **({"since": since} if since else {}))
                if not page["publications"]:
                    break
                found += [one["offset"] for one in page["publications"]]
                since = {"offset": found[-1], "epoch": page["epoch"]}
            assert found == list(range(1, 51))


def test_a_publication_that_is_long_in_json_is_read_all_the_same(caplog):
    with serving(settings={"max_outbox": 10_000}) as site:
        site.push.publish("deep:a", "small")
        site.push.publish("deep:a", "\x01" * 5000)  # six times as long in JSON
        with RawClient(site, PATH + "?Id=42") as client:
            client.connect()
            page = client.call("history", channel="deep:a", limit=-1)
            assert [one["data"] for one in page["publications"]] == ["small"]
            since = {"offset": 1, "epoch": page["epoch"]}
            page = client.call("history", channel="deep:a", limit=-1, since=since)
            assert [one["data"] for one in page["publications"]] == ["\x01" * 5000]
            assert client.call("history", channel="deep:a")["offset"] == 2
    assert not any(record.exc_info for record in caplog.records)


MAY_SEE = {
    "nobody": ("nobody", False, False), "resuming": ("resuming", True, False),
    "subscribers": ("subscribers", True, True), "anyone": ("anyone", True, True),
    "users": ("users", True, True), "function": (lambda connection, channel: True, True, True),
    "function that refuses": (lambda connection, channel: False, False, False)}
"""What a rule says, and whether the client 42 may then resume, and ask."""


def seeing(who):
    return serving(plugin={"channels": [ChannelRule("kept", history=10, see_history=who)]})


@pytest.mark.parametrize("who, resumes, asks", MAY_SEE.values(), ids=MAY_SEE)
@pytest.mark.parametrize("asked", ["from the start", "from a position"])
def test_who_may_not_see_the_history_does_not_get_it_by_resuming(who, resumes, asks, asked):
    with seeing(who) as site, RawClient(site, PATH + "?Id=42") as client:
        client.connect()
        for number in range(1, 6):
            top = site.push.publish("kept", number)
        since = {"offset": 3 * (asked == "from a position"), "epoch": top.epoch}
        result = client.call("subscribe", channel="kept", recover=True, **since)
        assert result["was_recovering"] and result.get("recovered", False) == resumes
        found = [one["data"] for one in result.get("publications", ())]
        assert found == (list(range(since["offset"] + 1, 6)) if resumes else [])
        if not resumes:
            assert position(result) == {"offset": 5, "epoch": top.epoch}
        history = client.call("history", channel="kept", limit=-1)
        assert len(history["publications"]) == 5 if asks else history == 103
        site.push.publish("kept", "live")
        assert client.publication("kept")["data"] == "live"


@pytest.mark.parametrize("who, resumes, asks", MAY_SEE.values(), ids=MAY_SEE)
def test_nor_does_who_resumes_with_its_connect(who, resumes, asks):
    rules = [ChannelRule("news:", history=10, see_history=who)]
    with serving(plugin={"channels": rules}) as site:
        top = site.push.publish("news:tool", "old")
        with RawClient(site, "/connection/strict?Id=42") as client:
            asked = {"recover": True, "offset": 0, "epoch": top.epoch}
            sub = client.connect(subs={"news:tool": asked})["subs"]["news:tool"]
            assert sub["was_recovering"] and sub.get("recovered", False) == resumes
            assert [one["data"] for one in sub.get("publications", ())] == ["old"] * resumes


def test_users_only_are_users_when_they_resume_too():
    with seeing("users") as site, RawClient(site) as client:
        client.connect()
        top = site.push.publish("kept", "for users")
        asked = {"recover": True, "offset": 0, "epoch": top.epoch}
        result = client.call("subscribe", channel="kept", **asked)
        assert "recovered" not in result and "publications" not in result
        assert client.call("unsubscribe", channel="kept") == {}
        assert client.call("subscribe", channel="kept", flag=3, **asked) == 112
        assert site.push.channels() == {}


def test_what_the_site_itself_subscribes_to_may_be_resumed_by_the_site():
    with seeing("nobody") as site, RawClient(site, PATH + "?Id=42") as client:
        client.connect()
        top = site.push.publish("kept", 1)
        connection, = site.push.connections("42")
        assert connection.subscribe("kept", since=Position(0, top.epoch))
        assert "subscribe" in client.push()
        assert client.publication("kept")["data"] == 1
