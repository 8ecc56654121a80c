from __future__ import annotations

import pytest

from pushclient.errors import InvalidSetting
from pushclient.websocket.url import parse_url


@pytest.mark.parametrize("url, host, port, resource, netloc", [
    ("ws://example.org", "example.org", 80, "/", "example.org"),
    ("wss://example.org/a?b=c#d", "example.org", 443, "/a?b=c", "example.org"),
    ("WSS://Example.ORG:443/", "example.org", 443, "/", "example.org"),
    ("ws://example.org:443/", "example.org", 443, "/", "example.org:443"),
    ("ws://[::1]:8888/x", "::1", 8888, "/x", "[::1]:8888"),
    ("ws://bücher.example/é?q=ü&r=%20", "xn--bcher-kva.example", 80, "/%C3%A9?q=%C3%BC&r=%20",
     "xn--bcher-kva.example")])
def test_url_is_taken_apart(url, host, port, resource, netloc):
    address = parse_url(url)
    assert (address.host, address.port, address.resource, address.netloc) \
        == (host, port, resource, netloc)
    assert address.secure is url.lower().startswith("wss")


def test_credentials_are_kept_and_not_shown():
    address = parse_url("ws://me:s%40cret@example.org/")
    assert address.credentials == "me:s@cret"
    assert "cret" not in repr(address)
    assert parse_url("ws://me@example.org/").credentials == "me:"


def test_unix_socket_is_a_path_with_a_query():
    address = parse_url("ws+unix:///run/my%20site.sock?a=b")
    assert (address.unix_socket, address.resource, address.netloc) \
        == ("/run/my site.sock", "/?a=b", "localhost")
    assert not address.secure


def test_id_joins_the_query_encoded():
    assert parse_url("ws://h/w").with_id("a b&c=é").resource == "/w?Id=a%20b%26c%3D%C3%A9"
    assert parse_url("ws://h/w?x=1").with_id("42").resource == "/w?x=1&Id=42"


@pytest.mark.parametrize("Id", ["", "x" * 129, "a\nb", "a\x7f", "\x85", "\ud800", 42, None])
def test_id_that_no_server_takes_is_refused(Id):
    with pytest.raises(InvalidSetting, match="1 to 128 characters"):
        parse_url("ws://h/").with_id(Id)


def test_second_id_is_refused():
    with pytest.raises(InvalidSetting, match="already has one"):
        parse_url("ws://h/?Id=").with_id("42")


@pytest.mark.parametrize("url, words", [
    ("http://h/", "use ws:// or wss://"), ("h:80", "use ws:// or wss://"), ("", "use ws://"),
    ("ws:///path", "no host"), ("ws://h:0/", "port 0"), ("ws://h:99999/", "url: "),
    ("ws://h:x/", "url: "), ("ws://[::1/", "url: "), ("ws+unix:", "no socket"),
    ("ws://h/\ud800", "control"),
    ("ws://h/\r\nX: 1", "control characters"), ("ws://h/a b", "spaces"), (b"ws://h/", "text"),
    (None, "text"), ("ws://" + "ü" * 64 + ".example/", "url: host")])
def test_anything_else_is_refused_in_one_line(url, words):
    with pytest.raises(InvalidSetting) as caught:
        parse_url(url)
    assert words in str(caught.value) and "\n" not in str(caught.value)
