"""Taking a socket from under cheroot: with cheroot itself, and no site."""
from __future__ import annotations

import contextlib
import socket

import pytest
from cheroot.server import Gateway, HTTPServer

from pushserver.errors import HandshakeRefused
from pushserver.web.socket_takeover import SocketTakeover, current_request
from tests.support.site import running
from tests.support.waiting import PATIENCE, wait_until

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def served(respond):
    """Serve ``respond(takeover, request)``, called where a site would answer; yield a client."""
    failures = []

    class Answering(Gateway):
        def respond(self):
            try:
                takeover = SocketTakeover()
                assert current_request() is self.req
                takeover.hold_back()
                respond(takeover, self.req)
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


def write(request, data):
    request.conn.wfile.write(data)
    request.sent_headers = True     # or cheroot would begin an answer of its own


def test_there_is_no_request_where_cheroot_answers_none():
    assert current_request() is None
    with pytest.raises(HandshakeRefused, match="cheroot") as refused:
        SocketTakeover()
    assert refused.value.status == 501


def test_a_socket_that_was_given_away_is_left_open_and_nothing_is_written_to_it():
    taken = []

    def respond(takeover, request):
        write(request, ANSWER)
        assert takeover.is_upgrade
        assert takeover.answer == ANSWER
        sock = takeover.socket
        takeover.detach()
        taken.append(sock)

    with served(respond) as client:
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


@pytest.mark.parametrize("early", [b"\x81\x80mask", b""], ids=["a frame", "nothing"])
def test_what_the_client_sent_behind_its_handshake_is_taken_and_not_waited_for(early):
    taken = []

    def respond(takeover, request):
        taken.append(takeover.take_early())
        write(request, REFUSAL)
        takeover.write_answer()
        request.close_connection = True

    with served(respond) as client:
        client.sendall(REQUEST + early)
        assert answer(client) == REFUSAL
    assert taken == [early]


def test_an_answer_that_is_not_an_upgrade_is_written_as_it_was():
    def respond(takeover, request):
        write(request, REFUSAL)
        assert not takeover.is_upgrade
        takeover.write_answer()

    with served(respond) as client:
        for _ in range(2):  # and cheroot goes on with the connection
            client.sendall(REQUEST)
            assert client.recv(1000) == REFUSAL


def test_a_refusal_takes_the_place_of_the_answer_and_ends_the_connection():
    def respond(takeover, request):
        write(request, ANSWER)
        takeover.refuse(503, "come later", {"Retry-After": "5"})

    with served(respond) as client:
        client.sendall(REQUEST)
        head, body = answer(client).split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert {"Retry-After: 5", "Connection: close", "Content-Length: 11"} <= set(lines[1:])
    assert body == b"come later\n"
