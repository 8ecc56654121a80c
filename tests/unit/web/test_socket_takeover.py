"""Taking a socket from under cheroot: with cheroot itself, and no site."""
from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from cheroot.server import Gateway, HTTPServer

from pushserver.errors import HandshakeRefused
from pushserver.runtime.sockets import lend
from pushserver.web.socket_takeover import SocketTakeover, current_request
from tests.support.site import running
from tests.support.waiting import PATIENCE, wait_until

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def served(respond, finish):
    """Serve ``respond(request)``, called where a site would answer; yield a client.

    Args:
        respond: writes an answer.
        finish: called with the takeover when cheroot is done.
    """
    failures = []

    class Answering(Gateway):
        def respond(self):
            try:
                takeover = SocketTakeover()
                assert current_request() is self.req
                takeover.hold_back(lambda: noted(finish, takeover))
                respond(self.req)
            except BaseException as error:
                failures.append(error)

    def noted(action, takeover):
        try:
            action(takeover)
        except BaseException as error:
            failures.append(error)

    server = HTTPServer(("127.0.0.1", 0), Answering, minthreads=1, maxthreads=1)
    server.expiration_interval = 0.02
    server.prepare()
    try:
        with running(server), socket.create_connection(server.bind_addr[:2], PATIENCE) as client:
            yield client
    finally:
        assert failures == []


def answer(client):
    """Read up to the end of the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            data += piece
    return data


def writing(data):
    """Return a function that writes an answer, as cheroot does for a site."""
    def write(request):
        request.conn.wfile.write(data)
        request.sent_headers = True     # or cheroot would begin an answer of its own
    return write


def test_there_is_no_request_where_cheroot_answers_none():
    assert current_request() is None
    with pytest.raises(HandshakeRefused, match="cheroot") as refused:
        SocketTakeover()
    assert refused.value.status == 501


def test_a_socket_that_was_given_away_is_left_open_and_nothing_is_written_to_it():
    taken = []

    def finish(takeover):
        assert (takeover.answer, takeover.status) == (ANSWER, 0)
        takeover.detach()
        taken.append(takeover.socket)

    with served(writing(ANSWER), finish) as client:
        client.sendall(REQUEST)
        wait_until(lambda: taken)
        client.settimeout(0.1)
        with pytest.raises(socket.timeout):
            client.recv(100)
        client.settimeout(PATIENCE)
        taken[0].sendall(b"ours now")
        assert client.recv(100) == b"ours now"
        taken[0].close()
        assert client.recv(100) == b""


def test_a_body_behind_a_101_is_not_part_of_it():
    taken = []

    def respond(request):
        writing(ANSWER)(request)
        for piece in (b"", b"<html>", REFUSAL):
            request.conn.wfile.write(piece)

    with served(respond, lambda takeover: taken.append(takeover.answer)) as client:
        client.sendall(REQUEST)
        assert answer(client) == b""
    assert taken == [ANSWER]


@pytest.mark.parametrize("early", [b"\x81\x80mask", b""], ids=["a frame", "nothing"])
def test_what_the_client_sent_behind_its_handshake_is_taken_and_not_waited_for(early):
    taken = []
    with served(writing(REFUSAL), lambda takeover: taken.append(takeover.take_early())) as client:
        client.sendall(REQUEST + early)
        assert answer(client) == REFUSAL
    assert taken == [early]


@pytest.mark.parametrize("status", [b"404 Not Found", b"200 OK", b"500", b"101x Sorry"])
def test_an_answer_that_is_not_an_upgrade_is_written_as_it_comes(status):
    told, wrote = [], threading.Event()

    def respond(request):
        writing(b"HTTP/1.1 " + status + b"\r\n\r\n")(request)
        request.conn.wfile.write(ANSWER[:8])
        assert wrote.wait(PATIENCE)
        request.conn.wfile.write(ANSWER[8:])

    with served(respond, lambda takeover: told.append(takeover.answer)) as client:
        client.sendall(REQUEST)
        start = client.recv(1000)
        assert start.startswith(b"HTTP/1.1 " + status)
        wrote.set()
        assert (start + answer(client)).endswith(b"\r\n\r\n" + ANSWER)
    assert told == [b""]


def test_a_refusal_takes_the_place_of_the_answer_and_ends_the_connection():
    def finish(takeover):
        takeover.refuse(503, "come later", {"Retry-After": "5"})

    with served(writing(ANSWER), finish) as client:
        client.sendall(REQUEST)
        head, body = answer(client).split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert {"Retry-After: 5", "Connection: close", "Content-Length: 11"} <= set(lines[1:])
    assert body == b"come later\n"


def test_a_client_that_has_gone_can_be_refused():
    done, gone = [], threading.Event()

    def finish(takeover):
        assert gone.wait(PATIENCE)
        for _ in range(3):  # the first only brings the reset
            takeover.refuse(503, "come later", {})
        done.append(True)

    with served(writing(ANSWER), finish) as client:
        client.sendall(REQUEST)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        gone.set()
        wait_until(lambda: done)


def test_what_is_taken_over_another_time_is_given_up_the_first_time():
    told = []

    def respond(request):
        assert told == []
        SocketTakeover().hold_back(lambda: told.append("second"))
        assert told == [True]
        writing(REFUSAL)(request)

    with served(respond, lambda takeover: told.append(takeover.is_abandoned)) as client:
        client.sendall(REQUEST)
        assert answer(client) == REFUSAL
    assert told == [True, "second"]


def test_a_thread_of_cheroot_outlives_a_socket_that_was_taken_before_the_taking_failed():
    sockets = []

    def finish(takeover):
        sockets.append(lend(takeover.socket))
        takeover.refuse(500, "too late", {})

    with served(writing(ANSWER), finish) as client:
        client.sendall(REQUEST)
        wait_until(lambda: sockets)
        with socket.create_connection(client.getpeername(), PATIENCE) as second:
            second.sendall(REQUEST)  # the server has only one thread
            wait_until(lambda: len(sockets) == 2)
        for sock in sockets:
            socket.socket.close(sock)
