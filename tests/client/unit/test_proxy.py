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


@pytest.mark.parametrize("no_proxy, url", [
    ("127.0.0.0/8", "ws://127.0.0.1:8080/"), ("10.1.2.3/8", "ws://10.9.9.9/"),
    ("192.168.0.0/255.255.0.0", "ws://192.168.7.7/"), ("::1/128", "ws://[::1]:8080/"),
    ("fd00::/8", "ws://[fd12::9]/"), ("[fd00::]/8", "ws://[fd12::9]/"),
    ("10.0.0.0/8,172.16.0.0/12", "ws://172.31.255.255/"),
    ("a, b , example.org", "ws://example.org/"), ("a b example.org", "ws://example.org/"),
    (" example.org ", "ws://example.org/"), ("a,,example.org,", "ws://example.org/"),
    ("a\texample.org", "ws://example.org/"),
    ("*", "ws://anything/"), (" * ", "ws://anything/"), ("a, *", "ws://anything/"),
    ("*.example.org", "ws://www.example.org/"), ("*.example.org", "ws://example.org/"),
    ("example.org:8080", "ws://example.org:8080/"), ("example.org:80", "ws://example.org/"),
    ("example.org:80", "ws://www.example.org/"), ("10.0.0.0/8:81", "ws://10.0.0.1:81/"),
    ("[::1]:8080", "ws://[::1]:8080/"), ("[::1]", "ws://[::1]:8080/"), ("::1", "ws://[::1]/"),
    ("0:0:0:0:0:0:0:1", "ws://[::1]/"), ("FD00::A", "ws://[fd00::a]/"),
    (".example.org", "ws://example.org/"), (".example.org", "ws://www.example.org/"),
    ("example.org", "ws://www.example.org/"), ("example.org.", "ws://www.example.org/"),
    ("example.org", "ws://example.org./"), ("EXAMPLE.org", "ws://example.ORG/")])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_no_proxy_lists_is_spared(environment, name, no_proxy, url):
    environment.setenv("all_proxy", "http://all:1")
    environment.setenv(name, no_proxy)
    assert find_proxy(True, parse_url(url)) is None


@pytest.mark.parametrize("no_proxy, url", [
    ("", "ws://127.0.0.1/"), (",", "ws://127.0.0.1/"), (".", "ws://example.org/"),
    ("127.0.0.0/8", "ws://128.0.0.1/"), ("127.0.0.0/8", "ws://localhost/"),
    ("127.0.0.0/99", "ws://127.0.0.1/"), ("::/0", "ws://127.0.0.1/"),
    ("127.0.0.1", "ws://127.0.0.11/"), ("0.0.1", "ws://127.0.0.10/"),
    ("example.org:81", "ws://example.org/"), ("10.0.0.0/8:81", "ws://10.0.0.1:80/"),
    ("[::1]:81", "ws://[::1]/"), ("example.org:x", "ws://example.org/"),
    ("ample.org", "ws://example.org/"), ("www.example.org", "ws://example.org/"),
    ("example.org/8", "ws://example.org/"), ("http://example.org", "ws://example.org/")])
def test_what_no_proxy_does_not_list_uses_the_proxy(environment, no_proxy, url):
    environment.setenv("all_proxy", "http://all:1")
    environment.setenv("no_proxy", no_proxy)
    assert find_proxy(True, parse_url(url)) == Proxy("all", 1)


@pytest.mark.parametrize("name", ["http_proxy", "ws_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY",
                                  "WS_PROXY"])
def test_variables_are_read_in_either_case(environment, name):
    environment.setenv(name, "http://found:1")
    assert find_proxy(True, PLAIN) == Proxy("found", 1)


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
