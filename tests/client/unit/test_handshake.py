from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushclient.errors import HandshakeFailed, InvalidSetting, PushError
from pushclient.websocket import handshake
from pushserver.wire.handshake import accept_key

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {"Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}


def answer(status="101 Switching Protocols", version="HTTP/1.1", **changed):
    fields = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {line}" for name, value in fields.items() if value is not None
             for line in (value if isinstance(value, list) else [value])]
    return handshake.parse_response("\r\n".join([f"{version} {status}", *lines]).encode())


def test_accept_is_the_one_of_the_rfc():
    assert accept_key(KEY.decode()) == GOOD["Sec-WebSocket-Accept"]
    assert len({handshake.new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize("changed", [
    {}, {"Upgrade": "WebSocket"}, {"Connection": "keep-alive, upgrade"},
    {"Connection": ["keep-alive", "UPGRADE"]}, {"status": "101"}, {"status": "101 "}])
def test_good_answer_is_accepted(changed):
    assert handshake.check_response(answer(**changed), KEY, []) is None


@pytest.mark.parametrize("changed, words", [
    ({"Upgrade": None}, "no header Upgrade"), ({"Upgrade": "h2c"}, "no header Upgrade"),
    ({"Upgrade": "websocket, h2c"}, "no header Upgrade"),
    ({"Connection": None}, "no header Connection"),
    ({"Connection": "not-upgrade-please"}, "no header Connection"),
    ({"Sec_WebSocket_Accept": None}, "no Sec-WebSocket-Accept"),
    ({"Sec_WebSocket_Accept": GOOD["Sec-WebSocket-Accept"].lower()}, "wrong Sec-WebSocket"),
    ({"Sec_WebSocket_Accept": [GOOD["Sec-WebSocket-Accept"]] * 2}, "wrong Sec-WebSocket"),
    ({"Sec_WebSocket_Extensions": "permessage-deflate; x=1"}, "extension 'permessage-deflate"),
    ({"Sec_WebSocket_Protocol": "other"}, "subprotocol 'other'"),
    ({"Sec_WebSocket_Protocol": "chat, v2"}, "subprotocol 'chat, v2'"),
    ({"Sec_WebSocket_Protocol": ["chat", "v2"]}, "subprotocol 'chat, v2'"),
    ({"Sec_WebSocket_Protocol": "CHAT"}, "subprotocol 'CHAT'"),
    ({"version": "HTTP/1.0"}, "HTTP/1.0, not HTTP/1.1")])
def test_answer_that_breaks_a_rule_is_refused(changed, words):
    with pytest.raises(HandshakeFailed) as caught:
        handshake.check_response(answer(**changed), KEY, ["chat", "v2"])
    assert words in str(caught.value)


def test_subprotocol_that_was_offered_is_chosen():
    chosen = handshake.check_response(answer(Sec_WebSocket_Protocol="v2"), KEY, ["chat", "v2"])
    assert chosen == "v2"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_handshake_error(data):
    try:
        handshake.check_response(handshake.parse_response(data), KEY, [])
    except HandshakeFailed as error:
        assert "\n" not in str(error) and len(str(error)) < 400


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_out_of_its_line(resource, name, value):
    try:
        request = handshake.build_request(resource, [(name, value)])
    except InvalidSetting:
        return
    assert request.count(b"\r\n") == 3 and request.count(b"\n") == 3


def test_request_is_what_the_rfc_asks_for():
    assert handshake.build_request("/w?Id=1", [("Host", "h")]) \
        == b"GET /w?Id=1 HTTP/1.1\r\nHost: h\r\n\r\n"


def refusal(body=b"", **changed):
    return handshake.refusal(answer(**changed), body)


def test_refusal_repeats_the_first_line_of_plain_text_only():
    text = {"Content_Type": "text/plain;charset=utf-8", "status": "400 Bad Request"}
    assert str(refusal(b"Id: missing\nmore", **text)) \
        == "the server answered 400 Bad Request: Id: missing"
    assert str(refusal(b"a\x1b[2Jb\r\n", **text)).endswith(": a [2Jb")
    assert len(str(refusal(b"x" * 1000, **text))) < 300
    assert str(refusal(b"<html>", status="404 Not Found", Content_Type="text/html")) \
        == "the server answered 404 Not Found"
    assert str(refusal(status="500")) == "the server answered 500"
    assert "redirect to https://h/" in str(refusal(status="301 Moved", Location="https://h/"))


@pytest.mark.parametrize("value, seconds", [
    ("5", 5), ("0", 0), ("", 0), ("-1", 0), ("soon", 0), ("1.5", 0), ("٣", 0),
    ("Sun, 22 Nov 2026 00:00:30 GMT", 30), ("Sun, 22 Nov 2020 00:00:30 GMT", 0)])
def test_retry_after_is_seconds_or_a_date(value, seconds):
    now = datetime(2026, 11, 22, tzinfo=timezone.utc)
    assert handshake.retry_after(value, now) == seconds


@pytest.mark.parametrize("status, final, lasting", [
    (200, False, True), (302, False, True), (400, True, False), (403, True, False),
    (408, False, False), (425, False, False), (429, False, False), (500, False, False),
    (503, False, False)])
def test_status_tells_whether_another_attempt_could_help(status, final, lasting):
    error = refusal(status=f"{status} Because", Retry_After="7")
    assert (error.is_final, error.is_lasting, error.retry_after) == (final, lasting, 7)
    assert isinstance(error, PushError) and isinstance(error, OSError)
