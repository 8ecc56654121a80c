from __future__ import annotations

import pytest

from pushclient.errors import InvalidSetting, ProxyFailed
from pushclient.websocket.proxy import (Proxy, check_tunnel, find_proxy, parse_proxy,
                                        tunnel_request)
from pushclient.websocket.url import parse_url

PLAIN, SECURE = parse_url("ws://example.org/"), parse_url("wss://example.org/")
NAMES = ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_argument_comes_before_the_environment(environment):
    environment.setenv("http_proxy", "http://environment:1")
    assert find_proxy("http://argument:2", PLAIN) == Proxy("argument", 2)
    assert find_proxy("argument:2", PLAIN) == Proxy("argument", 2)
    assert find_proxy(None, PLAIN) is find_proxy(False, PLAIN) is None
    assert find_proxy(True, PLAIN) == Proxy("environment", 1)


def test_each_scheme_has_its_variable(environment):
    assert find_proxy(True, PLAIN) is None
    environment.setenv("all_proxy", "http://all:1")
    assert find_proxy(True, PLAIN) == find_proxy(True, SECURE) == Proxy("all", 1)
    environment.setenv("http_proxy", "http://plain:1")
    environment.setenv("HTTPS_PROXY", "http://me:s%40cret@secure:3128")
    assert find_proxy(True, PLAIN) == Proxy("plain", 1)
    assert find_proxy(True, SECURE) == Proxy("secure", 3128, "me:s@cret")
    environment.setenv("wss_proxy", "http://own:1")
    assert find_proxy(True, SECURE) == Proxy("own", 1)


@pytest.mark.parametrize("no_proxy", ["*", "example.org", ".org", "other,example.org:443"])
def test_no_proxy_is_obeyed(environment, no_proxy):
    environment.setenv("https_proxy", "http://secure:1")
    environment.setenv("no_proxy", no_proxy)
    assert find_proxy(True, SECURE) is None


def test_unix_sockets_need_no_proxy(environment):
    environment.setenv("all_proxy", "http://all:1")
    assert find_proxy(True, parse_url("ws+unix:///run/s")) is None


@pytest.mark.parametrize("url, words", [("socks5://h:1", "use http://"), ("https://h", "use http"),
                                        ("http://", "no host"), ("http://h:x", "proxy: ")])
def test_other_proxies_are_refused(url, words):
    with pytest.raises(InvalidSetting, match=words):
        parse_proxy(url)


def test_request_carries_target_and_credentials():
    assert tunnel_request(Proxy("p", 1), SECURE) \
        == b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    request = tunnel_request(Proxy("p", 1, "me:secret"), parse_url("ws://[::1]:8/"))
    assert request == (b"CONNECT [::1]:8 HTTP/1.1\r\nHost: [::1]:8\r\n"
                       b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n")
    assert "secret" not in repr(Proxy("p", 1, "me:secret"))


@pytest.mark.parametrize("head, rest, words, final", [
    (b"HTTP/1.1 407 Proxy Authentication Required", b"", "answered 407 Proxy Auth", True),
    (b"HTTP/1.0 502 Bad Gateway", b"", "answered 502 Bad Gateway", False),
    (b"HTTP/1.1 200 OK", b"x", "data of its own", False), (b"SOCKS", b"", "not HTTP", False)])
def test_proxy_that_makes_no_tunnel_is_named(head, rest, words, final):
    with pytest.raises(ProxyFailed, match=words) as caught:
        check_tunnel(head, rest)
    assert caught.value.is_final is final


def test_tunnel_is_taken():
    check_tunnel(b"HTTP/1.0 200 Connection established\r\nVia: x", b"")
