"""The life of connections: what they read and write, how they end, and what they do to others."""
from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import threading

import cherrypy
import pytest

from pushserver import (Connection, ConnectionClosed, InvalidData, InvalidSetting,
                        MessageTooLarge, PushPlugin)
from tests.support import Refused, masked_frame, recorder, running_site, wait_until

SMALL = 4096
"""Bytes of a socket's buffer in the tests where buffers fill."""

QUICK = {"ping_interval": 0.1, "pong_timeout": 0.1}
"""Settings with which a dead peer is found soon."""


def site_of(handler_cls=Connection, **options):
    """Return a site whose ``/websocket`` has a handler."""
    class Root:
        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=handler_cls, **options)
        def websocket(self, Id):
            """Accept everybody."""

        @cherrypy.expose
        @cherrypy.tools.push(handler_cls=EchoData)
        def echo(self, Id):
            """Accept everybody."""

    return Root()


class EchoData(Connection):
    """Send each message back as it came."""

    def received_message(self, message):
        self.send(message.data, message.is_binary)


def handler(**methods):
    """Return a recorder with other methods."""
    return type("Handler", (recorder(),), methods)


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


@contextlib.contextmanager
def echoing(**settings):
    """Return a client of the echo address."""
    with running_site(settings=settings) as site, site.client("/echo?Id=1") as client:
        yield client


# Reading


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("first", [0x81, 0x82], ids=["text", "binary"])
def test_a_message_of_any_size_is_read(first, size):
    with echoing() as client:
        client.send(first, b"a" * size)
        assert client.frame() == (first, b"a" * size)


def test_a_message_in_fragments_with_pings_between_is_one_message():
    with echoing() as client:
        for first, payload in [(0x01, b"one "), (0x89, b"a"), (0x00, b"two "), (0x89, b"b"),
                               (0x00, b""), (0x80, b"three")]:
            client.send(first, payload)
        assert [client.frame() for _ in range(3)] == [
            (0x8A, b"a"), (0x8A, b"b"), (0x81, b"one two three")]


def test_frames_sent_one_byte_at_a_time_are_read():
    with echoing() as client:
        for byte in masked_frame(0x01, b"one ") + masked_frame(0x80, b"two" * 50):
            client.sock.sendall(bytes([byte]))
        assert client.message() == "one " + "two" * 50


TEXT = "\u03ba\U0001f600\u05d0a".encode()


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_text_may_be_cut_anywhere_even_within_a_character(cut):
    with echoing() as client:
        client.send(0x01, TEXT[:cut])
        client.send(0x80, TEXT[cut:])
        assert client.message() == TEXT.decode()


BAD_TEXT = b"\xce\xba\xed\xa0\x80edited"


@pytest.mark.parametrize("cut", range(len(BAD_TEXT) + 1))
def test_text_that_is_not_utf_8_is_closed_with_1007_wherever_it_is_cut(cut):
    with echoing() as client:
        client.send(0x01, BAD_TEXT[:cut])
        client.sock.sendall(masked_frame(0x80, BAD_TEXT[cut:]))
        assert client.close_code() == 1007
        assert client.at_end()


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82",
                                  b"\xed\xbf\xbf", b"\xf0\x9f\x98"])
def test_text_that_is_not_utf_8_is_closed_with_1007(text):
    with echoing() as client:
        client.send(0x81, text)
        assert client.close_code() == 1007


def test_invalid_text_is_noticed_before_its_message_ends():
    with echoing() as client:
        client.sock.sendall(masked_frame(0x01, b"fine so far \xff and") + b"\x00")
        assert client.close_code() == 1007


@pytest.mark.parametrize("frames, code", [
    (masked_frame(0xC1, b"a"), 1002), (masked_frame(0xA1, b"a"), 1002),
    (masked_frame(0x91, b"a"), 1002), (masked_frame(0xF1, b"a"), 1002),
    *((masked_frame(0x80 | opcode, b"a"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    (masked_frame(0x81, b"a", mask=None), 1002), (masked_frame(0x81, b"", mask=None), 1002),
    (masked_frame(0x89, b"a", mask=None), 1002),
    (masked_frame(0x09, b"a"), 1002), (masked_frame(0x08, b""), 1002),
    (masked_frame(0x89, b"a" * 126), 1002), (masked_frame(0x8A, b"a" * 126), 1002),
    (masked_frame(0x88, close_payload(1000) + b"a" * 124), 1002),
    (b"\x89\xff" + bytes(8) + b"mask", 1002),
    (masked_frame(0x80, b"a"), 1002), (masked_frame(0x00, b"a"), 1002),
    (masked_frame(0x01, b"a") + masked_frame(0x81, b"b"), 1002),
    (masked_frame(0x02, b"a") + masked_frame(0x02, b"b"), 1002),
    (b"\x82\xff" + struct.pack("!Q", 1 << 63), 1002),
    (b"\x82\xff" + struct.pack("!Q", 1 << 62), 1009),
    (b"\x82\xff" + struct.pack("!Q", 65537), 1009),
    (masked_frame(0x02, b"a" * 65536) + b"\x00\x81", 1009),
    (masked_frame(0x88, b"\x03"), 1002), (masked_frame(0x88, close_payload(1005)), 1002),
    (masked_frame(0x88, close_payload(1000, b"\xff")), 1007),
    (masked_frame(0x88, close_payload(1000, b"\xce")), 1007),
], ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None)
def test_a_client_that_breaks_the_protocol_is_closed_as_rfc_6455_says(frames, code):
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(frames)
        assert client.close_code() == code
        assert client.at_end()
    assert [entry[0] for entry in Handler.log] == ["opened", "closed"]
    assert Handler.log[1][2] == code


def test_fragments_without_an_end_are_refused_at_the_limit():
    fragment = masked_frame(0x00, b"a" * 100)
    with echoing(max_message_size=1000) as client:
        client.send(0x01, b"a" * 100)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sock.sendall(fragment)
        assert client.close_code() == 1009


def test_empty_fragments_without_an_end_take_no_memory_and_keep_nobody_waiting():
    with running_site() as site, site.client("/echo?Id=1") as client, \
            site.client("/echo?Id=2") as other:
        client.send(0x01)
        for _ in range(50):
            client.sock.sendall(masked_frame(0x00) * 1000)
            other.text("hello")
            assert other.message() == "hello"
        client.send(0x80, b"the end")
        assert client.message() == "the end"


def test_messages_before_an_error_are_answered():
    with echoing() as client:
        client.sock.sendall(masked_frame(0x81, b"one") + masked_frame(0x81, b"two")
                            + masked_frame(0x8F, b""))
        assert [client.message(), client.message()] == ["one", "two"]
        assert client.close_code() == 1002


def test_what_comes_behind_a_close_frame_is_not_read():
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(masked_frame(0x88, close_payload(1000)) + masked_frame(0x81, b"late"))
        assert client.close_code() == 1000
        assert client.at_end()
    assert Handler.log == [("opened", "42"), ("closed", "42", 1000, "")]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012,
                                  1013, 1014, 3000, 3999, 4000, 4999])
def test_a_close_is_answered_in_kind_and_told_with_its_reason(code):
    Handler = recorder()
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.send(0x88, close_payload(code, "na\u00efve".encode()))
        assert client.close_code() == code
        assert client.at_end()
    assert Handler.log == [("opened", "42"), ("closed", "42", code, "na\u00efve")]


# Pings


@pytest.mark.parametrize("payload", [b"", b"a", b"a" * 125, bytes(range(125))])
def test_a_ping_is_answered_with_its_payload(payload):
    with echoing() as client:
        client.send(0x89, payload)
        assert client.frame() == (0x8A, payload)


def test_a_pong_that_nobody_asked_for_is_ignored():
    with echoing() as client:
        client.send(0x8A, b"unasked")
        client.text("hello")
        assert client.message() == "hello"


def test_a_site_can_ping_and_see_the_pong():
    pongs = []
    Handler = handler(opened=lambda self: self.ping("are you there"),
                      ponged=lambda self, pong: pongs.append(pong.data))
    with running_site(site_of(Handler)) as site, site.client() as client:
        assert client.frame() == (0x89, b"are you there")
        client.send(0x8A, b"are you there")
        wait_until(lambda: pongs == [b"are you there"])
        with pytest.raises(InvalidData):
            site.push.connections()[0].ping("a" * 126)


def test_a_client_that_answers_pings_stays():
    with running_site(settings={"ping_interval": 0.05, "pong_timeout": 5}) as site:
        with site.client("/echo?Id=1") as client:
            for _ in range(5):
                assert client.frame() == (0x89, b"")
                client.send(0x8A)
            client.text("still here")
            assert client.message() == "still here"


def test_any_traffic_stands_for_a_pong():
    with running_site(settings={"ping_interval": 0.05, "pong_timeout": 1}) as site:
        with site.client("/echo?Id=1") as client:
            for _ in range(30):
                frame = client.frame()
                while frame == (0x81, b"busy"):
                    frame = client.frame()
                assert frame == (0x89, b"")
                client.text("busy")


def test_a_client_that_answers_no_ping_is_closed_with_3012():
    Handler = recorder()
    with running_site(site_of(Handler), settings=QUICK) as site, site.client() as client:
        assert client.frame() == (0x89, b"")
        assert client.close_code() == 3012
        assert client.at_end()
        assert site.push.ids() == []
    assert Handler.log == [("opened", "42"), ("closed", "42", 1006, "connection lost")]


def test_without_an_interval_nobody_is_pinged():
    with running_site(settings={"ping_interval": 0, "pong_timeout": 0.05}) as site:
        with site.client("/echo?Id=1") as client:
            client.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.frame()


def test_a_client_that_vanished_with_its_buffers_full_is_gone():
    Handler = recorder()
    with running_site(site_of(Handler), settings=QUICK, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL):
            site.push.broadcast("a" * 500_000)
            wait_until(lambda: site.push.ids() == [])
            wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log == [("opened", "42"), ("closed", "42", 1006, "connection lost")]


PEER = """
import base64, os, socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
key = base64.b64encode(os.urandom(16)).decode()
sock.sendall(("GET /websocket?Id=stopped HTTP/1.1\\r\\nHost: localhost\\r\\n"
              "Upgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
              "Sec-WebSocket-Key: " + key + "\\r\\n\\r\\n").encode())
while True:
    data = sock.recv(65536)
    if not data:
        break
    if data.endswith(b"\\x89\\x00"):
        sock.sendall(b"\\x8a\\x80mask")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_a_client_whose_process_is_stopped_is_gone_in_time():
    Handler = recorder()
    settings = {"ping_interval": 0.2, "pong_timeout": 2}
    with running_site(site_of(Handler), settings=settings) as site, site.client("/echo?Id=2"):
        peer = subprocess.Popen([sys.executable, "-c", PEER, str(site.port)])
        try:
            wait_until(lambda: ("opened", "stopped") in Handler.log)
            os.kill(peer.pid, signal.SIGSTOP)
            wait_until(lambda: "stopped" not in site.push.ids())
        finally:
            peer.kill()
            peer.wait()
    assert Handler.log == [("opened", "stopped"), ("closed", "stopped", 1006, "connection lost")]


# Ending: ``closed`` is called exactly once, whatever ends a connection


def by_client_close(site, client, connection):
    assert client.hang_up(4001) == 4001


def by_client_close_without_code(site, client, connection):
    client.send(0x88)
    assert client.close_code() is None


def by_fin(site, client, connection):
    client.close()


def by_half_close(site, client, connection):
    client.sock.shutdown(1)
    assert client.at_end()


def by_reset(site, client, connection):
    client.reset()


def by_fin_within_a_frame(site, client, connection):
    client.sock.sendall(masked_frame(0x81, b"a" * 100)[:50])
    client.close()


def by_protocol_error(site, client, connection):
    client.send(0x83)
    assert client.close_code() == 1002
    assert client.at_end()


def by_protocol_error_and_reset(site, client, connection):
    client.send(0x83)
    client.reset()


def by_connection_close(site, client, connection):
    connection.close(4002, "enough")
    assert client.close_code() == 4002
    client.send(0x88, close_payload(4002))


def by_connection_close_and_silence(site, client, connection):
    connection.close(4002)
    assert client.close_code() == 4002
    assert client.at_end()


def by_connection_close_and_reset(site, client, connection):
    connection.close(4002)
    client.reset()


def by_close_from_both_sides(site, client, connection):
    client.send(0x88, close_payload(4001))
    connection.close(4002)
    assert client.close_code() in (4001, 4002)


def by_abort(site, client, connection):
    connection.close_connection()
    assert client.at_end()


def by_disconnect(site, client, connection):
    assert site.push.disconnect("42") == 1
    assert site.push.disconnect("42") == 0
    assert client.close_code() == 3505
    client.close()


def by_an_error_in_the_handler(site, client, connection):
    client.text("fail")
    assert client.close_code() == 1011
    client.close()


def by_slowness(site, client, connection):
    for _ in range(20):
        site.push.broadcast("a" * 50_000)
    wait_until(lambda: len(site.push) == 0)
    client.reset()


def by_stop(site, client, connection):
    thread = threading.Thread(target=site.push.stop)
    thread.start()
    assert client.close_code() == 1001
    client.close()
    thread.join()


def by_stop_and_silence(site, client, connection):
    site.push.stop()


@pytest.mark.parametrize("end, codes", [
    (by_client_close, {4001}), (by_client_close_without_code, {1005}), (by_fin, {1006}),
    (by_half_close, {1006}), (by_reset, {1006}), (by_fin_within_a_frame, {1006}),
    (by_protocol_error, {1002}), (by_protocol_error_and_reset, {1002, 1006}),
    (by_connection_close, {4002}), (by_connection_close_and_silence, {4002}),
    (by_connection_close_and_reset, {4002, 1006}), (by_close_from_both_sides, {4001, 4002}),
    (by_abort, {1006, 1011}), (by_disconnect, {3505}), (by_an_error_in_the_handler, {1011}),
    (by_slowness, {3008}), (by_stop, {1001}), (by_stop_and_silence, {1001}),
], ids=lambda value: value.__name__ if callable(value) else "")
def test_closed_is_called_exactly_once(end, codes):
    def fail(self, message):
        raise ValueError("a bug of the site")

    Handler = handler(received_message=fail)
    settings = {"close_timeout": 0.2, "drain_timeout": 0.5, "max_outbox": 100_000}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            wait_until(lambda: Handler.log)
            connection, = site.push.connections()
            end(site, client, connection)
            wait_until(lambda: len(Handler.log) == 2)
            assert connection.terminated
            assert len(site.push) == 0 and site.push.ids() == []
            with pytest.raises(ConnectionClosed):
                connection.send("too late")
            connection.close()
            connection.close_connection()
    assert Handler.log[0] == ("opened", "42")
    assert [entry[:2] for entry in Handler.log[1:]] == [("closed", "42")]
    assert Handler.log[1][2] in codes


def test_many_connections_that_end_at_once_are_each_closed_once():
    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(site.client(f"/websocket?Id={number}"))
                       for number in range(60)]
            for client in clients[::3]:
                client.reset()
            for client in clients[1::3]:
                client.send(0x88)
            stopping = threading.Thread(target=site.push.stop)
            stopping.start()
            for client in clients[2::3]:
                assert client.close_code() == 1001
                client.close()
            stopping.join()
    opened = [entry[1] for entry in Handler.log if entry[0] == "opened"]
    closed = [entry[1] for entry in Handler.log if entry[0] == "closed"]
    assert sorted(opened) == sorted(closed) == sorted(str(number) for number in range(60))


# Handlers


@pytest.mark.parametrize("callback", ["opened", "received_message", "ponged"])
def test_what_a_callback_raises_is_logged_and_closes_that_connection_with_1011(callback, caplog):
    def fail(*args):
        raise ValueError("a bug of the site")

    with running_site(site_of(handler(**{callback: fail}))) as site:
        with site.client("/echo?Id=2") as other, site.client("/websocket?Id=buggy") as client:
            client.send(0x8A)
            with contextlib.suppress(ConnectionError):
                client.text("anything")
            assert client.close_code() == 1011
            other.text("hello")
            assert other.message() == "hello"
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [str(record.exc_info[1]) for record in errors] == ["a bug of the site"]
    assert "'buggy'" in errors[0].getMessage()


def test_what_closed_raises_is_logged(caplog):
    def fail(*args):
        raise ValueError("a bug of the site")

    with running_site(site_of(handler(closed=fail))) as site, site.client() as client:
        assert client.hang_up() == 1000
    assert "a bug of the site" in caplog.text


def test_handlers_that_block_keep_nobody_else_waiting_even_when_all_workers_do():
    gate = threading.Event()
    Handler = handler(received_message=lambda self, message: gate.wait(30))
    with running_site(site_of(Handler), settings={"workers": 2}) as site, \
            contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        for number in range(6):
            client = stack.enter_context(site.client(f"/websocket?Id=blocked-{number}"))
            client.text("block")
        with site.client("/echo?Id=free") as free:
            for number in range(3):
                free.text(str(number))
                assert free.message() == str(number)
            site.push.broadcast("for all")
            assert free.message() == "for all"
        assert client.message() == "for all"


def test_the_callbacks_of_one_connection_run_one_at_a_time_and_in_order():
    running, overlaps, seen = [], [], []

    def received_message(self, message):
        overlaps.append(len(running))
        running.append(True)
        seen.append(int(str(message)))
        running.pop()

    Handler = handler(received_message=received_message)
    with running_site(site_of(Handler)) as site, site.client() as client:
        client.sock.sendall(b"".join(masked_frame(0x81, b"%d" % number) for number in range(500)))
        assert client.hang_up() == 1000
    assert seen == list(range(500))
    assert set(overlaps) == {0}
    assert [entry[0] for entry in Handler.log] == ["opened", "closed"]


def test_handlers_may_send_to_themselves_and_to_all():
    def received_message(self, message):
        self.send("by connection")
        push.send(self.Id, "by Id")
        push.broadcast("to all")
        push.publish("self", "by channel")

    Handler = handler(received_message=received_message,
                      opened=lambda self: self.subscribe("self"))
    with running_site(site_of(Handler)) as site, site.client() as client:
        push = site.push
        client.text("go")
        assert [client.message() for _ in range(4)] == ["by connection", "by Id", "to all",
                                                        "by channel"]


def test_a_handler_may_say_goodbye_behind_its_last_words():
    def received_message(self, message):
        self.send("last words")
        self.close(4000, "goodbye")

    with running_site(site_of(handler(received_message=received_message))) as site:
        with site.client() as client:
            client.text("go")
            assert client.message() == "last words"
            assert client.frame() == (0x88, close_payload(4000, b"goodbye"))


def test_a_handler_may_end_its_connection_while_it_opens():
    Handler = handler(opened=lambda self: self.close(4003, "not today"))
    with running_site(site_of(Handler)) as site, site.client() as client:
        assert client.close_code() == 4003
        client.send(0x88, close_payload(4003))
        assert client.at_end()
    assert Handler.log == [("closed", "42", 4003, "not today")]


# Writing


@pytest.mark.parametrize("data, first, payload", [
    ("text", 0x81, b"text"), ("", 0x81, b""), ("\U0001f600", 0x81, "\U0001f600".encode()),
    (b"bytes", 0x82, b"bytes"), (bytearray(b"bytes"), 0x82, b"bytes"),
    (memoryview(b"bytes")[1:], 0x82, b"ytes"), (b"", 0x82, b""),
    ({"a": [1, None, "\u00e9"]}, 0x81, '{"a":[1,null,"\u00e9"]}'.encode()),
    ([], 0x81, b"[]"), (None, 0x81, b"null"), (1.5, 0x81, b"1.5"), (True, 0x81, b"true"),
], ids=repr)
def test_text_goes_out_as_text_bytes_as_binary_and_the_rest_as_json(data, first, payload):
    with running_site() as site, site.client() as client:
        connection, = site.push.connections()
        connection.subscribe("news")
        site.push.broadcast(data)
        site.push.send("42", data)
        site.push.publish("news", data)
        assert [client.frame() for _ in range(3)] == [(first, payload)] * 3


@pytest.mark.parametrize("data", [object(), {1, 2}, float("nan"), {"a": object()}, "\ud800",
                                  {"a": "\ud800"}, {(1, 2): 3}], ids=ascii)
def test_what_json_cannot_hold_is_a_type_error_at_the_call_and_nothing_is_sent(data):
    with running_site() as site, site.client() as client:
        for push in (site.push.broadcast, lambda data: site.push.send("42", data),
                     lambda data: site.push.publish("news", data),
                     site.push.connections()[0].send):
            with pytest.raises(TypeError):
                push(data)
        site.push.broadcast("this only")
        assert client.frame() == (0x81, b"this only")


def test_what_ws4pys_handlers_send_goes_out_as_they_are_used_to():
    def received_message(self, message):
        self.send(b"bytes are text")
        self.send(b"\x00\xff", True)
        self.send("text as binary", binary=True)
        self.send(message)
        self.send(piece for piece in ("one ", "two ", "three"))
        self.send({"json": 1})
        with pytest.raises(InvalidData):
            self.send(b"\xff")

    with running_site(site_of(handler(received_message=received_message))) as site:
        with site.client() as client:
            client.send(0x82, b"message")
            assert [client.frame() for _ in range(6)] == [
                (0x81, b"bytes are text"), (0x82, b"\x00\xff"), (0x82, b"text as binary"),
                (0x82, b"message"), (0x81, b"one two three"), (0x81, b'{"json":1}')]
            assert client.hang_up() == 1000


def test_a_message_that_no_outbox_could_hold_is_refused_at_the_call():
    with running_site(settings={"max_outbox": 1000}) as site, site.client() as client:
        connection, = site.push.connections()
        for push in (site.push.broadcast, lambda data: site.push.send("42", data),
                     lambda data: site.push.publish("news", data), connection.send):
            with pytest.raises(MessageTooLarge):
                push("a" * 1001)
        site.push.broadcast("a" * 900)
        assert client.message() == "a" * 900


def test_big_messages_arrive_whole_though_the_socket_takes_them_piece_by_piece():
    messages = [bytes([number]) * 300_000 for number in range(3)]
    with running_site(buffers=SMALL) as site, site.client(receive_buffer=SMALL) as client:
        for message in messages:
            site.push.broadcast(message)
        assert [client.message() for _ in messages] == messages
        site.push.broadcast("and on")
        assert client.message() == "and on"


def test_big_messages_arrive_whole_over_tls(server_certificate, client_tls):
    messages = [bytes([number]) * 300_000 for number in range(3)]
    with running_site(buffers=SMALL, tls=server_certificate) as site:
        with site.client(receive_buffer=SMALL, tls=client_tls) as client:
            for message in messages:
                site.push.broadcast(message)
            assert [client.message() for _ in messages] == messages


def test_a_ping_is_answered_between_messages_never_within_one():
    message = "a" * 300_000
    with running_site(buffers=SMALL) as site, site.client(receive_buffer=SMALL) as client:
        site.push.broadcast(message)
        for number in range(10):
            client.send(0x89, b"%d" % number)
        site.push.broadcast(message)
        found = [client.frame() for _ in range(12)]
        assert [payload for first, payload in found if first == 0x8A] == \
            [b"%d" % number for number in range(10)]
        assert [payload for first, payload in found if first == 0x81] == [message.encode()] * 2


def test_one_thread_is_heard_in_its_order_whatever_it_calls():
    with running_site() as site, site.client() as client:
        connection, = site.push.connections()
        connection.subscribe("news")
        for number in range(0, 400, 4):
            site.push.broadcast(str(number))
            site.push.send("42", str(number + 1))
            connection.send(str(number + 2))
            site.push.publish("news", str(number + 3))
        assert [client.message() for _ in range(400)] == [str(number) for number in range(400)]


def test_fifty_threads_may_broadcast_at_once():
    threads, rounds, readers = 50, 20, 3
    with running_site() as site, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client(f"/websocket?Id={number}"))
                   for number in range(readers)]
        gate = threading.Barrier(threads)

        def broadcast(sender):
            gate.wait()
            for number in range(rounds):
                site.push.broadcast([sender, number, "a" * sender * 10])

        senders = [threading.Thread(target=broadcast, args=(sender,)) for sender in range(threads)]
        for thread in senders:
            thread.start()
        for client in clients:
            heard = {sender: [] for sender in range(threads)}
            for _ in range(threads * rounds):
                sender, number, filling = json.loads(client.message())
                assert filling == "a" * sender * 10
                heard[sender].append(number)
            assert heard == {sender: list(range(rounds)) for sender in range(threads)}
        for thread in senders:
            thread.join()


# Slow readers


def test_a_slow_reader_is_closed_with_3008_while_the_others_get_everything():
    Handler = recorder()
    message = "a" * SMALL
    settings = {"max_outbox": 50_000, "close_timeout": 10}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client("/websocket?Id=slow", receive_buffer=SMALL) as slow, \
                site.client("/websocket?Id=quick") as quick:
            for number in range(100):
                site.push.broadcast(f"{number} {message}")
                assert quick.message() == f"{number} {message}"
            assert site.push.ids() == ["quick"]
            read = []
            with pytest.raises(EOFError, match="3008"):
                while True:
                    read.append(slow.message())
            assert read == [f"{number} {message}" for number in range(len(read))]
            slow.send(0x88, close_payload(3008))
            assert slow.at_end()
            wait_until(lambda: ("closed", "slow", 3008, "slow: read faster") in Handler.log)
            assert quick.hang_up() == 1000


def test_a_reader_that_is_slow_for_good_is_ended_without_its_help():
    Handler = recorder()
    settings = {"max_outbox": 50_000, "close_timeout": 0.1}
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site, \
            site.client("/echo?Id=quick") as quick, site.client(receive_buffer=SMALL):
        slow, = site.push._hub.of_id("42")
        while site.push.send("42", "a" * SMALL):
            quick.text("your turn")
            assert quick.message() == "your turn"  # so the last send has been dealt with
            assert slow.outbox.size <= settings["max_outbox"]
        wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1] == ("closed", "42", 3008, "slow: read faster")


def test_a_burst_larger_than_an_outbox_is_no_slowness_of_those_that_read():
    """What one ``send`` takes does not count as waiting."""
    with running_site(settings={"max_outbox": 200_000}) as site, site.client() as client:
        for number in range(20):
            site.push.broadcast(str(number) * 1000)
        assert [client.message() for _ in range(20)] == [str(number) * 1000
                                                         for number in range(20)]


def test_a_reader_that_does_not_read_the_pongs_it_asks_for_is_slow():
    settings = {"max_outbox": 20_000, "close_timeout": 0.1}
    Handler = recorder()
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site:
        with site.client(receive_buffer=SMALL) as client:
            pings = masked_frame(0x89, b"a" * 125) * 100
            with contextlib.suppress(OSError):
                while len(site.push):
                    client.sock.sendall(pings)
            wait_until(lambda: len(Handler.log) == 2)
    assert Handler.log[1][2] == 3008


# A handler that falls behind


def full(sock):
    """Tell whether a socket takes nothing for a while."""
    return not select.select([], [sock], [], 0.2)[1]


def test_a_client_that_sends_more_than_its_handler_takes_is_not_read_until_it_has_caught_up():
    gate, seen = threading.Event(), []

    def received_message(self, message):
        gate.wait(30)
        seen.append(len(message.data))

    settings = {"max_inbox": 100_000, "ping_interval": 0.1}
    frame = masked_frame(0x82, b"a" * 10_000)
    Handler = handler(received_message=received_message)
    with running_site(site_of(Handler), settings=settings, buffers=SMALL) as site, \
            site.client() as client, contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        client.sock.setblocking(False)
        sent = 0
        data = frame * 2000
        while not full(client.sock):
            sent += client.sock.send(data[sent:])
            assert sent < len(data), "the server went on reading"
        link, = site.push._hub.everyone()
        assert link.backlog < 2 * settings["max_inbox"]
        pinged = link._pinged_at
        wait_until(lambda: site.push._home.loop.now - link._last_read > 0.5)
        assert link._pinged_at == pinged  # for a pong could not be read
        site.push.broadcast("to a busy client")
        client.sock.setblocking(True)
        client.sock.settimeout(10)
        gate.set()
        client.sock.sendall(data[sent:(sent // len(frame) + 1) * len(frame)])
        wait_until(lambda: len(seen) == sent // len(frame) + 1)
        assert client.message() == "to a busy client"
        assert set(seen) == {10_000}


def test_other_clients_are_read_while_one_is_not():
    gate = threading.Event()
    Handler = handler(received_message=lambda self, message: gate.wait(30))
    with running_site(site_of(Handler), settings={"max_inbox": 1000}) as site, \
            contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        client = stack.enter_context(site.client())
        client.sock.sendall(masked_frame(0x82, b"a" * 900) * 20)
        other = stack.enter_context(site.client("/echo?Id=other"))
        other.text("hello")
        assert other.message() == "hello"
        assert site.push.send("42", "still written to") == 1
        assert client.message() == "still written to"


# To whom


def test_a_send_reaches_all_connections_of_one_id_and_counts_them():
    with running_site() as site, site.client() as one, site.client() as two, \
            site.client("/websocket?Id=7") as other:
        assert site.push.send("42", "for you") == 2
        assert site.push.send("nobody", "for nobody") == 0
        site.push.broadcast("for all")
        assert [one.message(), one.message()] == ["for you", "for all"]
        assert [two.message(), two.message()] == ["for you", "for all"]
        assert other.message() == "for all"
        assert site.push.ids() == ["42", "7"]


def test_an_id_that_is_no_text_is_a_mistake_not_nobody():
    with running_site() as site:
        for call in (site.push.send, site.push.disconnect):
            with pytest.raises(InvalidSetting):
                call(42, "text")


def test_a_send_to_an_id_that_has_just_left_reaches_nobody():
    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        for number in range(20):
            with site.client() as client:
                connection, = site.push.connections("42")
                client.hang_up()
                assert site.push.send("42", "late") in (0, 1)
                wait_until(lambda: site.push.send("42", "late") == 0)
                with pytest.raises(ConnectionClosed):
                    connection.send("late")
                assert site.push.connections("42") == []
    assert len(Handler.log) == 40


def test_sends_while_clients_come_and_go_disturb_nobody():
    ending = threading.Event()
    with running_site() as site, site.client("/websocket?Id=stays") as stays:
        def send():
            while not ending.wait(0.001):
                site.push.broadcast("to all")
                site.push.send("passer-by", "to you")
                site.push.publish("news", "to some")

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(50):
                with site.client("/websocket?Id=passer-by") as client:
                    assert client.message() in ("to all", "to you")
                    client.reset()
            assert stays.message() == "to all"
        finally:
            ending.set()
            thread.join()
        wait_until(lambda: site.push.ids() == ["stays"])


def test_pushing_before_the_start_and_after_the_stop_reaches_nobody_and_raises_nothing():
    push = PushPlugin(cherrypy.process.wspbus.Bus())
    for _ in range(2):
        push.broadcast("to nobody")
        assert push.send("42", "to nobody") == 0
        push.publish("news", "to nobody")
        assert push.disconnect("42") == 0
        assert (push.ids(), push.connections(), len(push), bool(push)) == ([], [], 0, True)
        with pytest.raises(TypeError):
            push.broadcast(object())
        push.start()
        push.stop()


def test_a_connection_in_a_channel_receives_what_is_published_to_it():
    with running_site() as site, site.client("/websocket?Id=in") as inside, \
            site.client("/websocket?Id=out") as outside:
        connection, = site.push.connections("in")
        assert connection.subscribe("news") is True
        assert connection.subscribe("news") is False
        site.push.publish("news", {"number": 1})
        site.push.publish("other", {"number": 2})
        assert connection.unsubscribe("news") is True
        assert connection.unsubscribe("news") is False
        site.push.publish("news", {"number": 3})
        site.push.broadcast("end")
        assert [inside.message(), inside.message()] == ['{"number":1}', "end"]
        assert outside.message() == "end"


def test_a_connection_that_has_closed_is_in_no_channel():
    with running_site(site_of(channels=["news"])) as site, site.client() as client:
        connection, = site.push.connections()
        assert client.hang_up() == 1000
        wait_until(lambda: len(site.push) == 0)
        assert site.push._hub.of_channel("news") == ()
        assert connection.subscribe("news") is False
        assert connection.unsubscribe("news") is False


def test_the_tool_puts_each_connection_into_its_channels():
    with running_site(site_of(channels=["news", "weather"])) as site, site.client() as client, \
            site.client("/echo?Id=42") as other:
        site.push.publish("news", "1")
        site.push.publish("weather", "2")
        site.push.publish("sports", "3")
        site.push.broadcast("end")
        assert [client.message() for _ in range(3)] == ["1", "2", "end"]
        assert other.message() == "end"


@pytest.mark.parametrize("channel", ["", "a" * 256, None, 5])
def test_what_cannot_be_a_channel_is_refused(channel):
    with running_site() as site, site.client():
        connection, = site.push.connections()
        with pytest.raises(InvalidSetting):
            site.push.publish(channel, "text")
        with pytest.raises(InvalidSetting):
            connection.subscribe(channel)


def test_disconnect_closes_all_connections_of_an_id():
    with running_site() as site, site.client() as one, site.client() as two, \
            site.client("/websocket?Id=7") as other:
        site.push.send("42", "last words")
        assert site.push.disconnect("42", code=4400, reason="moved") == 2
        assert site.push.ids() == ["7"]
        for client in (one, two):
            assert client.message() == "last words"
            assert client.frame() == (0x88, close_payload(4400, b"moved"))
        assert site.push.send("7", "not you") == 1
        assert other.message() == "not you"


@pytest.mark.parametrize("code, reason", [(1005, ""), (1006, ""), (1015, ""), (999, ""), (5000, ""),
                                          ("1000", ""), (3505, "a" * 124), (3505, "\ud800")])
def test_a_close_that_cannot_be_sent_is_refused(code, reason):
    with running_site() as site, site.client() as client:
        connection, = site.push.connections()
        with pytest.raises(InvalidSetting):
            site.push.disconnect("42", code=code, reason=reason)
        with pytest.raises(InvalidSetting):
            connection.close(code, reason)
        site.push.send("42", "still there")
        assert client.message() == "still there"


# Tickers


def test_a_ticker_pushes_until_it_is_stopped():
    numbers = iter(range(1000))
    with running_site() as site, site.client() as client:
        ticker = site.push.every(0.02, lambda: next(numbers))
        assert [client.message() for _ in range(3)] == ["0", "1", "2"]
        ticker.stop()
        site.push.broadcast("end")
        left = []
        while not left or left[-1] != "end":
            left.append(client.message())
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.message()


def test_a_ticker_can_publish_to_a_channel():
    with running_site(site_of(channels=["time"])) as site, site.client() as client, \
            site.client("/echo?Id=other") as other:
        site.push.every(0.02, lambda: "tick", channel="time")
        assert client.message() == "tick"
        site.push.broadcast("end")
        assert other.message() == "end"


def test_a_ticker_outlives_errors_and_what_cannot_be_sent(caplog):
    results = iter([1 / 3, object(), "tick"])
    with running_site() as site, site.client() as client:
        site.push.every(0.02, lambda: next(results))
        assert [client.message(), client.message()] == [repr(1 / 3), "tick"]
        wait_until(lambda: "StopIteration" in caplog.text)


def test_a_ticker_made_before_the_start_runs_with_the_server_and_not_while_it_is_stopped():
    made = []
    with running_site() as site:
        site.push.stop()
        site.push.every(0.02, lambda: made.append(True) or "tick")
        for _ in range(3):
            site.push.start()
            with site.client() as client:
                assert client.message() == "tick"
            site.push.stop()
            count = len(made)
            threading.Event().wait(0.06)
            assert len(made) == count


# The engine's bus


def test_the_bus_can_push_and_hears_of_connections():
    heard = []
    with running_site(site_of(channels=["news"])) as site:
        site.bus.subscribe("push-opened", lambda *args: heard.append(("opened", *args)))
        site.bus.subscribe("push-received", lambda *args: heard.append(("received", *args)))
        site.bus.subscribe("push-closed", lambda *args: heard.append(("closed", *args)))
        with site.client() as client:
            connection, = site.push.connections()
            site.bus.publish("push-broadcast", "to all")
            assert site.bus.publish("push-send", "42", {"to": 42}) == [1]
            site.bus.publish("push-publish", "news", b"news")
            assert [client.message() for _ in range(3)] == ["to all", '{"to":42}', b"news"]
            client.text("hello")
            assert client.hang_up(4001) == 4001
            wait_until(lambda: len(heard) == 3)
    assert heard[0] == ("opened", connection)
    assert heard[1][:2] == ("received", connection) and str(heard[1][2]) == "hello"
    assert heard[2] == ("closed", connection, 4001, "")


@pytest.mark.parametrize("channel", ["push-opened", "push-received", "push-closed"])
def test_a_listener_that_raises_harms_no_connection(channel):
    def fail(*args):
        raise ValueError("a bug of the site")

    Handler = recorder()
    with running_site(site_of(Handler)) as site:
        logged = []
        site.bus.subscribe("log", lambda message, level: logged.append(message))
        site.bus.subscribe(channel, fail)
        with site.client() as client:
            client.text("hello")
            assert client.hang_up() == 1000
        wait_until(lambda: len(Handler.log) == 3)
        wait_until(lambda: any("a bug of the site" in message for message in logged))


def test_a_plugin_that_has_left_the_bus_no_longer_listens_to_it():
    with running_site() as site, site.client() as client:
        site.push.unsubscribe()
        assert site.bus.publish("push-send", "42", "unheard") == []
        site.push.subscribe()
        assert site.bus.publish("push-send", "42", "heard") == [1]
        assert client.message() == "heard"


def test_a_burst_leaves_no_more_than_the_limit_with_a_slow_client():
    with running_site(settings={"max_outbox": 50_000}, buffers=4096) as site, \
            site.client(receive_buffer=4096):
        link, = site.push._hub.everyone()
        gate = threading.Event()
        site.push._home.loop.call(gate.wait)
        for _ in range(250):
            site.push.broadcast("a" * 4096)
        gate.set()
        wait_until(lambda: len(site.push) == 0)
        assert link.outbox.size <= 50_000


def test_a_handler_that_exits_ends_its_own_connection_only(caplog):
    log = []

    class Exiting(Connection):
        def received_message(self, message):
            raise SystemExit("from a library")

        def closed(self, code, reason=None):
            log.append(code)

    with running_site(site_of(Exiting)) as site:
        for _ in range(site.push.settings.workers + 2):
            with site.client() as client:
                client.text("go")
                assert client.close_code() == 1011
                client.send(0x88, b"\x03\xf3")
        wait_until(lambda: log == [1011] * (site.push.settings.workers + 2))
        with site.client() as client:
            site.push.broadcast("still here")
            assert client.message() == "still here"


def test_those_that_are_closing_count_until_their_sockets_are_closed():
    settings = {"max_connections": 3, "close_timeout": 30, "drain_timeout": 0.5}
    with running_site(settings=settings) as site:
        clients = [site.client() for _ in range(3)]
        for client in clients:
            client.send(0x81, b"unmasked", mask=None)
            assert client.close_code() == 1002
        wait_until(lambda: len(site.push) == 0)
        with pytest.raises(Refused, match="503"):
            site.client()
        for client in clients:
            client.close()
        wait_until(lambda: not site.push._home.links)
        site.client().close()


def test_a_flood_of_pings_is_answered_in_order_beside_others():
    with running_site() as site, site.client("/echo?Id=1") as flooder, \
            site.client("/echo?Id=2") as other:
        count = 20_000
        flood = b"".join(masked_frame(0x89, b"%05d" % number) for number in range(count))
        thread = threading.Thread(target=flooder.sock.sendall, args=(flood,))
        thread.start()
        other.text("hello")
        assert other.message() == "hello"
        assert [flooder.frame() for _ in range(count)] == [
            (0x8A, b"%05d" % number) for number in range(count)]
        thread.join()
