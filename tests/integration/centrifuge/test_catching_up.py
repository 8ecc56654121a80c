"""Centrifugo's JSON protocol: who reads slowly gets all that it is owed, as it reads."""
from __future__ import annotations

import contextlib
import json

import cherrypy
import pytest

from pushserver import CentrifugeConnection, ChannelRule, Position
from pushserver.channels.presence import Info
from pushserver.runtime.outbox import Outbox
from tests.support.centrifuge_client import RawClient
from tests.support.site import Root, running_site
from tests.support.waiting import wait_until

CHANNELS = [f"deep:{number}" for number in range(20)]
SIZE = 5000
COUNT = 8
"""Publications missed in each channel, of ``SIZE`` bytes."""

MAX_OUTBOX = 100_000
"""Room for two channels of twenty."""

BUFFER = 20_000
"""Bytes of the sockets' buffers, so that little is hidden in them."""


class Handler(CentrifugeConnection):
    """A site whose calls return much, and which names channels at the start."""

    def connecting(self, data):
        for channel in CHANNELS[:15] if data == "named" else ():
            self.subscribe(channel)

    def rpc(self, method, data):
        return "x" * data


def root():
    class Connection:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler)
        def websocket(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge", handler_cls=Handler, channels=CHANNELS[15:])
        def named(self, Id):
            """Accept everybody, in a quarter of the channels."""

    class Site(Root):
        connection = Connection()

    return Site()


@pytest.fixture
def largest(monkeypatch):
    """The sizes that outboxes have had."""
    sizes = [0]

    class Watched(Outbox):
        def force(self, data, cursor=0):
            super().force(data, cursor)
            sizes.append(self.size)

    monkeypatch.setattr("pushserver.connections.link.Outbox", Watched)
    return sizes


@contextlib.contextmanager
def serving(**options):
    settings = {"max_outbox": MAX_OUTBOX, **options.pop("settings", {})}
    rule = ChannelRule("deep:", history=1000, history_bytes=1 << 24, see_history="anyone",
                       see_presence="anyone")
    with running_site(root(), plugin={"channels": [rule]}, settings=settings, buffers=BUFFER,
                      **options) as site:
        yield site


def fill(site):
    """Publish to all channels; return the position before that."""
    tops = {channel: [site.push.publish(channel, "x" * SIZE) for _ in range(COUNT)][-1]
            for channel in CHANNELS}
    return {channel: {"recover": True, "offset": 0, "epoch": top.epoch}
            for channel, top in tops.items()}


def joined(site, path="/connection/websocket?Id=42", **options):
    return RawClient(site, path, receive_buffer=BUFFER, **options)


def offsets(publications):
    return [one["offset"] for one in publications]


def wanted(first=1):
    return list(range(first, COUNT + 1))


@pytest.mark.parametrize("together", [True, False], ids=["one frame", "many frames"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_all_that_was_missed_comes_however_much_it_is(largest, together, tls, server_certificate,
                                                      client_tls):
    with serving(tls=server_certificate if tls else None) as site:
        positions = fill(site)
        with joined(site, tls=client_tls if tls else None) as client:
            client.connect()
            commands = [client.command("subscribe", channel=channel, **positions[channel])
                        for channel in CHANNELS]
            if together:
                client.send(*commands)
            else:
                for command in commands:
                    client.send(command)
            for command in commands:
                result = client.reply(command["id"])["subscribe"]
                assert result["recovered"] and offsets(result["publications"]) == wanted()
            site.push.publish(CHANNELS[0], "live")
            assert client.publication(CHANNELS[0])["offset"] == COUNT + 1
    assert max(largest) <= MAX_OUTBOX


@pytest.mark.parametrize("data", [None, "named"], ids=["by the tool", "by connecting too"])
def test_channels_from_the_start_come_whole(largest, data):
    with serving() as site:
        positions = fill(site)
        with joined(site, "/connection/named?Id=42") as client:
            subs = client.connect(data=data, subs=positions)["subs"]
            assert len(subs) == (20 if data else 5)
            assert all(one["recovered"] and one.get("offset", 0) == 0 for one in subs.values())
            seen = {channel: offsets(one.get("publications", ())) for channel, one in subs.items()}
            for channel in subs:
                site.push.publish(channel, "live")
            while any(len(found) <= COUNT for found in seen.values()):
                push = client.push()
                seen[push["channel"]].append(push["pub"]["offset"])
            assert set(map(tuple, seen.values())) == {tuple(range(1, COUNT + 2))}
            assert client.call("rpc", method="long", data=1) == {"data": "x"}
            assert not client.pushes
    assert max(largest) <= MAX_OUTBOX


def test_channels_in_which_the_site_puts_a_client_come_whole(largest):
    with serving() as site:
        positions = fill(site)
        with joined(site) as client:
            client.connect()
            connection, = site.push.connections("42")
            for channel in CHANNELS:
                since = Position(2, positions[channel]["epoch"])
                assert connection.subscribe(channel, since=since)
            seen = {channel: [] for channel in CHANNELS}
            while any(len(found) < COUNT - 2 for found in seen.values()):
                push = client.push()
                if "subscribe" in push:
                    assert push["subscribe"]["offset"] == 2 and not seen[push["channel"]]
                else:
                    seen[push["channel"]].append(push["pub"]["offset"])
            assert set(map(tuple, seen.values())) == {tuple(wanted(3))}
    assert max(largest) <= MAX_OUTBOX


def test_what_is_published_meanwhile_comes_in_order(largest):
    with serving() as site:
        positions = fill(site)
        with joined(site) as client:
            client.connect()
            client.send(*[client.command("subscribe", channel=channel, **positions[channel])
                          for channel in CHANNELS])
            seen = {channel: [] for channel in CHANNELS}
            for number in range(len(CHANNELS)):
                result = client.reply(number + 2)["subscribe"]
                seen[CHANNELS[number]] += offsets(result["publications"])
                for channel in CHANNELS:
                    site.push.publish(channel, "live")
                while client.pushes:
                    push = client.push()
                    seen[push["channel"]].append(push["pub"]["offset"])
            total = COUNT + len(CHANNELS)
            while any(len(found) < total for found in seen.values()):
                push = client.push()
                seen[push["channel"]].append(push["pub"]["offset"])
            assert all(found == list(range(1, total + 1)) for found in seen.values())


@pytest.mark.parametrize("command, request_, check", [
    ("history", {"channel": CHANNELS[0], "limit": -1},
     lambda result: offsets(result["publications"]) == wanted()),
    ("rpc", {"method": "long", "data": 40_000}, lambda result: len(result["data"]) == 40_000),
    ("rpc", {"method": "long", "data": 10}, lambda result: len(result["data"]) == 10),
    ("presence", {"channel": CHANNELS[0]}, lambda result: len(result["presence"]) == 501)])
def test_long_answers_are_made_as_they_are_read(largest, command, request_, check):
    count = 800 if request_.get("data") == 10 else 30
    with serving() as site:
        fill(site)
        presence = site.push._node.broker.presence
        for number in range(500):
            presence.join(CHANNELS[0], Info(f"client {number}", "user", None))
        with joined(site) as client:
            client.connect()
            client.call("subscribe", channel=CHANNELS[0])
            commands = [client.command(command, **request_) for _ in range(count)]
            client.send(*commands[:10])
            for one in commands[10:]:
                client.send(one)
            for one in commands:
                assert check(client.reply(one["id"])[command])
    assert max(largest) <= MAX_OUTBOX


@pytest.mark.parametrize("size", [49_000, 99_000, 100_000])
def test_a_publication_as_long_as_the_outbox_is_read_from_the_history(size):
    with serving() as site:
        for _ in range(3):
            site.push.publish("deep:long", '"' * (size // 2) + "x" * (size - size // 2))
        with joined(site) as client:
            client.connect()
            for _ in range(5):
                client.send(client.command("history", channel="deep:long", limit=-1),
                            client.command("rpc", method="long", data=20_000))
            for number in range(2, 12, 2):
                found = client.reply(number)["history"]["publications"]
                assert len(found[0]["data"]) == size
                assert len(client.reply(number + 1)["rpc"]["data"]) == 20_000


def test_who_never_reads_its_answers_is_slow(largest):
    with serving(settings={"pong_timeout": 0.3, "close_timeout": 0.3}) as site:
        positions = fill(site)
        with joined(site) as client:
            client.connect()
            connection, = site.push.connections("42")
            closed = []
            connection.closed = lambda code, reason: closed.append(code)
            client.send(*[client.command("subscribe", channel=channel, **positions[channel])
                          for channel in CHANNELS])
            wait_until(lambda: closed == [3008])
    assert max(largest) <= MAX_OUTBOX


def test_who_sends_on_without_reading_is_slow(largest):
    with serving(settings={"pong_timeout": 0.3, "close_timeout": 0.3, "ping_interval": 0.3,
                           "max_inbox": 50_000}) as site:
        with joined(site) as client:
            client.connect()
            connection, = site.push.connections("42")
            closed = []
            connection.closed = lambda code, reason: closed.append(code)
            call = json.dumps(client.command("rpc", method="long", data=10_000))
            client.socket.sock.settimeout(0.1)
            while not closed:
                with contextlib.suppress(OSError):
                    client.text(call)
            assert closed == [3008]
    assert max(largest) <= MAX_OUTBOX
