"""Messages as long as they may be: what they become in a protocol makes no client slow."""
from __future__ import annotations

import base64

import pytest

from pushserver import MessageTooLarge
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import serving
from tests.support.handlers import SMALL
from tests.support.waiting import wait_until

LIMIT = 100_000

LONGEST = {"quotes": '"' * LIMIT, "control characters": "\x01" * LIMIT, "bytes": b"\xff" * LIMIT,
           "umlauts": "\u00e4" * (LIMIT // 2), "JSON": ["x" * (LIMIT - 4)]}
"""By kind; Centrifugo's JSON makes them 2, 6 and 4/3 times as long, and the last two no longer."""


@pytest.fixture(params=["plain", "TLS"])
def tls(request, server_certificate, client_tls):
    """What the server and what its clients need for a kind of socket."""
    return (server_certificate, client_tls) if request.param == "TLS" else (None, None)


@pytest.fixture
def site(tls):
    settings = {"max_outbox": LIMIT, "close_timeout": 0.2}
    with serving(settings=settings, buffers=SMALL, tls=tls[0]) as site:
        yield site


@pytest.fixture
def plain(site, tls):
    """A client of plain frames, which is sent no more at once than its small buffers take."""
    with site.client(receive_buffer=SMALL, tls=tls[1]) as client:
        yield client


@pytest.fixture
def centrifuge(site, tls):
    """The same in Centrifugo's protocol, connected."""
    with RawClient(site, PATH + "?Id=43", receive_buffer=SMALL, tls=tls[1]) as client:
        client.connect()
        yield client


def in_json(data):
    return base64.b64encode(data).decode() if isinstance(data, bytes) else data


def in_frames(data):
    return '["' + data[0] + '"]' if isinstance(data, list) else data


@pytest.mark.parametrize("kind", LONGEST)
def test_the_longest_message_reaches_all_who_read_and_so_does_what_follows(site, plain, centrifuge,
                                                                           kind):
    data = LONGEST[kind]
    site.push.broadcast(data)
    site.push.broadcast("behind")
    assert plain.message() == in_frames(data)
    assert plain.message() == "behind"
    assert centrifuge.push() == {"message": {"data": in_json(data)}}
    assert centrifuge.push() == {"message": {"data": "behind"}}


@pytest.mark.parametrize("kind", LONGEST)
def test_the_longest_publication_reaches_who_is_in_the_channel(site, centrifuge, kind):
    centrifuge.call("subscribe", channel="open:a")
    site.push.publish("open:a", LONGEST[kind])
    site.push.publish("open:a", "behind")
    assert centrifuge.publication("open:a")["data"] == in_json(LONGEST[kind])
    assert centrifuge.publication("open:a")["data"] == "behind"


@pytest.mark.parametrize("kind", LONGEST)
def test_who_reads_nothing_is_slow_when_as_much_waits_behind_it(site, plain, centrifuge, kind):
    """Nothing else bounds what one client holds back."""
    links = site.push._hub.everyone()
    site.push.broadcast(LONGEST[kind])
    done(site)
    longest = {link: link.outbox.size for link in links}
    assert all(longest.values())
    for _ in range(LIMIT // 1000 - 10):
        site.push.broadcast("x" * 900)
    done(site)
    assert len(site.push) == 2
    while len(site.push):
        assert all(link.outbox.size <= longest[link] + LIMIT for link in links)
        site.push.broadcast("x" * 900)
        done(site)
    assert plain.close_code() == 3008
    assert centrifuge.close_code() == 3008


def done(site):
    """Wait until the loop has done all that was queued."""
    seen = []
    site.push._lifecycle.runtime.loop.call(lambda: seen.append("done"))
    wait_until(lambda: seen)


def test_one_byte_more_is_an_error_at_the_call_whatever_it_would_become(site, plain, centrifuge):
    one, other = (site.push.connections(Id)[0] for Id in ("42", "43"))
    calls = (site.push.broadcast, lambda data: site.push.send("42", data),
             lambda data: site.push.publish("open:a", data), one.send, other.send)
    for call in calls:
        for data in ("x" * (LIMIT + 1), b"x" * (LIMIT + 1), "\u00e4" * (LIMIT // 2 + 1)):
            with pytest.raises(MessageTooLarge, match="max_outbox"):
                call(data)
    for told in ({"info": "x" * LIMIT}, {"data": "x" * LIMIT}):
        with pytest.raises(MessageTooLarge, match="max_outbox"):
            other.subscribe("open:a", **told)
    assert site.push.channels() == {}
    site.push.broadcast("nothing came before")
    assert plain.message() == "nothing came before"
    assert centrifuge.push() == {"message": {"data": "nothing came before"}}


def test_tags_count(site):
    with pytest.raises(MessageTooLarge, match=f"{LIMIT + 108} bytes"):
        site.push.publish("open:a", "x" * (LIMIT - 1), tags={"a": "x" * 101})


def test_one_connections_longest_message_is_sent_whole(site, plain, centrifuge):
    for data in (LONGEST["control characters"], LONGEST["quotes"]):
        site.push.connections("42")[0].send(data)
        assert plain.message() == data
    site.push.connections("43")[0].send(LONGEST["control characters"])
    assert centrifuge.push() == {"message": {"data": LONGEST["control characters"]}}


def test_what_came_while_a_client_subscribed_is_sent_whole(site, centrifuge):
    """Its reply is queued by a thread that holds what nothing may raise through."""
    join = site.push._broker.recover

    def recover(channel, *args):
        page = join(channel, *args)
        site.push.publish(channel, LONGEST["control characters"])
        return page

    site.push._broker.recover = recover
    assert "recovered" not in centrifuge.call("subscribe", channel="open:a")
    assert centrifuge.publication("open:a")["data"] == LONGEST["control characters"]
