"""Data both ways, pressure, pings, and close() from everywhere."""
from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from ws4py.websocket import WebSocket

from pushclient import (ConnectionClosed, Disconnected, InvalidData, InvalidSetting, NotConnected,
                        PushClient, WebSocketClient)
from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, frame

from tests.support.scripted_server import Server, drain, hold
from tests.support.waiting import PATIENCE, wait_until

SOON = 1.5
BIG = 8_000_000


def client(server, **options):
    return PushClient(server.url, **{"proxy": None, "timeout": PATIENCE, **options})


def flood(peer):
    peer.answer()
    data = frame(OPCODE_TEXT, b"x" * 1000) * 100
    peer.sock.settimeout(0.5)
    try:
        while True:
            peer.sock.sendall(data)
            peer.sent += len(data)
    except (TimeoutError, OSError):
        peer.stuck.set()
    peer.sock.settimeout(None)
    try:
        for _ in drain(peer):
            pass
    except OSError:
        pass


class Flood:
    """A script that sends until TCP takes no more; says when."""

    def __init__(self):
        self.stuck = threading.Event()
        self.sent = 0

    def __call__(self, peer):
        peer.stuck, peer.sent = self.stuck, 0
        try:
            flood(peer)
        finally:
            self.sent = peer.sent


def test_text_binary_and_json_arrive():
    def script(peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            got.append((message.opcode, message.data))
    got = []
    with Server(script) as server, client(server) as sending:
        for data in ("é", b"\0\xff", bytearray(b"b"), memoryview(b"m"), {"a": [1]}, ""):
            sending.send(data)
        with pytest.raises(InvalidData):
            sending.send(object())
    assert got == [(1, "é".encode()), (2, b"\0\xff"), (2, b"b"), (2, b"m"), (1, b'{"a":[1]}'),
                   (1, b"")]


def test_what_is_sent_before_close_arrives_before_the_close_frame():
    got = []
    with Server(lambda peer: (peer.answer(), got.extend(drain(peer)))) as server:
        sending = client(server, close_timeout=0.2)
        sending.start()
        sending.send("hello")
        sending.close(4000, "done")
    assert [got[0].data, got[1]] == [b"hello", (4000, "done")]


@pytest.mark.slow
def test_full_queue_stops_reading_and_tcp_stops_the_server():
    script = Flood()
    with Server(script) as server, client(server, max_queue=10) as slow:
        assert script.stuck.wait(PATIENCE)
        assert len(slow._inbox) == 10
        assert "10 queued" in repr(slow)
        for _ in range(1000):
            assert len(next(slow)) == 1000
        assert len(slow._inbox) <= 10


def test_send_works_while_the_queue_is_full():
    def script(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"x") * 100)
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            got.append(len(message.data))
    got = []
    with Server(script) as server, client(server, max_queue=1) as sending:
        wait_until(lambda: len(sending._inbox) == 1)
        sending.send("x" * BIG)
        wait_until(lambda: got == [BIG])
        assert [next(sending) for _ in range(100)] == ["x"] * 100


def test_server_that_stops_while_the_queue_is_full_loses_nothing():
    def script(peer):
        peer.answer()
        for number in range(100):
            peer.send(str(number))
        peer.close()
    with Server(script) as server, client(server, max_queue=3) as slow:
        wait_until(lambda: len(slow._inbox) == 3)
        assert list(slow) == [str(number) for number in range(100)]


def test_message_over_the_limit_ends_with_1009_and_is_not_read():
    closes = []

    def script(peer):
        peer.answer(with_it=b"\x81\x7f" + (2 ** 62).to_bytes(8, "big"))
        closes.append(peer.receive())
    with Server(script) as server:
        with client(server, max_message_size=1000, max_attempts=1) as small:
            with pytest.raises(Disconnected) as caught:
                next(small)
    assert caught.value.code == 1009
    assert closes == [(1009, "message over 1000 bytes")]


def test_frames_of_many_threads_stay_whole_and_in_order():
    def script(peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            name, number, padding = message.data.split(b" ")
            assert padding == b"x" * SIZE
            got.setdefault(name, []).append(int(number))
    got, SIZE = {}, 20_000

    def send(name):
        for number in range(100):
            sending.send(f"{name} {number} {'x' * SIZE}")
    with Server(script) as server, client(server) as sending:
        threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sending.close()
        assert not server.errors
    assert got == {name.encode(): list(range(100)) for name in "abcd"}


def test_callbacks_that_echo_do_not_deadlock_with_a_server_that_echoes():
    def script(peer):
        peer.answer()
        sender = threading.Thread(target=peer.sock.sendall, args=(data,))
        sender.start()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                break
            got.append(message.data)
        sender.join()
    data, got = frame(OPCODE_TEXT, b"x" * 50_000) * 100, []
    with Server(script) as server:
        with client(server, on_message=lambda message: echoing.send(message)) as echoing:
            wait_until(lambda: len(got) == 100)


# keeping alive

def test_dead_server_is_noticed_and_left():
    def stays(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"again"))
        peer.receive()
    began = time.monotonic()
    with Server(hold, stays) as server:
        with client(server, ping_interval=0.2, pong_timeout=0.2) as pinging:
            assert pinging.receive(PATIENCE) == "again"
    assert 0.4 < time.monotonic() - began < 0.4 + 0.5 + SOON


def test_server_that_answers_pings_is_kept():
    def script(peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            assert message.opcode == OPCODE_PING
            pings.append(time.monotonic())
            peer.sock.sendall(frame(OPCODE_PONG, bytes(message.data)))
    pings, states = [], []
    with Server(script) as server:
        with client(server, ping_interval=0.1, pong_timeout=0.2, on_state=states.append):
            wait_until(lambda: len(pings) == 5)
    assert states == ["connecting", "open", "closed"]


def test_time_in_a_callback_does_not_count_against_the_server():
    def script(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"x"))
        for message in drain(peer):
            if isinstance(message, Disconnect):
                return
            peer.sock.sendall(frame(OPCODE_PONG, bytes(message.data)))
            pings.append(1)
    pings, states, busy = [], [], threading.Event()
    with Server(script) as server:
        with client(server, ping_interval=0.05, pong_timeout=0.2, on_state=states.append,
                    on_message=lambda _: busy.wait(0.6)):
            wait_until(lambda: len(pings) >= 3)
    assert states == ["connecting", "open", "closed"]


def test_pings_of_the_server_are_answered():
    pongs = []

    def script(peer):
        peer.answer(with_it=frame(OPCODE_PING, b"are you there"))
        pongs.append(peer.receive())
        peer.close()
    with Server(script) as server, client(server) as answering:
        assert list(answering) == []
    assert (pongs[0].opcode, pongs[0].data) == (OPCODE_PONG, b"are you there")


# closing

def closes_soon(closing):
    before = threading.active_count()
    began = time.monotonic()
    closing.close()
    assert time.monotonic() - began < SOON
    assert closing.state == "closed"
    assert closing._reconnector._thread is None or not closing._reconnector._thread.is_alive()
    closing.close()
    assert threading.active_count() <= before


def test_close_interrupts_reading():
    with Server(lambda peer: peer.echo()) as server:
        reading = client(server).start()
        wait_until(lambda: reading.state == "open")
        closes_soon(reading)


def test_close_interrupts_waiting():
    with Server(lambda peer: peer.read_request()) as server:
        waiting = client(server).start()
        wait_until(lambda: waiting.state == "waiting" and waiting.delay)
        closes_soon(waiting)


def test_close_interrupts_a_full_queue_and_keeps_what_was_received():
    script = Flood()
    with Server(script) as server:
        full = client(server, max_queue=10, close_timeout=0.3).start()
        assert script.stuck.wait(PATIENCE)
        closes_soon(full)
        assert 10 <= len(list(full)) < 3000  # the queue, and at most the read behind it


def test_close_interrupts_a_blocked_send():
    with Server(hold) as server:
        sending = client(server, close_timeout=0.3).start()
        errors = []

        def send():
            try:
                while True:
                    sending.send("x" * BIG)
            except ConnectionClosed as error:
                errors.append(str(error))
        thread = threading.Thread(target=send)
        thread.start()
        wait_until(lambda: sending._reconnector.link
                   and sending._reconnector.link.connection.queued)
        closes_soon(sending)
        thread.join(SOON)
        assert not thread.is_alive() and "sent" in errors[0]


def test_server_that_takes_nothing_is_given_up():
    with Server(hold) as server, client(server, timeout=0.3) as sending:
        with pytest.raises(ConnectionClosed, match="the server took nothing for 0.3 s"):
            while True:
                sending.send("x" * BIG)


def test_close_from_callbacks_ends_the_thread():
    def message(_):
        told.append("message")
        one.close()

    def state(name):
        told.append(name)
        if name == "open" and two:
            two[0].close()
    told, two = [], []
    with Server(lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1") * 9), peer.receive(),
                              peer.close())) as server:
        one = client(server, on_message=message).start()
        one._reconnector._thread.join(PATIENCE)
        assert told == ["message"] and one.state == "closed"
        two.append(client(server, on_state=state))
        two[0].start()
        two[0]._reconnector._thread.join(PATIENCE)
        assert two[0].state == "closed"


def test_close_is_bounded_though_the_server_never_answers_it():
    with Server(hold) as server:
        closing = client(server, close_timeout=0.3).start()
        wait_until(lambda: closing.state == "open")
        began = time.monotonic()
        closing.close()
        assert 0.2 < time.monotonic() - began < SOON


def test_closed_or_unstarted_client_says_so():
    unstarted = PushClient("ws://localhost/")
    for use in (lambda: unstarted.send("x"), lambda: next(iter(unstarted)), unstarted.receive):
        with pytest.raises(ConnectionClosed, match="not started"):
            use()
    unstarted.close()
    with pytest.raises(ConnectionClosed, match="make another"):
        unstarted.start()
    assert list(unstarted) == []
    with pytest.raises(ConnectionClosed):
        unstarted.receive()
    with pytest.raises(InvalidSetting):
        iter(PushClient("ws://localhost/", on_message=print))


def test_send_without_a_connection_says_so_in_time():
    with Server(lambda peer: peer.read_request()) as server, client(server) as lost:
        with pytest.raises(NotConnected, match="nothing was sent"):
            lost.send("x", timeout=0.1)


def test_receive_has_a_timeout():
    with Server(hold) as server, client(server, close_timeout=0.1) as silent:
        with pytest.raises(TimeoutError, match="no message within 0.1 s"):
            silent.receive(0.1)


def test_callbacks_that_raise_are_logged_and_harm_nothing(caplog):
    def fail(value):
        got.append(value)
        raise ValueError("handler's own")
    got = []
    with Server(lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1") * 2),
                              peer.close())) as server:
        with client(server, on_message=fail, on_state=fail) as failing:
            failing._reconnector._thread.join(PATIENCE)
    assert got == ["connecting", "open", "1", "1", "closed"]
    assert "handler's own" in caplog.text and "Traceback" in caplog.text


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("where", ["message", "connecting", "open", "waiting", "closed"])
def test_exceptions_that_end_programs_are_the_clients_error(caplog, where, ending):
    def fail(value):
        seen.append(value)
        if value == where:
            raise ending

    def script(peer):
        peer.answer(with_it=frame(OPCODE_TEXT, b"message"))
        if where == "waiting":
            peer.sock.close()
        else:
            closes.append(peer.receive())
    seen, closes = [], []
    with Server(script) as server:
        ended = client(server, on_message=fail, on_state=fail).start()
        if where == "closed":
            wait_until(lambda: "message" in seen)
            ended.close()
        wait_until(lambda: ended.state == "closed" and ended.error is not None)
        assert ended.error is ending
        ended.close()
        assert ended.error is ending and not ended._reconnector._thread.is_alive()
        if where in ("message", "open"):
            wait_until(lambda: closes)
            assert closes == [(1011, "handler failed")]
    assert f"{fail.__qualname__} ended the client" in caplog.text and seen[-1] == "closed"


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["connecting", "open", "closed"])
def test_exceptions_that_end_programs_are_raised_to_who_iterates(where, ending):
    def fail(value):
        if value == where:
            raise ending
    with Server(lambda peer: (peer.answer(), peer.close())) as server:
        with client(server, on_state=fail) as ended:
            with pytest.raises(type(ending)) as caught:
                list(ended)
            assert caught.value is ending
            with pytest.raises(type(ending)):
                ended.receive()
            with pytest.raises(ConnectionClosed):
                ended.send("x")


def test_exit_behind_a_close_in_a_callback_is_the_error_too():
    def message(_):
        ended.close()
        raise SystemExit("enough")
    with Server(lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1")),
                              peer.receive())) as server:
        ended = client(server, on_message=message).start()
        wait_until(lambda: ended.state == "closed" and ended.error is not None)
        assert str(ended.error) == "enough"
        ended._reconnector._thread.join(PATIENCE)


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_exit_in_a_single_connections_callback_closes_it_with_1011(caplog, ending):
    class Failing(Recorder):
        def received_message(self, message):
            raise ending
    closes = []
    with Server(lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1")),
                              closes.append(peer.receive()), peer.close(1011))) as server:
        single = Failing(server.url, proxy=None)
        single.connect()
        single.run_forever()
    assert closes == [(1011, "handler failed")] and single.events[-1][0] == 1011
    assert ending.__name__ in caplog.text


def test_a_thousand_connections_leave_no_descriptor():
    def count():
        return len(os.listdir("/proc/self/fd"))
    with Server(lambda peer: (peer.answer(), peer.close())) as server:
        for number in range(200):
            with client(server) as short:
                assert list(short) == []
            if number == 20:
                wait_until(lambda: count() < 100)
    assert count() < 100


# TLS: one socket, two directions

def test_tls_carries_both_directions_at_once(server_certificate, client_tls):
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)
    number, got = 300, []

    def script(peer):
        peer.answer()
        for message in drain(peer):
            if isinstance(message, Disconnect):
                peer.sock.sendall(b"\x88\x00")
                return
            peer.sock.sendall(frame(OPCODE_TEXT, message.data))
    with Server(script, tls=context) as server:
        with client(server, ssl_context=client_tls) as both:
            senders = [threading.Thread(target=lambda: [both.send("x" * 30_000)
                                                        for _ in range(number // 3)])
                       for _ in range(3)]
            for sender in senders:
                sender.start()
            while len(got) < number:
                got.append(len(both.receive(PATIENCE)))
            for sender in senders:
                sender.join()
    assert got == [30_000] * number


# a single connection

class Recorder(WebSocketClient):
    def __init__(self, *arguments, **options):
        self.events = []
        super().__init__(*arguments, **options)

    def opened(self):
        self.events.append("opened")

    def received_message(self, message):
        self.events.append(message)

    def ponged(self, pong):
        self.events.append(bytes(pong.data))

    def closed(self, code, reason=None):
        self.events.append((code, reason))


def test_single_connection_speaks_ws4py():
    with Server(lambda peer: peer.echo()) as server:
        single = Recorder(server.url, proxy=None)
        assert isinstance(single, WebSocket)
        single.connect()
        single.send("text")
        single.send(b"bytes as text")
        single.send(b"\xff", binary=True)
        single.send(piece for piece in ("one ", "two ", "three"))
        wait_until(lambda: len(single.events) == 5)
        single.close(1000, "bye")
        single.run_forever()
        assert single.terminated and "closed" in repr(single)
        with pytest.raises(RuntimeError):
            single.send("late")
    opened, *messages, end = single.events
    assert opened == "opened" and end == (1000, "bye")
    assert [message.data for message in messages] == [b"text", b"bytes as text", b"\xff",
                                                      b"one two three"]
    assert [message.is_binary for message in messages] == [False, False, True, False]


def test_message_is_not_put_between_the_fragments_of_another():
    def pieces():
        for _ in range(20):
            yield "g"
            pause.wait(0.01)
    pause = threading.Event()
    with Server(lambda peer: peer.echo()) as server:
        single = Recorder(server.url, proxy=None)
        single.connect()
        sender = threading.Thread(target=lambda: single.send(pieces()))
        sender.start()
        wait_until(lambda: single._connection.sender._in_fragments)
        single.send("other")
        single.ping("p")
        sender.join()
        wait_until(lambda: len(single.events) == 3)
        with pytest.raises(InvalidData, match="yield it instead"):
            single.send(str(single.send("x")) for _ in range(1))
        single.close_connection()
        single.run_forever()
    assert [message.data for message in single.events[1:3]] == [b"g" * 20, b"other"]
    assert single.events[-1][0] == 1006


def test_connect_works_once_and_a_closed_one_stays_closed():
    with Server(lambda peer: peer.echo()) as server:
        single = WebSocketClient(server.url, proxy=None)
        single.connect()
        with pytest.raises(ConnectionClosed):
            single.connect()
        single.close()
        single.run_forever()
    early = WebSocketClient("ws://localhost/", proxy=None)
    with pytest.raises(ConnectionClosed, match="not open"):
        early.send("x")
    early.close()
    with pytest.raises(ConnectionClosed):
        early.connect()


def test_handler_that_raises_closes_its_single_connection_with_1011(caplog):
    class Failing(Recorder):
        def received_message(self, message):
            raise ValueError("handler's own")
    closes = []
    with Server(lambda peer: (peer.answer(with_it=frame(OPCODE_TEXT, b"1")),
                              closes.append(peer.receive()), peer.close(1011))) as server:
        single = Failing(server.url, proxy=None)
        single.connect()
        single.run_forever()
    assert closes == [(1011, "handler failed")]
    assert "handler's own" in caplog.text


def test_socket_that_is_reset_ends_the_connection_once():
    def script(peer):
        peer.answer()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.close()
    with Server(script) as server:
        single = Recorder(server.url, proxy=None)
        single.connect()
        single.run_forever()
    assert [event for event in single.events if isinstance(event, tuple)][0][0] == 1006
    assert len(single.events) == 2
