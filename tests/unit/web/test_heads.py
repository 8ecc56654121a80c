"""When a request can be read without waiting for its client."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.web.heads import MAX_BODY, Head, Verdict
from pushserver.wire.handshake import MAX_HEAD

GET = b"GET /page HTTP/1.1\r\nHost: example.org\r\n\r\n"


def request(*headers, body=b""):
    return b"\r\n".join((b"POST / HTTP/1.1", *headers, b"", b"")) + body


@given(st.lists(st.integers(1, 50)))
def test_a_head_is_ready_with_its_last_byte_whatever_the_pieces(sizes):
    head, rest = Head(), GET
    for size in sizes:
        piece, rest = rest[:size], rest[size:]
        if not rest:
            break
        assert head.feed(piece) is Verdict.HEAD
        assert head.data
    else:
        piece, rest = rest, b""
    assert head.feed(piece) is Verdict.READY
    assert head.take() == GET and not head.data


@given(st.integers(0, len(GET) - 1))
def test_an_empty_line_before_it_does_not_count(size):
    head = Head()
    assert head.feed(b"\r\n" + GET[:size]) is Verdict.HEAD
    assert head.feed(GET[size:]) is Verdict.READY


@pytest.mark.parametrize("wrong", [
    b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"nonsense\r\n", b"\r\n\r\n", b"GET /\r\n",
    b"\r\nnonsense\r\n", b"\n"])
def test_cheroot_says_at_once_what_is_wrong(wrong):
    head = Head()
    for byte in wrong[:-1]:
        assert head.feed(bytes([byte])) is Verdict.HEAD
    assert head.feed(wrong[-1:]) is Verdict.READY


@pytest.mark.parametrize("step", [1, 100, MAX_HEAD * 2])
def test_a_head_without_end_is_too_long(step):
    head = Head()
    data = b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD
    verdicts = [head.feed(data[begin:begin + step]) for begin in range(0, len(data), step)]
    assert Verdict.TOO_LONG in verdicts
    assert len(head.data) <= MAX_HEAD + max(step, 20)


def test_a_whole_head_may_be_too_long():
    data = b"GET / HTTP/1.1\r\nA: %s\r\n\r\n" % (b"a" * MAX_HEAD)
    assert Head().feed(data) is Verdict.TOO_LONG


def test_the_longest_head_is_not_too_long():
    data = b"GET / HTTP/1.1\r\nA: %s\r\n\r\n"
    assert Head().feed(data % (b"a" * (MAX_HEAD - len(data) + 2))) is Verdict.READY


@given(st.integers(0, 20))
def test_a_short_body_is_awaited(size):
    head, data = Head(), request(b"Content-Length: 20")
    assert head.feed(data + b"b" * size) is (Verdict.READY if size == 20 else Verdict.BODY)
    assert head.feed(b"b" * (20 - size)) is Verdict.READY
    assert head.take() == data + b"b" * 20


@pytest.mark.parametrize("headers", [
    [b"Content-Length: %d" % (MAX_BODY + 1)], [b"Content-Length: 9" + b"9" * 20],
    [b"Content-Length: 10", b"Content-Length: 20"], [b"Content-Length: -5"],
    [b"Content-Length: ten"], [b"Content-Length: 10", b"Transfer-Encoding: chunked"],
    [b"content-length: 10", b"EXPECT: 100-continue"], [b"Transfer-Encoding: chunked"],
    [b"Content-Length: " + b"1 " * 5000]])
def test_a_body_that_cannot_be_awaited_is_long(headers):
    head = Head()
    assert head.feed(request(*headers)) is Verdict.READY and head.is_long
    head.take()
    assert head.feed(GET) is Verdict.READY and not head.is_long


@pytest.mark.parametrize("headers", [[], [b"X: content-length: 10"], [b"Content-Length: 0"]])
def test_a_request_without_a_body_is_not_long(headers):
    head = Head()
    assert head.feed(request(*headers)) is Verdict.READY and not head.is_long


@pytest.mark.parametrize("size", [11, MAX_BODY + 1])
def test_a_body_that_cheroot_refuses_is_not_awaited(size):
    head = Head(10)
    assert head.feed(request(b"Content-Length: %d" % size)) is Verdict.READY and not head.is_long
    head.take()
    assert head.feed(request(b"Content-Length: 10")) is Verdict.BODY


def test_what_follows_is_kept():
    head = Head()
    assert head.feed(GET + GET[:10]) is Verdict.READY
    assert head.take() == GET + GET[:10]
    assert head.feed(GET[:10]) is Verdict.HEAD
