"""The server: who receives what, who is let in, and a start and a stop that leave nothing."""
from __future__ import annotations

import logging
import threading
import time

import pytest

from pushserver import (ChannelRule, Connection, ConnectionClosed, HandshakeRefused, InvalidData,
                        InvalidSetting, MessageTooLarge, PushServer, Settings)
from pushserver.wire.disconnects import Disconnect
from pushserver.server import acceptor_of
from pushserver.wire.frames import OPCODE_TEXT
from pushserver.channels.memory_broker import MemoryBroker
from pushserver.connections.codec import PLAIN
from tests.support.bare_server import codes, hosting
from tests.support.site import recorder
from tests.support.waiting import PATIENCE, wait_until


class Events:
    """Keep what the server tells."""

    def __init__(self):
        self.log = []

    def opened(self, connection):
        self.log.append(("opened", connection.Id))

    def received(self, connection, message):
        self.log.append(("received", connection.Id, message.data))

    def closed(self, connection, code, reason):
        self.log.append(("closed", connection.Id, code, reason))


def ended(handler_cls):
    """Return the code that a recorder's ``closed`` is told; fail if it never is."""
    return wait_until(lambda: [entry[2] for entry in handler_cls.log if entry[0] == "closed"])[0]


@pytest.fixture
def host():
    with hosting() as host:
        yield host


# Publishing

def test_a_broadcast_reaches_everybody(host):
    peers = [host.join("1"), host.join("1"), host.join("2")]
    host.server.broadcast("all")
    assert [peer.next() for peer in peers] == ["all"] * 3


def test_a_send_reaches_each_connection_of_its_id_and_says_how_many(host):
    first, second, other = host.join("1"), host.join("1"), host.join("2")
    assert host.server.send("1", {"order": 5}) == 2
    assert host.server.send("nobody", "x") == 0
    host.server.send("2", b"yours")
    assert first.next() == second.next() == '{"order":5}'
    assert other.next() == b"yours"


def test_a_publication_reaches_who_is_in_its_channel(host):
    inside, joining, outside = host.join(channels=["news"]), host.join(), host.join()
    assert joining.connection.subscribe("news")
    assert not joining.connection.subscribe("news")
    host.server.publish("news", "one")
    assert inside.connection.unsubscribe("news")
    assert not inside.connection.unsubscribe("news")
    host.server.publish("news", "two")
    host.server.broadcast("end")
    assert [inside.next() for _ in range(2)] == ["one", "end"]
    assert [joining.next() for _ in range(3)] == ["one", "two", "end"]
    assert outside.next() == "end"


def test_one_thread_keeps_its_order_whatever_it_calls(host):
    peer = host.join("1", channels=["c"])
    for number in range(0, 300, 4):
        host.server.broadcast(str(number))
        host.server.send("1", str(number + 1))
        host.server.publish("c", str(number + 2))
        peer.connection.send(str(number + 3))
    assert [peer.next() for _ in range(300)] == [str(number) for number in range(300)]


@pytest.mark.parametrize("call", [
    lambda server, data: server.broadcast(data), lambda server, data: server.send("42", data),
    lambda server, data: server.publish("c", data)])
def test_what_cannot_be_sent_is_an_error_at_the_call_and_reaches_nobody(call):
    with hosting(max_outbox=100) as host:
        peer = host.join(channels=["c"])
        for bad in ({1}, float("nan"), "\ud800"):
            with pytest.raises(InvalidData):
                call(host.server, bad)
        with pytest.raises(MessageTooLarge, match="max_outbox"):
            call(host.server, "x" * 200)
        call(host.server, "good")
        assert peer.next() == "good"


def test_one_connections_message_that_fits_no_outbox_is_an_error_too():
    with hosting(max_outbox=100) as host:
        with pytest.raises(MessageTooLarge):
            host.join().connection.send("x" * 200)


def test_a_first_frame_is_queued_under_the_hubs_lock_and_the_loop_woken_outside_of_it(host):
    loop, lock, seen = host.server._lifecycle.runtime.loop, host.server._hub._lock, []
    wake, put = loop.wake, loop.put
    loop.wake = lambda: (seen.append(("wake", lock.locked())), wake())
    loop.put = lambda *what: (seen.append(("put", lock.locked())), put(*what))
    peer = host.join()
    seen.clear()
    assert peer.connection.handle.admit(PLAIN, False, b"first")
    peer.connection.handle.wake()
    assert peer.next() == "first"
    assert seen == [("put", True), ("wake", False)]


@pytest.mark.parametrize("channel", ["", "x" * 256, 5, None, b"news"])
def test_a_channel_is_text_of_1_to_255_characters(host, channel):
    connection = host.join().connection
    for use in (lambda: host.server.publish(channel, "x"), lambda: connection.subscribe(channel),
                lambda: connection.unsubscribe(channel)):
        with pytest.raises(InvalidSetting, match="1 to 255"):
            use()


@pytest.mark.parametrize("Id", [42, None, b"42"])
def test_an_id_that_is_no_text_is_an_error_and_not_nobody(host, Id):
    for use in (lambda: host.server.send(Id, "x"), lambda: host.server.disconnect(Id)):
        with pytest.raises(InvalidSetting, match="use text"):
            use()


# Who is there

def test_the_server_knows_who_is_there(host):
    one, two = host.join("1"), host.join("2")
    assert host.server.ids() == ["1", "2"]
    assert host.server.connections() == [one.connection, two.connection]
    assert host.server.connections("2") == [two.connection]
    assert host.server.connections("3") == []
    assert len(host.server) == 2


def test_a_server_without_connections_is_true_all_the_same():
    server = PushServer()
    assert len(server) == 0 and server
    assert repr(server) == "<PushServer stopped, 0 connections>"


def test_disconnect_closes_an_id_for_good_and_takes_it_out_at_once(host):
    first, second, other = host.join("1"), host.join("1"), host.join("2")
    assert host.server.disconnect("1") == 2
    assert host.server.ids() == ["2"]
    assert host.server.disconnect("1") == 0
    assert codes([first.next(), second.next()]) == [3505, 3505]
    assert host.server.disconnect("2", code=4000, reason="bye") == 1
    assert other.next() == Disconnect(4000, "bye")


def test_a_disconnect_that_cannot_be_sent_disconnects_nobody(host):
    host.join("1")
    with pytest.raises(InvalidSetting):
        host.server.disconnect("1", code=1005)
    assert host.server.ids() == ["1"]


def test_events_tell_of_every_connection():
    events = Events()
    with hosting(events=events) as host:
        peer = host.join()
        peer.send(OPCODE_TEXT, b"hello")
        peer.close(1000)
        peer.rest()
        wait_until(lambda: len(events.log) == 3)
    assert events.log == [("opened", "42"), ("received", "42", b"hello"),
                          ("closed", "42", 1000, "")]


# Who is let in

def refused(server, Id="42"):
    with pytest.raises(HandshakeRefused) as refusal:
        acceptor_of(server).reserve(Id)
    assert refusal.value.headers["Retry-After"] == str(server.settings.retry_after)
    return refusal.value.status


def test_too_many_connections_are_503_and_of_one_id_429():
    with hosting(max_connections=3, max_connections_per_id=2) as host:
        host.join("1"), host.join("1")
        assert refused(host.server, "1") == 429
        last = host.join("2")
        assert refused(host.server, "3") == 503
        last.sock.close()
        wait_until(lambda: len(host.server._lifecycle.runtime.links) == 2)
        host.join("3")


def test_replace_closes_the_older_connection_for_good():
    with hosting(duplicates="replace") as host:
        older = host.join("1")
        newer = host.join("1")
        assert codes([older.next()]) == [3504]
        assert host.server.send("1", "x") == 1
        assert newer.next() == "x"


def test_a_place_given_back_is_free_again():
    with hosting(max_connections=1) as host:
        acceptor_of(host.server).reserve("1")
        assert refused(host.server) == 503
        acceptor_of(host.server).release("1")
        host.join("2")


def test_a_server_that_does_not_run_takes_nobody():
    server = PushServer()
    assert refused(server) == 503
    with hosting() as host:
        host.server.drain()
        assert refused(host.server) == 503
        host.server.stop()
        assert refused(host.server) == 503


# Running

def test_pushing_before_the_start_and_after_the_stop_raises_nothing():
    server = PushServer(Settings(drain_timeout=0.2))
    for _ in range(2):
        server.broadcast("x")
        server.publish("c", "x")
        assert server.send("1", "x") == server.disconnect("1") == 0
        server.start()
        server.stop()


def test_it_can_be_started_again_and_starting_twice_is_once():
    server = PushServer(Settings(drain_timeout=0.2))
    for _ in range(3):
        server.start()
        server.start()
        assert repr(server) == "<PushServer running, 0 connections>"
        server.stop()
        server.stop()


def test_a_stop_closes_everybody_with_1001_and_tells_the_handlers():
    log = recorder()
    with hosting(drain_timeout=PATIENCE) as host:
        peers = [host.join(handler_cls=log) for _ in range(3)]
        stopping = threading.Thread(target=host.server.stop)
        stopping.start()
        assert [codes([peer.next()]) for peer in peers] == [[1001]] * 3
        for peer in peers:
            peer.close(1001)
        stopping.join()
        assert [entry[2] for entry in log.log if entry[0] == "closed"] == [1001] * 3


def test_a_client_that_does_not_leave_is_left_when_the_time_is_over():
    log = recorder()
    with hosting(drain_timeout=0.2) as host:
        peer = host.join(handler_cls=log)
        host.server.stop()
        assert codes(peer.rest()) == [1001]
        assert ended(log) == 1001


def test_handlers_are_told_even_when_the_time_was_over_before_the_stop():
    log = recorder()
    with hosting(drain_timeout=0.1, close_timeout=PATIENCE) as host:
        host.join(handler_cls=log)
        host.server.drain()
        wait_until(lambda: time.monotonic() > host.server._lifecycle._deadline)
        host.server.stop()
        assert ended(log) == 1001


def test_a_ticker_runs_whenever_the_server_does():
    server = PushServer(Settings(drain_timeout=0.2))
    made = []
    ticker = server.every(0.01, lambda: made.append(1))
    assert "stopped" in repr(ticker)
    for _ in range(2):
        server.start()
        made.clear()
        wait_until(lambda: made)
        server.stop()
        assert "stopped" in repr(ticker)
    ticker.stop()
    server.start()
    assert "stopped" in repr(ticker)
    server.stop()


def test_a_ticker_pushes_to_all_or_to_its_channel(host):
    inside, outside = host.join(channels=["time"]), host.join()
    ticker = host.server.every(0.01, lambda: "tick", channel="time")
    assert inside.next() == "tick"
    ticker.stop()
    ticker = host.server.every(0.01, lambda: "for all")
    assert outside.next() == "for all"
    ticker.stop()


def test_a_ticker_that_cannot_be_is_refused(host):
    with pytest.raises(InvalidSetting):
        host.server.every(0, lambda: "x")
    with pytest.raises(InvalidSetting):
        host.server.every(1, lambda: "x", channel="")


def test_an_error_that_ends_the_loop_is_told_and_the_stop_still_ends_all(caplog):
    deaths = []
    server = PushServer(Settings(drain_timeout=0.2), on_death=deaths.append)
    server.start()
    with caplog.at_level(logging.CRITICAL, "pushserver"):
        server._lifecycle.runtime.loop.call(lambda: 1 / 0)
        wait_until(lambda: deaths)
    assert isinstance(server.failure, ZeroDivisionError)
    assert refused(server) == 503
    server.stop()
    server.start()
    assert server.failure is None
    server.stop()


def test_a_connection_that_is_gone_can_do_nothing(host):
    peer = host.join()
    handle, gone = peer.connection.handle, []
    peer.connection.closed = lambda code, reason: gone.append(code)
    peer.sock.close()
    wait_until(lambda: len(host.server) == 0)
    assert not handle.send(OPCODE_TEXT, b"x") and not handle.put(False, b"x")
    assert not handle.close(Disconnect(1000, ""))
    assert not handle.subscribe("a", peer.connection.presence_info)
    assert not handle.unsubscribe("a", "client") and not handle.is_in("a")
    assert handle.later(0, gone.clear) is None and handle.expire(0) is None
    with pytest.raises(ConnectionClosed):
        handle.rename("other")
    handle.abort()


def test_the_default_handler_takes_everything_in_silence(host):
    peer = host.join(handler_cls=Connection)
    peer.send(OPCODE_TEXT, b"x")
    peer.close()
    assert codes(peer.rest()) == [1000]


# Channels that remember

RULES = [ChannelRule("kept:", history=3), ChannelRule("here:", join_leave=True, linger=0.05)]


def test_a_publication_has_a_position_and_can_be_read_again():
    with hosting(channels=RULES) as host:
        assert host.server.publish("fleeting", "x") == (0, "")
        positions = [host.server.publish("kept:a", number) for number in range(5)]
        assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
        page = host.server.history("kept:a", limit=2, since=positions[2])
        assert ([one.data for one in page.publications], page.top) == ([3, 4], positions[4])
        assert host.server.publish("kept:a", "again", key="k") == \
            host.server.publish("kept:a", "again", key="k")
        host.server.remove_history("kept:a")
        assert host.server.history("kept:a").publications == []


@pytest.mark.parametrize("options", [{"key": ""}, {"key": "x" * 256}, {"key": 5},
                                     {"tags": {"a": 1}}, {"tags": "a"}])
def test_keys_and_tags_that_cannot_be_are_errors(host, options):
    with pytest.raises(InvalidSetting):
        host.server.publish("c", "x", **options)


def test_plain_connections_are_present_and_vanish_after_their_linger():
    with hosting(channels=RULES) as host:
        ann = host.join("ann", channels=["here:a"])
        bob = host.join("bob")
        bob.connection.subscribe("here:a")
        here = host.server.presence("here:a")
        assert {info.user for info in here.values()} == {"ann", "bob"}
        assert host.server.presence_stats("here:a") == (2, 2)
        bob.close()
        wait_until(lambda: host.server.presence_stats("here:a") == (1, 1))
        ann.sock.close()
        wait_until(lambda: host.server.presence_stats("here:a") == (0, 0))


def test_without_a_rule_presence_is_who_is_connected(host):
    peer = host.join("ann", channels=["c"])
    host.join("ann", channels=["c"])
    assert host.server.presence_stats("c") == (2, 1)
    assert peer.connection.client in host.server.presence("c")
    assert host.server.channels() == {"c": 2}


def test_an_id_is_put_into_a_channel_and_out_again(host):
    peers = [host.join("1"), host.join("1"), host.join("2")]
    assert host.server.subscribe_id("1", "c") == 2
    assert host.server.subscribe_id("1", "c") == 0
    host.server.publish("c", "x")
    assert [peer.next() for peer in peers[:2]] == ["x", "x"]
    assert host.server.unsubscribe_id("1", "c") == 2
    assert host.server.channels() == {}


def test_what_checks_no_tokens_is_a_clear_error():
    with pytest.raises(InvalidSetting, match=r"tokens is a str: use Tokens\(secret=...\)"):
        PushServer(tokens="secret")


def test_a_server_that_nobody_has_started_says_so_once_in_the_log(caplog):
    server = PushServer()
    for _ in range(2):
        with pytest.raises(HandshakeRefused) as caught:
            acceptor_of(server).reserve("42")
        assert caught.value.status == 503
    record, = caplog.records
    assert "call push.subscribe()" in record.getMessage()
    caplog.clear()
    server = PushServer()
    server.start()
    server.stop()
    with pytest.raises(HandshakeRefused):
        acceptor_of(server).reserve("42")
    assert not caplog.records


def test_presence_and_history_outlive_a_stop_of_the_server():
    server = PushServer(Settings(), channels=RULES)
    server.start()
    server.publish("kept:a", "x")
    server.stop()
    server.start()
    assert server.publish("kept:a", "y").offset == 2
    server.stop()


@pytest.mark.parametrize("part", ["broker", "presence", "control"])
def test_a_broker_that_cannot_start_leaves_no_thread_and_a_second_start_works(part):
    broker = MemoryBroker()
    broken = broker if part == "broker" else getattr(broker, part)
    start = broken.start

    def fails(*args):
        broken.start = start
        raise ConnectionError("the broker is away")

    broken.start = fails
    server = PushServer(broker=broker)
    with pytest.raises(ConnectionError):
        server.start()
    assert refused(server) == 503
    server.start()
    acceptor_of(server).reserve("42")
    server.stop()


def test_a_broker_is_started_before_connections_are_taken_and_stopped_after_the_last():
    log, broker = [], MemoryBroker()
    start, stop = broker.start, broker.stop
    broker.start = lambda receiver: (log.append(refused(server)), start(receiver))
    broker.stop = lambda: (log.append(len(server)), stop())
    server = PushServer(broker=broker)
    server.start()
    server.stop()
    assert log == [503, 0]


def test_threads_that_start_and_stop_a_server_leave_it_whole():
    server, start = PushServer(Settings(drain_timeout=0.2)), threading.Barrier(4)

    def change(act):
        start.wait()
        for _ in range(20):
            act()

    threads = [threading.Thread(target=change, args=(act,))
               for act in (server.start, server.stop, server.start, server.stop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    server.stop()
    server.start()
    acceptor_of(server).reserve("42")
    server.stop()
