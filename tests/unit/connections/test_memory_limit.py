"""The limit of what is held for all clients: who is freed, who stays, and what is told."""
from __future__ import annotations

import json
import logging
import threading
import tracemalloc

import pytest

from pushserver import ChannelRule, Connection
from pushserver.connections import memory_limit
from pushserver.errors import HandshakeRefused
from pushserver.server import acceptor_of
from pushserver.wire.disconnects import SHORT_OF_MEMORY
from pushserver.wire.frames import OPCODE_BINARY, OPCODE_TEXT, frame
from tests.support.bare_server import KEY, hosting
from tests.support.handlers import blocked
from tests.support.waiting import PATIENCE, wait_until

KIB = 1024
MIB = 1024 * KIB
KINDS = {"outboxes", "inboxes", "histories", "heads", "queued"}
BUFFER = 4096
"""Bytes of the buffer of a socket whose client does not read."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look often, so that a test need not wait for it."""
    monkeypatch.setattr(memory_limit, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(memory_limit, "RELIEF_INTERVAL", 0.02)
    monkeypatch.setattr(memory_limit, "SOONEST", 0.0)


def memory(host):
    return host.server.stats()["memory"]


def settled(host, most):
    """Wait until no more than this is held, and nothing is over the limit; return what is."""
    account = host.server._memory._account
    return wait_until(lambda: not account.is_over and memory(host)["held"] <= most
                      and memory(host))


def codes(peer):
    """Return the close codes among all that comes."""
    return [message.code for message in peer.rest() if hasattr(message, "code")]


def test_the_numbers_are_plain_and_add_up():
    with hosting(channels=[ChannelRule("kept:", history=10)]) as host:
        host.join("1", channels=["a", "kept:b"])
        host.join("2", channels=["a"])
        host.server.publish("kept:b", "x" * 10_000)
        stats = host.server.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert (stats["connections"], stats["channels"]) == (2, 2)
    held = stats["memory"]
    assert held.keys() == {"max", "held", *KINDS}
    assert held["max"] == host.server.settings.max_memory
    assert held["held"] == sum(held[kind] for kind in KINDS) >= held["histories"] >= 10_000


def test_what_waits_for_all_is_no_reason_to_close_anyone():
    with hosting(max_memory=2 * MIB, max_outbox=MIB) as host:
        for number in range(20):
            host.join(str(number), buffer=BUFFER)
        host.server.broadcast("x" * 500 * KIB)
        host.server.broadcast("y" * 500 * KIB)
        links = host.server._hub.everyone()
        wait_until(lambda: all(link.outbox.size > 500 * KIB for link in links))
        assert sum(link.outbox.size for link in links) > 10 * MIB
        held = memory(host)
        assert 1000 * KIB <= held["outboxes"] + held["queued"] < 1.2 * MIB
        assert len(host.server) == 20


def test_those_who_hold_most_are_closed_and_the_others_stay():
    with hosting(max_memory=4 * MIB, max_outbox=MIB) as host:
        small = [host.join(f"small {number}", buffer=BUFFER) for number in range(10)]
        large = [host.join(f"large {number}", buffer=BUFFER) for number in range(10)]
        for number in range(10):
            host.server.send(f"small {number}", f"{number}" + "x" * 100 * KIB)
        for number in range(10):
            host.server.send(f"large {number}", f"{number}" + "x" * 900 * KIB)
        wait_until(lambda: len(host.server) <= 14)
        settled(host, 4 * MIB)
        there = set(host.server.ids())
        assert {f"small {number}" for number in range(10)} <= there
        assert 1 <= sum(name.startswith("large") for name in there) <= 4
        assert all(len(peer.next()) > 100 * KIB for peer in small)
        assert len(large) == 10


def test_a_client_that_is_closed_is_told_why_behind_what_it_has_begun_to_read(monkeypatch):
    monkeypatch.setattr(memory_limit, "RELIEF_INTERVAL", PATIENCE)  # so that it has time to read
    with hosting(max_memory=MIB, max_outbox=MIB) as host:
        reader = host.join("reader", buffer=BUFFER)
        for letter in "abc":
            host.server.send("reader", letter * 450 * KIB)
        wait_until(lambda: not len(host.server))
        got = [reader.next()]
        while got[-1] != SHORT_OF_MEMORY:
            got.append(reader.next())
        assert not SHORT_OF_MEMORY.is_final
        assert got[:-1] == [letter * 450 * KIB for letter in "abc"][:len(got) - 1]
        assert len(got) > 1


def test_new_clients_are_refused_while_there_is_too_much_and_then_come():
    with hosting(max_memory=MIB, retry_after=7) as host:
        holder = Holder(2 * MIB)
        host.server._memory.hold("elsewhere", holder)
        acceptor = acceptor_of(host.server)
        wait_until(lambda: host.server._memory._account.is_over)
        with pytest.raises(HandshakeRefused) as refused:
            acceptor.reserve("42")
        assert refused.value.status == 503 and refused.value.headers["Retry-After"] == "7"
        holder.held_bytes = 0
        wait_until(lambda: not host.server._memory._account.is_over)
        host.join("42")


class Holder:
    """Something that holds what a test says."""

    def __init__(self, size):
        self.held_bytes = size


class Yielding(Holder):
    """Something that can free what it holds."""

    def __init__(self, size):
        super().__init__(size)
        self.asked = []

    def evict(self, size):
        self.asked.append((size, threading.current_thread().name))
        freed = min(size, self.held_bytes)
        self.held_bytes -= freed
        return freed


def test_the_largest_kind_is_freed_first_on_a_worker():
    with hosting(max_memory=10 * MIB) as host:
        large, small = Yielding(12 * MIB), Yielding(3 * MIB)
        host.server._memory.hold("small", small)
        host.server._memory.hold("large", large)
        wait_until(lambda: large.asked and not host.server._memory._account.is_over)
        assert not small.asked and small.held_bytes == 3 * MIB
        size, thread = large.asked[0]
        assert 2 * MIB <= size <= 7 * MIB and thread.startswith("pushserver-worker")
        assert large.held_bytes + small.held_bytes <= 10 * MIB


def test_histories_go_the_oldest_first_and_no_client_is_told_that_it_missed_nothing():
    rules = [ChannelRule("kept:", history=10, history_bytes=MIB)]
    with hosting(max_memory=2 * MIB, channels=rules) as host:
        server = host.server
        limits = server.rule("kept:0").limits
        seen = server.publish("kept:0", "seen")
        server.publish("kept:0", "missed")
        for number in range(1, 30):
            server.publish(f"kept:{number}", str(number) + "x" * 200 * KIB)
        settled(host, 2 * MIB)
        assert server.history("kept:29").publications
        assert not server.history("kept:0").publications
        page = server._broker.recover("kept:0", limits, seen)
        assert not page.recovered and not page.publications
        assert server.publish("kept:0", "next") > seen


def test_who_floods_a_busy_handler_is_closed_and_nothing_more_is_read(gate):
    with hosting(max_memory=2 * MIB, max_inbox=MIB, workers=1) as host:
        quiet = host.join("quiet", handler_cls=blocked(gate))
        quiet.send(OPCODE_TEXT, b"x" * 1000)
        floods = [host.join(f"flood {number}", handler_cls=blocked(gate)) for number in range(6)]
        threads = [threading.Thread(target=flood, args=(peer,)) for peer in floods]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(host.server) < 7)
        for peer in floods:
            peer.sock.shutdown(2)
        for thread in threads:
            thread.join(PATIENCE)
        assert "quiet" in host.server.ids()
        gate.set()
        settled(host, 2 * MIB)
        quiet.send(OPCODE_TEXT, b"still there")
        wait_until(lambda: memory(host)["inboxes"] == 0)


def flood(peer):
    """Send until nothing more is taken, because nothing is read or the connection has ended."""
    message = frame(OPCODE_BINARY, b"x" * 32 * KIB, KEY)
    peer.sock.settimeout(0.5)
    try:
        for _ in range(100):
            peer.sock.sendall(message)
    except OSError:
        pass


def test_while_there_is_too_much_a_client_is_read_message_by_message(gate):
    with hosting(max_memory=MIB, workers=1) as host:
        holder = Holder(2 * MIB)
        peer = host.join("42", handler_cls=blocked(gate))
        link, = host.server._hub.everyone()
        host.server._memory.hold("elsewhere", holder)
        wait_until(lambda: host.server._memory._account.is_over)
        peer.send(OPCODE_TEXT, b"one")
        wait_until(lambda: link.inbox.is_full)
        peer.send(OPCODE_TEXT, b"two")
        gate.set()
        wait_until(lambda: link.inbox._handled == 2 * (256 + 3))
        holder.held_bytes = 0


def test_half_messages_count_and_the_largest_is_closed():
    with hosting(max_memory=256 * KIB, max_message_size=MIB) as host:
        small, large = host.join("small"), host.join("large")
        small.sock.sendall(frame(OPCODE_BINARY, b"x" * 40 * KIB, KEY)[:-1])
        wait_until(lambda: memory(host)["inboxes"] >= 40 * KIB - 1)
        large.sock.sendall(frame(OPCODE_BINARY, b"x" * 400 * KIB, KEY)[:-1])
        wait_until(lambda: host.server.ids() == ["small"])
        settled(host, 256 * KIB)
        assert codes(large) in ([3008], [])
        small.sock.sendall(frame(OPCODE_BINARY, b"x" * 40 * KIB, KEY)[-1:])
        wait_until(lambda: memory(host)["inboxes"] == 0)


def test_it_is_logged_once_and_again_when_it_is_over(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with hosting(max_memory=MIB) as host:
        holder = Holder(2 * MIB)
        host.server._memory.hold("elsewhere", holder)
        wait_until(lambda: caplog.messages)
        for _ in range(3):
            holder.held_bytes = 0
            wait_until(lambda: not host.server._memory._account.is_over)
            holder.held_bytes = 2 * MIB
            wait_until(lambda: host.server._memory._account.is_over)
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("2.0 MiB are held for clients, and max_memory is 1.0 ")
        holder.held_bytes = 0
        monkeypatch.setattr(memory_limit, "CALM", 0.0)
        wait_until(lambda: len(caplog.messages) == 2)
        assert caplog.messages[1] == ("no more than max_memory is held for clients again: 0 "
                                      "connections were closed, and 0.0 MiB of histories forgotten")


class Broken:
    """Something that cannot say what it holds, for a while."""

    asked = 0

    @property
    def held_bytes(self):
        self.asked += 1
        if self.asked < 3:
            raise OSError("not now")
        return 5 * MIB


def test_what_a_holder_raises_ends_nothing(caplog):
    with hosting(max_memory=MIB) as host:
        host.server._memory.hold("elsewhere", Broken())
        wait_until(lambda: host.server._memory._account.is_over)
        assert "cannot find out how much is held for clients" in caplog.text


def test_without_a_limit_all_is_counted_and_nothing_freed():
    with hosting(max_memory=0, max_outbox=MIB) as host:
        host.join("42", buffer=BUFFER)
        for letter in "ab":
            host.server.send("42", letter * 800 * KIB)
        wait_until(lambda: memory(host)["outboxes"] > 1500 * KIB)
        host.server._memory.hold("elsewhere", Holder(1 << 40))
        host.join("43")
        assert memory(host)["max"] == 0 and not host.server._memory._account.is_over


def test_the_heads_that_connections_keep_are_counted():
    class Handler(Connection):
        def __init__(self, sock, protocols, extensions, environ):
            super().__init__(sock, protocols, extensions, {"HTTP_COOKIE": "x" * 10_000, "n": 5})

    with hosting() as host:
        peers = [host.join(str(number), handler_cls=Handler) for number in range(3)]
        wait_until(lambda: 30_000 <= memory(host)["heads"] <= 31_000)
        for peer in peers:
            peer.close()
            peer.rest()
        wait_until(lambda: memory(host)["heads"] == 0)


@pytest.mark.parametrize("size, count", [(100_000, 50), (10, 50_000)])
def test_the_account_is_near_what_python_really_takes(size, count):
    with hosting(max_memory=0, max_outbox=8 * MIB) as host:
        host.join("42", buffer=BUFFER)
        host.server.send("42", "a" * 300_000)    # what comes behind it waits
        link, = host.server._hub.everyone()
        wait_until(lambda: link.busy and link.outbox.size > 200_000)
        tracemalloc.start()
        try:
            before = memory(host)["outboxes"]
            for number in range(count):
                host.server.send("42", f"{number:9}" + "x" * size)
            wait_until(lambda: link.outbox.size > count * size and memory(host)["queued"] == 0)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        counted = memory(host)["outboxes"] - before
        assert taken / 1.5 < counted < taken * 1.5


def test_a_server_that_stops_and_starts_counts_anew():
    with hosting(max_memory=4 * MIB, drain_timeout=0.3) as host:
        host.join("42", buffer=BUFFER)
        host.server.send("42", "x" * 900 * KIB)
        wait_until(lambda: memory(host)["outboxes"] > 800 * KIB)
        host.server.stop()
        assert memory(host)["outboxes"] == memory(host)["inboxes"] == 0
        host.server.start()
        host.join("42", buffer=BUFFER)
        host.server.send("42", "x" * 900 * KIB)
        wait_until(lambda: memory(host)["outboxes"] > 800 * KIB)
