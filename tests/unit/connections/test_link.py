"""One connection's life, from the handshake's answer to its close."""
from __future__ import annotations

import logging
import threading

import pytest

from pushserver import Connection
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_BINARY, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, frame
from pushserver.connections.link import HANDLER_GRACE
from tests.support.bare_server import KEY, codes, hosting
from tests.support.site import recorder
from tests.support.waiting import PATIENCE, wait_until


class Echo(Connection):
    """Send back what comes."""

    def received_message(self, message):
        self.send(message.data, message.is_binary)


def ended(handler_cls):
    """Wait for the end of a recorder's connection and return (code, reason)."""
    return wait_until(lambda: [entry for entry in handler_cls.log if entry[0] == "closed"])[0][2:]


def test_the_answer_comes_first_and_then_what_was_pushed_meanwhile():
    with hosting() as host:
        peer = host.join(shake=False)
        host.server.send("42", "first")
        assert peer.answer().next() == "first"


def test_what_the_client_sends_reaches_its_handler_and_comes_back():
    with hosting() as host:
        peer = host.join(handler_cls=Echo)
        peer.send(OPCODE_TEXT, b"text")
        peer.send(OPCODE_BINARY, b"\xff")
        assert (peer.next(), peer.next()) == ("text", b"\xff")


def test_what_came_behind_the_handshake_is_not_lost():
    with hosting() as host:
        whole = frame(OPCODE_TEXT, b"early", KEY)
        peer = host.join(handler_cls=Echo, early=whole + whole[:5])
        peer.sock.sendall(whole[5:])
        assert (peer.next(), peer.next()) == ("early", "early")


def test_callbacks_come_in_their_order_and_closed_once():
    log = recorder()
    with hosting() as host:
        peer = host.join(handler_cls=log)
        for number in range(50):
            peer.send(OPCODE_TEXT, b"%d" % number)
        peer.close(1000)
        assert codes(peer.rest()) == [1000]
        ended(log)
    assert log.log == [("opened", "42"), *(("received", "42", b"%d" % i) for i in range(50)),
                       ("closed", "42", 1000, "")]


def test_a_ping_is_answered_with_its_own_payload():
    with hosting() as host:
        peer = host.join()
        peer.send(OPCODE_PING, b"are you there")
        assert peer.next().data == b"are you there"


@pytest.mark.parametrize("payload, code, told", [
    (b"\x03\xe8", 1000, 1000), (b"\x0f\xa0bye", 4000, 4000), (b"", 1005, 1005)])
def test_a_clients_close_is_answered_with_its_code(payload, code, told):
    log = recorder()
    with hosting() as host:
        peer = host.join(handler_cls=log)
        peer.send(8, payload)
        assert codes(peer.rest()) == [code]
        assert ended(log)[0] == told
        assert len(host.server) == 0


def test_a_client_that_vanishes_is_1006():
    log = recorder()
    with hosting() as host:
        host.join(handler_cls=log).sock.close()
        assert ended(log) == (1006, "connection lost")
        assert len(host.server) == 0


def test_the_servers_close_comes_behind_what_was_sent_before():
    log = recorder()
    with hosting() as host:
        peer = host.join(handler_cls=log)
        for number in range(100):
            peer.connection.send(str(number))
        peer.connection.close(4000, "enough")
        assert [peer.next() for _ in range(101)] == [*map(str, range(100)),
                                                     Disconnect(4000, "enough")]
        peer.close(4000)
        assert peer.next() is None
        assert ended(log) == (4000, "enough")


def test_a_client_that_does_not_answer_the_close_is_let_go_after_a_while():
    log = recorder()
    with hosting(close_timeout=0.02) as host:
        peer = host.join(handler_cls=log)
        peer.connection.close()
        assert codes(peer.rest()) == [1000]
        assert ended(log) == (1000, "")


@pytest.mark.parametrize("data, code", [
    (b"\xc1\x80" + KEY, 1002), (b"\x81\x01a", 1002), (frame(1, b"\xff", KEY), 1007),
    (b"\x82\xfe\x00\x7e" + KEY, 1009)])
def test_a_client_that_breaks_a_rule_is_told_which(data, code):
    log = recorder()
    with hosting(max_message_size=125, close_timeout=0.1) as host:
        peer = host.join(handler_cls=log)
        peer.sock.sendall(data + b"x" * 1000)
        assert codes(peer.rest()) == [code]
        assert ended(log)[0] == code


def test_a_client_that_does_not_read_is_closed_as_slow_and_others_are_not():
    log = recorder()
    with hosting(max_outbox=100_000, close_timeout=0.1) as host:
        slow, quick = host.join(handler_cls=log, buffer=10_000), host.join("43")
        count = 0
        while len(host.server.connections("42")):
            host.server.broadcast("x" * 1000)
            count += 1
            assert quick.next() == "x" * 1000
        assert count > 90
        *messages, closing = slow.rest()
        assert closing.code == 3008
        assert set(messages) == {"x" * 1000}
        assert count - len(messages) > 80   # what waited in the outbox is not sent any more
        assert ended(log)[0] == 3008


def test_a_client_that_asks_for_much_and_never_reads_is_slow_on_a_unix_socket_too():
    class Much(Connection):
        log = []

        def received_message(self, message):
            self.send("x" * 10_000)

        def closed(self, code, reason=None):
            self.log.append(("closed", self.Id, code, reason))

    with hosting(max_outbox=100_000, pong_timeout=1, close_timeout=0.1) as host:
        reader, idler = host.join(handler_cls=Much), host.join("43", handler_cls=Much)
        for peer in (reader, idler):
            for _ in range(100):
                peer.send(OPCODE_TEXT, b"more")
        assert [reader.next() for _ in range(100)] == ["x" * 10_000] * 100
        assert ended(Much) == (3008, "slow: read faster")
        assert host.server.ids() == ["42"]


def test_a_silent_client_is_pinged_and_its_pong_keeps_it():
    with hosting(ping_interval=0.02, pong_timeout=PATIENCE) as host:
        peer = host.join()
        for _ in range(3):
            ping = peer.next()
            assert type(ping).__name__ == "PingControlMessage"
            peer.send(OPCODE_PONG, ping.data)
        assert len(host.server) == 1


def test_a_client_that_answers_no_ping_is_ended():
    log = recorder()
    with hosting(ping_interval=0.02, pong_timeout=0.02) as host:
        peer = host.join(handler_cls=log)
        assert codes(peer.rest()) == [3012]
        assert ended(log) == (1006, "connection lost")


def test_without_a_ping_interval_nobody_is_pinged():
    with hosting(ping_interval=0) as host:
        peer = host.join()
        link, = host.server._hub.everyone()
        assert link._keepalive._ping is None
        peer.close()
        assert codes(peer.rest()) == [1000]


def test_a_handler_that_raises_closes_its_connection_and_no_other(caplog):
    class Broken(Connection):
        def received_message(self, message):
            raise ValueError("broken")

    with hosting() as host, caplog.at_level(logging.ERROR, "pushserver"):
        broken, other = host.join(handler_cls=Broken), host.join("43", handler_cls=Echo)
        broken.send(OPCODE_TEXT, b"x")
        assert codes([broken.next()]) == [1011]
        other.send(OPCODE_TEXT, b"still here")
        assert other.next() == "still here"
    assert "'42'" in caplog.text and "received_message failed" in caplog.text


def test_a_handler_may_send_to_a_client_that_has_left(caplog):
    class Late(Connection):
        def received_message(self, message):
            wait_until(lambda: self.terminated)
            self.send("too late")

    with hosting() as host, caplog.at_level(logging.WARNING, "pushserver"):
        peer = host.join(handler_cls=Late)
        peer.send(OPCODE_TEXT, b"x")
        peer.sock.close()
        wait_until(lambda: len(host.server) == 0)
    assert caplog.text == ""


def test_a_client_that_sends_faster_than_its_handler_takes_is_not_read():
    gate, seen = threading.Event(), []

    class Blocked(Connection):
        def received_message(self, message):
            gate.wait(PATIENCE)
            seen.append(len(message.data))

    with hosting(max_inbox=20_000) as host:
        peer = host.join(handler_cls=Blocked)
        link, = host.server._hub.everyone()
        data, sent = frame(OPCODE_BINARY, b"x" * 10_000, KEY), 0
        while not link.inbox.is_full:
            peer.sock.sendall(data)
            sent += 1
            wait_until(lambda: link.inbox.is_full or link.inbox.backlog >= sent * 10_000)
        assert 20_000 < link.inbox.backlog < 20_000 + 2 * 65536
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            while True:
                peer.sock.sendall(data)
                sent += 1
        assert link.inbox.backlog < 20_000 + 2 * 65536
        gate.set()
        wait_until(lambda: len(seen) >= sent)
        assert set(seen) == {10_000}
        peer.sock.settimeout(PATIENCE)


def test_what_a_handler_answers_to_the_last_message_comes_before_the_close():
    class Slow(Connection):
        def received_message(self, message):
            asked.wait(PATIENCE)
            self.send("answer")

    asked = threading.Event()
    with hosting() as host:
        peer = host.join(handler_cls=Slow)
        peer.send(OPCODE_TEXT, b"question")
        peer.close()
        asked.set()
        assert peer.rest() == ["answer", Disconnect(1000, "")]


def test_a_handler_that_blocks_does_not_keep_a_client_from_leaving():
    gate = threading.Event()

    class Blocked(Connection):
        def received_message(self, message):
            gate.wait(PATIENCE)

    assert HANDLER_GRACE < PATIENCE
    with hosting() as host:
        peer = host.join(handler_cls=Blocked)
        peer.send(OPCODE_TEXT, b"x")
        peer.close()
        assert codes(peer.rest()) == [1000]
        gate.set()


def test_a_pong_reaches_a_handler_that_wants_it():
    ponged = []

    class Curious(Connection):
        def ponged(self, pong):
            ponged.append(pong.data)

    with hosting() as host:
        peer = host.join(handler_cls=Curious)
        peer.connection.ping("hello")
        assert peer.next().data == b"hello"
        peer.send(OPCODE_PONG, b"hello")
        assert wait_until(lambda: ponged) == [b"hello"]


def test_a_connection_ended_without_a_handshake_is_just_gone():
    log = recorder()
    with hosting() as host:
        peer = host.join(handler_cls=log)
        peer.connection.close_connection()
        assert peer.rest() == []
        assert ended(log)[0] == 1006


def test_a_link_says_whose_it_is_and_how_it_is():
    with hosting() as host:
        peer = host.join()
        link, = host.server._hub.everyone()
        assert repr(link) == "<Link Id='42' open>"
        peer.sock.close()
        wait_until(lambda: repr(link) == "<Link Id='42' closed>")
