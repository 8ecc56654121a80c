"""Heartbeats: empty messages for who asks for them, because browsers hide pings."""
from __future__ import annotations

import pytest

from pushserver.wire.frames import OPCODE_TEXT
from tests.support.bare_server import codes, hosting
from tests.support.waiting import wait_until

QUICK = 0.02
"""Seconds between heartbeats."""

MUCH = 100_000
"""Bytes that wait only where a long message does."""

NEVER = 3600
"""Seconds between heartbeats of which only the first comes while a test lasts."""


def link_of(host):
    """Return the server's side of the only connection."""
    link, = host.server._lifecycle.runtime.links
    return link


def test_the_first_heartbeat_comes_before_anything_that_is_pushed():
    with hosting() as host:
        peer = host.join(heartbeat=NEVER, shake=False)
        host.server.broadcast("pushed")
        peer.answer()
        assert (peer.next(), peer.next()) == ("", "pushed")


@pytest.mark.parametrize("ping_interval", [0, 25])
def test_heartbeats_go_on_with_and_without_pings(ping_interval):
    with hosting(ping_interval=ping_interval) as host:
        peer = host.join(heartbeat=QUICK)
        assert [peer.next() for _ in range(5)] == [""] * 5


def test_messages_come_between_heartbeats():
    with hosting() as host:
        peer = host.join(heartbeat=QUICK)
        assert (peer.next(), peer.next()) == ("", "")
        host.server.send("42", "pushed")
        found = [""]
        while found[-1] != "pushed":
            found.append(peer.next())
        assert set(found[:-1]) == {""} and peer.next() == ""


def test_who_does_not_ask_sees_none_and_keeps_no_timer():
    with hosting(ping_interval=0) as host:
        peer = host.join()
        host.join("43", heartbeat=QUICK).next()
        host.server.broadcast("pushed")
        assert peer.next() == "pushed"
        silent, = host.server._hub.of_id("42")
        assert silent._keepalive._heartbeat is None


def test_a_client_that_does_not_read_is_queued_no_heartbeats():
    with hosting(ping_interval=0) as host:
        host.join(heartbeat=QUICK, buffer=4096)
        link = link_of(host)
        host.server.broadcast("x" * 500_000)
        wait_until(lambda: link.outbox.size > MUCH)     # not what is left of the answer
        waiting = link.outbox.size
        for _ in range(3):
            timer = link._keepalive._heartbeat
            wait_until(lambda: link._keepalive._heartbeat is not timer)
        assert link.outbox.size == waiting


def test_a_connection_that_has_ended_is_not_kept_for_its_next_heartbeat():
    with hosting(ping_interval=0) as host:
        peer = host.join(heartbeat=NEVER)
        timer = link_of(host)._keepalive._heartbeat
        peer.sock.close()
        wait_until(lambda: not host.server._lifecycle.runtime.links)
        assert timer.action is None


def test_no_heartbeat_follows_a_close():
    with hosting(ping_interval=0, close_timeout=0.2) as host:
        peer = host.join(heartbeat=QUICK)
        host.server.disconnect("42")
        rest = peer.rest()
        assert codes(rest) == [3505] and rest[-1] == (3505, "disconnected by the site")


def test_heartbeats_do_not_keep_a_silent_client():
    with hosting(ping_interval=0.1, pong_timeout=0.1) as host:
        peer = host.join(heartbeat=QUICK)
        assert codes(peer.rest()) == [3012]


def test_what_the_client_sends_is_still_received():
    with hosting() as host:
        peer = host.join(heartbeat=QUICK)
        peer.send(OPCODE_TEXT, b"")
        assert peer.next() == ""
