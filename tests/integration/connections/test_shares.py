"""Who causes too much while others wait is paused; nothing is lost, and nobody else notices."""
from __future__ import annotations

import pytest

from pushserver import Connection
from pushserver.connections import pace
from pushserver.connections.link import PIECE
from pushserver.runtime import shares
from pushserver.wire.disconnects import ABNORMAL, NO_PONG, TOO_MUCH
from pushserver.wire.frames import OPCODE_PING, OPCODE_TEXT, frame
from tests.support.bare_server import KEY, codes, hosting
from tests.support.site import recorder
from tests.support.waiting import wait_until


def limit(monkeypatch, *, burst, rate):
    monkeypatch.setattr(shares, "BURST", float(burst))
    monkeypatch.setattr(shares, "RATE", float(rate))
    monkeypatch.setattr(shares, "SHARED_RATE", float(rate))
    monkeypatch.setattr(shares, "OTHERS_WAIT", 3600.0)


def link_of(host, Id):
    link, = [link for link in host.server._hub.everyone() if link.Id == Id]
    return link


def paused(host, *, opcode=OPCODE_TEXT, handler_cls=Connection):
    """Return a client that is paused, its link, and one that waits for what is pushed."""
    flooder, quiet = host.join("flooder", handler_cls=handler_cls), host.join("quiet")
    link = link_of(host, "flooder")
    for number in range(1000):
        flooder.send(opcode, b"%d" % number)
        host.server.send("quiet", "push")
        assert quiet.next() == "push"
        if link.pace.is_paused:
            return flooder, link, quiet
    raise AssertionError("it was never paused")


@pytest.mark.parametrize("opcode", [OPCODE_TEXT, OPCODE_PING])
def test_who_sends_too_much_is_not_read_while_others_get_what_is_pushed(monkeypatch, opcode):
    limit(monkeypatch, burst=20, rate=0.001)
    with hosting() as host:
        flooder, link, quiet = paused(host, opcode=opcode)
        before = link.transport.frames
        flooder.sock.sendall(frame(opcode, b"more", KEY) * 100)
        for _ in range(20):
            host.server.broadcast("push")
            assert quiet.next() == "push"
        assert link.pace.is_paused and link.transport.frames == before


def test_after_a_pause_all_is_read_in_order(monkeypatch):
    limit(monkeypatch, burst=20, rate=2000)
    log = recorder()
    with hosting() as host:
        flooder, link, quiet = paused(host, handler_cls=log)
        flooder.sock.sendall(b"".join(frame(OPCODE_TEXT, b"more %d" % number, KEY)
                                      for number in range(PIECE)))
        more = [b"more %d" % number for number in range(PIECE)]
        wait_until(lambda: [entry[-1] for entry in log.log[-PIECE:]] == more)


def test_nobody_is_paused_while_nobody_else_waits(monkeypatch):
    limit(monkeypatch, burst=20, rate=0.001)
    log = recorder()
    with hosting() as host:
        flooder = host.join("flooder", handler_cls=log)
        for number in range(500):
            flooder.send(OPCODE_TEXT, b"x")
        wait_until(lambda: len(log.log) == 501)
        assert not link_of(host, "flooder").pace.is_paused


def test_a_paused_client_can_be_closed_and_is_heard_again_for_its_answer(monkeypatch):
    limit(monkeypatch, burst=20, rate=0.001)
    log = recorder()
    with hosting() as host:
        flooder, _, _ = paused(host, handler_cls=log)
        host.server.disconnect("flooder", 4000, "enough")
        assert codes(flooder.rest_until_close()) == [4000]
        flooder.close(4000)
        wait_until(lambda: log.log[-1] == ("closed", "flooder", 4000, "enough"))


def test_who_sends_too_much_for_long_is_closed(monkeypatch):
    limit(monkeypatch, burst=20, rate=1000)
    monkeypatch.setattr(shares, "MOST_PAUSED", 0.0)
    with hosting() as host:
        flooder, link, quiet = paused(host)
        flooder.sock.sendall(frame(OPCODE_TEXT, b"", KEY) * 4000)
        assert codes(flooder.rest_until_close()) == [TOO_MUCH.code]


def test_a_pause_is_no_silence(monkeypatch):
    limit(monkeypatch, burst=20, rate=0.001)
    with hosting(ping_interval=0.02, pong_timeout=0.02) as host:
        flooder, link, quiet = paused(host)
        for silent in ("first", "second"):     # each is silent for as long as it is let be
            assert codes(host.join(silent).rest()) == [NO_PONG.code]
        assert host.server._hub.has(link) and link.pace.is_paused


@pytest.mark.parametrize("unread", [b"", frame(OPCODE_TEXT, b"unread", KEY) * 10])
def test_a_client_that_leaves_while_it_is_paused_is_noticed(monkeypatch, unread):
    limit(monkeypatch, burst=20, rate=0.001)
    monkeypatch.setattr(pace, "LOOK", 0.02)
    log = recorder()
    with hosting() as host:
        flooder, link, _ = paused(host, handler_cls=log)
        flooder.sock.sendall(unread)
        flooder.sock.close()
        wait_until(lambda: log.log[-1][:3] == ("closed", "flooder", ABNORMAL.code))
        assert not host.server._hub.has(link)


class Costly(Connection):
    """Send back what comes, which costs much."""

    def received_message(self, message):
        self._handle.link.inbox.caused += 50
        self.send(message.data, message.is_binary)


@pytest.mark.parametrize("kind", ["pair", "tls_pair"])
def test_who_lets_nothing_wait_is_not_closed_however_often_it_is_paused(monkeypatch, request, kind):
    limit(monkeypatch, burst=20, rate=1000)
    monkeypatch.setattr(shares, "MOST_PAUSED", 0.0)
    with hosting() as host:
        client = host.join("fast", handler_cls=Costly, pair=request.getfixturevalue(kind))
        quiet, link, pauses = host.join("quiet"), link_of(host, "fast"), 0
        while pauses < 10:
            client.send(OPCODE_TEXT, b"x")
            assert client.next() == "x"
            pauses += link.pace.is_paused
            host.server.send("quiet", "push")
            assert quiet.next() == "push"
