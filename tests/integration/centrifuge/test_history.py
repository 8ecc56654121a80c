"""Centrifugo's JSON protocol: what a channel remembers."""
from __future__ import annotations

from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving


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
