"""What connections write: which data how, whole and in order."""
from __future__ import annotations

import contextlib
import json
import threading

import pytest

from pushserver import InvalidData, MessageTooLarge
from tests.support.handlers import handler, site_of, SMALL
from tests.support.site import running_site


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
