"""What a handshake has to look like, and how the others are told why not."""
from __future__ import annotations

import contextlib
import logging

import pytest

from pushserver.wire.handshake import accept_key
from tests.support.handshakes import accepted, refusal
from tests.support.raw_client import Refused
from tests.support.site import running_site


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"])
def test_another_method_than_get_is_answered_405_with_what_is_allowed(method):
    with running_site() as site:
        refused = refusal(site, method=method)
        assert refused.status == 405
        assert refused.headers["Allow"] == "GET"
        assert b"GET" in refused.body


def test_head_is_answered_405_without_a_body():
    with running_site() as site, site.socket() as client:
        client.sock.sendall(client.request(method="HEAD", headers={"Connection": "close"}))
        while client._more():
            pass
        assert client.buffer.startswith(b"HTTP/1.1 405 ")
        assert client.buffer.endswith(b"\r\n\r\n")


def test_a_post_with_a_body_is_answered_405():
    with running_site() as site:
        assert refusal(site, method="POST", headers={"Content-Length": "5"},
                       behind=b"a=1&b").status == 405


@pytest.mark.parametrize("headers", [
    {"Upgrade": None}, {"Upgrade": "h2c"}, {"Upgrade": ""}, {"Upgrade": "not-websocket"},
    {"Sec-WebSocket-Version": None}, {"Sec-WebSocket-Version": "8"},
    {"Sec-WebSocket-Version": "14"}, {"Sec-WebSocket-Version": "thirteen"},
], ids=str)
def test_what_is_not_a_websocket_handshake_is_answered_426_with_what_to_upgrade_to(headers):
    with running_site() as site:
        refused = refusal(site, headers=headers)
        assert refused.status == 426
        assert refused.headers["Upgrade"] == "websocket"
        assert refused.headers["Connection"] == "Upgrade"
        assert refused.headers["Sec-WebSocket-Version"] == "13"


def test_http_1_0_is_answered_426():
    with running_site() as site:
        refused = refusal(site, version="HTTP/1.0")
        assert refused.status == 426
        assert b"HTTP/1.1" in refused.body


@pytest.mark.parametrize("headers, says", [
    ({"Connection": None}, b"Connection: Upgrade"),
    ({"Connection": "keep-alive"}, b"Connection: Upgrade"),
    ({"Connection": "not-upgrade-please"}, b"Connection: Upgrade"),
    ({"Sec-WebSocket-Key": None}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": ""}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "AAAA"}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "A" * 2000}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "\xe9" * 24}, b"Sec-WebSocket-Key"),
    ({"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA"}, b"Sec-WebSocket-Key"),
    ({"Content-Length": "5"}, b"without a body"),
    ({"Content-Length": "\xb2"}, b""),
], ids=str)
def test_a_malformed_header_is_answered_400_saying_which(headers, says):
    with running_site() as site, site.socket() as client:
        with pytest.raises(Refused) as refused:
            client.handshake(headers=headers, behind=b"hello")
        assert refused.value.status == 400
        assert says in refused.value.body
        assert len(site.push) == 0


def test_a_chunked_body_is_answered_400():
    with running_site() as site:
        refused = refusal(site, headers={"Transfer-Encoding": "chunked"}, behind=b"0\r\n\r\n")
        assert refused.status == 400


@pytest.mark.parametrize("headers", [
    {"Upgrade": "WebSocket"}, {"Upgrade": "h2c, websocket"},
    {"Connection": "keep-alive, Upgrade"}, {"Connection": "UPGRADE"},
    {"Content-Length": "0"}, {"Sec-WebSocket-Extensions": "permessage-deflate; nonsense=;;;"},
], ids=str)
def test_what_other_clients_and_proxies_write_is_understood(headers):
    with running_site() as site:
        assert "Sec-WebSocket-Extensions" not in accepted(site, headers=headers)


def test_the_answer_is_what_rfc_6455_asks_for_and_nothing_of_a_page():
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with running_site() as site:
        answer = accepted(site, headers={"Sec-WebSocket-Key": key})
        assert answer["Upgrade"] == "websocket"
        assert answer["Connection"] == "Upgrade"
        assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" == accept_key(key)
        assert "Sec-WebSocket-Accept" in answer.keys()  # letter by letter: some clients look so
        for name in ("Content-Length", "Content-Type", "Transfer-Encoding",
                     "Sec-WebSocket-Protocol"):
            assert name not in answer


@pytest.mark.parametrize("junk", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    b"GET /websocket?Id=42 HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET /websocket?Id=\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /websocket?Id=%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    bytes(range(256)) + b"\r\n\r\n",
])
def test_junk_is_the_fault_of_the_client(junk, caplog):
    with running_site() as site, site.socket() as client:
        client.sock.sendall(junk)
        client.sock.shutdown(1)
        client.at_end()
        assert client.buffer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 "))
        assert len(site.push) == 0
        accepted(site)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_handshake_sent_one_byte_at_a_time_is_accepted():
    with running_site() as site, site.socket() as client:
        for byte in client.request("/echo?Id=42", headers={"Origin": None}):
            client.sock.sendall(bytes([byte]))
        client.answer()
        client.text("hello")
        assert client.message() == "hello"


def test_half_a_handshake_keeps_nobody_else_out():
    with running_site() as site, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(site.socket()) for _ in range(5)]
        for number, client in enumerate(waiting):
            request = client.request("/echo?Id=late")
            middle = (number + 1) * len(request) // 7
            client.sock.sendall(request[:middle])
            client.rest = request[middle:]
        accepted(site)
        waiting.pop().close()
        waiting.pop().reset()
        for client in waiting:
            client.sock.sendall(client.rest)
            client.answer()
            client.text("at last")
            assert client.message() == "at last"
