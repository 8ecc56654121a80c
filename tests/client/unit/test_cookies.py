"""What is kept of a server's cookies."""
from __future__ import annotations

import pytest

from pushclient.websocket.cookies import MAX_COOKIE_SIZE, MAX_COOKIES, Cookies


def shown(cookies, *headers):
    return dict(cookies.added_to(list(headers))).get("Cookie")


@pytest.mark.parametrize("line, kept", [
    ("a=1", "a=1"), ("a=1; Path=/x; Domain=example.org; HttpOnly; SameSite=Lax", "a=1"),
    (" a = 1 ;Max-Age=5", "a=1"), ('a="quoted value"', 'a="quoted value"'), ("a=", "a="),
    ("a=b=c==", "a=b=c=="), ("a=1; max-age=5; expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=1"),
    ("a=1; Max-Age=x", "a=1"), ("a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "a=1"),
    ("a=1; Max-Age=0", None), ("a=1; Max-Age=-1", None), ("a=1; Secure", None),
    ("a=1; expires=Thu, 01-Jan-1970 00:00:00 GMT", None), ("a=1; Expires=0", None),
    ("", None), ("a", None), ("=1", None), (";", None), ("a=\x00", None), ("a=\xe9", None),
    ("a=" + "x" * MAX_COOKIE_SIZE, None)])
def test_a_line_is_kept_or_not(line, kept):
    cookies = Cookies(secure=False)
    cookies.take([line])
    assert shown(cookies) == kept


def test_the_latest_counts_and_what_is_over_is_dropped():
    now = [0.0]
    cookies = Cookies(secure=True, clock=lambda: now[0])
    cookies.take(["a=1", "b=2; Max-Age=10", "a=3; Secure", "c=4; Max-Age=5"])
    assert shown(cookies) == "b=2; a=3; c=4"
    now[0] = 5
    assert shown(cookies) == "b=2; a=3"
    cookies.take(["b=; Max-Age=0"])
    assert shown(cookies) == "a=3"


def test_own_cookies_come_first_and_are_not_replaced():
    cookies = Cookies(secure=False)
    cookies.take(["a=theirs", "b=theirs"])
    pairs = [("X", "1"), ("Cookie", "a=mine; c=3"), ("cookie", "d=4")]
    assert cookies.added_to(pairs) == [("X", "1"), ("Cookie", "a=mine; c=3; d=4; b=theirs")]
    assert Cookies(secure=False).added_to([("X", "1")]) == [("X", "1")]


def test_a_server_cannot_fill_the_memory():
    cookies = Cookies(secure=False)
    cookies.take(f"name{number}=1" for number in range(10 * MAX_COOKIES))
    names = shown(cookies).split("; ")
    assert len(names) == MAX_COOKIES and names[-1] == f"name{10 * MAX_COOKIES - 1}=1"
