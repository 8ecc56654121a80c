"""A connection: what may be sent on it, and that it outlives its socket without harm."""
from __future__ import annotations

import pytest
from ws4py.messaging import BinaryMessage, TextMessage
from ws4py.websocket import WebSocket

from pushserver.connections.connection import Connection
from pushserver.errors import ConnectionClosed, InvalidData, InvalidSetting
from pushserver.wire.frames import OPCODE_BINARY, OPCODE_PING, OPCODE_TEXT, frame


class Recording:
    """A handle that keeps what its connection asks for."""

    takes = True

    def __init__(self):
        self.frames = []
        self.asked = []

    def send(self, opcode, payload):
        self.frames.append(frame(opcode, payload))
        return self.takes

    def close(self, disconnect):
        self.asked.append(("close", *disconnect))
        return True

    def abort(self):
        self.asked.append(("abort",))

    def subscribe(self, channel, info):
        self.asked.append(("subscribe", channel))
        return True

    def unsubscribe(self, channel, client):
        self.asked.append(("unsubscribe", channel))
        return True


@pytest.fixture
def handle():
    return Recording()


@pytest.fixture
def connection(handle, pair):
    connection = Connection(pair[0], ["chat"], [], {"PATH_INFO": "/"})
    connection.identify(Id="42", user="ann", data={"a": 1}, peer=("192.0.2.1", 5))
    connection.attach(handle)
    return connection


def test_it_is_ws4pys_websocket_and_knows_its_client(connection):
    assert isinstance(connection, WebSocket)
    assert (connection.Id, connection.user, connection.data) == ("42", "ann", {"a": 1})
    assert connection.protocols == ["chat"]
    assert connection.environ == {"PATH_INFO": "/"}
    assert connection.peer_address == ("192.0.2.1", 5)
    assert repr(connection) == "<Connection Id='42'>"


def pieces(*parts):
    yield from parts


@pytest.mark.parametrize("payload, binary, opcode, data", [
    ("gr\u00fcn", False, OPCODE_TEXT, b"gr\xc3\xbcn"),
    ("text", True, OPCODE_BINARY, b"text"),
    (b"text", False, OPCODE_TEXT, b"text"),
    (b"\xff", True, OPCODE_BINARY, b"\xff"),
    (bytearray(b"ab"), True, OPCODE_BINARY, b"ab"),
    ({"a": 1}, False, OPCODE_TEXT, b'{"a":1}'),
    (None, False, OPCODE_TEXT, b"null"),
    (TextMessage("text"), False, OPCODE_TEXT, b"text"),
    (BinaryMessage(b"\xff"), False, OPCODE_BINARY, b"\xff")])
def test_send_takes_what_ws4py_takes_and_what_json_holds(connection, handle, payload, binary,
                                                         opcode, data):
    connection.send(payload, binary)
    assert handle.frames == [frame(opcode, data)]


@pytest.mark.parametrize("binary, opcode", [(False, OPCODE_TEXT), (True, OPCODE_BINARY)])
def test_the_pieces_of_a_generator_are_one_message(connection, handle, binary, opcode):
    connection.send(pieces("a", b"b", "c"), binary)
    assert handle.frames == [frame(opcode, b"abc")]


@pytest.mark.parametrize("payload", [b"\xff", {1, 2}, "\ud800", pieces("a", object())])
def test_what_cannot_be_sent_is_an_error_and_nothing_is_queued(connection, handle, payload):
    with pytest.raises(InvalidData):
        connection.send(payload)
    assert handle.frames == []


def test_a_send_that_the_server_no_longer_takes_is_an_error(connection, handle):
    handle.takes = False
    with pytest.raises(ConnectionClosed, match="'42'") as error:
        connection.send("late")
    assert isinstance(error.value, RuntimeError)


@pytest.mark.parametrize("message", ["p" * 125, b"p" * 125, ""])
def test_a_ping_carries_at_most_125_bytes(connection, handle, message):
    connection.ping(message)
    assert handle.frames[0][0] == 0x80 | OPCODE_PING
    with pytest.raises(InvalidData, match="126 bytes"):
        connection.ping(b"p" * 126)


def test_close_asks_the_server_with_a_code_that_can_be_sent(connection, handle):
    connection.close()
    connection.close(4000, "bye")
    connection.close(1000, b"ws4py gives bytes")
    assert handle.asked == [("close", 1000, ""), ("close", 4000, "bye"),
                            ("close", 1000, "ws4py gives bytes")]


@pytest.mark.parametrize("code, reason", [(1005, ""), (99, ""), (1000, "x" * 124)])
def test_a_close_that_cannot_be_sent_is_refused(connection, handle, code, reason):
    with pytest.raises(InvalidSetting):
        connection.close(code, reason)
    assert handle.asked == []


def test_the_rest_is_passed_on(connection, handle):
    assert connection.subscribe("news") and connection.unsubscribe("news")
    connection.close_connection()
    assert handle.asked == [("subscribe", "news"), ("unsubscribe", "news"), ("abort",)]


def test_a_connection_that_has_ended_keeps_no_server_and_no_socket(connection, handle):
    connection.detach()
    connection.close()
    connection.close_connection()
    assert not connection.subscribe("news")
    assert not connection.unsubscribe("news")
    assert connection.sock is None
    assert connection.local_address is None
    with pytest.raises(ConnectionClosed):
        connection.send("late")
    assert handle.asked == handle.frames == []


def test_the_local_address_is_none_once_the_socket_is_closed(connection, pair):
    assert connection.local_address is not None
    pair[0].close()
    assert connection.local_address is None


def test_a_closed_connection_says_so(connection):
    connection.client_terminated = connection.server_terminated = True
    assert repr(connection) == "<Connection Id='42' closed>"


def test_the_callbacks_do_nothing_of_themselves(connection, handle):
    connection.opened()
    connection.received_message(TextMessage("x"))
    connection.closed(1000, "")
    assert handle.asked == handle.frames == []
