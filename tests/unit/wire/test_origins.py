"""Whose pages may connect: origins, patterns, host names, and what proxies say."""
from __future__ import annotations

import pytest
from cherrypy.lib.httputil import HeaderMap
from hypothesis import given
from hypothesis import strategies as st

from pushserver.errors import HandshakeRefused, InvalidSetting
from pushserver.wire.origins import (allowed_host, allowed_origin, check_origin, is_loopback,
                                     normal_origin, site_origins)
from tests.unit.wire.test_handshake import refusal

SITE = "https://example.org"


@pytest.mark.parametrize("origin", [
    None, "", "https://example.org", "https://EXAMPLE.org:443", "wss://example.org",
    "https://friend.example", "https://friend.example:443"])
def test_the_sites_own_pages_its_friends_and_programs_may_connect(origin):
    check_origin(origin, [SITE], ("https://friend.example",))


@pytest.mark.parametrize("origin", [
    "http://example.org", "https://example.org:8443", "https://evil.example", "null",
    "https://example.org.evil.example", "https://evil.example/https://example.org",
    "https://example.org@evil.example", "https://friend.example:8443", "*", "x" * 9999])
def test_anybody_elses_page_is_403_and_the_answer_names_the_setting(origin):
    refused = refusal(check_origin, origin, [SITE], ("https://friend.example",))
    assert refused.status == 403
    assert "allowed_origins" in refused.message
    assert origin == "*" or origin not in refused.message


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "junk"])
def test_a_star_allows_any_origin(origin):
    check_origin(origin, [SITE], ("*",))


@given(st.text(max_size=20) | st.sampled_from(["http://a", "https://a:1", "ws://A", "http://a/"]),
       st.lists(st.sampled_from(["http://a", "https://a:1", "http://b"])))
def test_an_origin_is_let_in_exactly_when_its_normal_form_is_known(origin, allowed):
    try:
        known = not origin or normal_origin(origin) in (*allowed, SITE)
    except InvalidSetting:
        known = False
    try:
        check_origin(origin, [SITE], allowed)
    except HandshakeRefused as refused:
        assert refused.status == 403 and not known
    else:
        assert known


@pytest.mark.parametrize("site", ["", "://", "https://", "off://example.org"])
def test_a_site_whose_own_address_is_unknown_is_nobodys(site):
    assert refusal(check_origin, "https://example.org", [site], ()).status == 403


@pytest.mark.parametrize("pattern, origin", [
    ("https://*.example.org", "https://app.example.org"),
    ("https://*.example.org", "https://a.b.example.org"),
    ("https://*.example.org", "https://APP.example.org:443"),
    ("https://*.example.org", "wss://app.example.org"),
    ("HTTPS://*.Example.org:443/", "https://app.example.org"),
    ("http://*.localhost:3000", "http://app.localhost:3000"),
    ("app://*.internal", "app://one.internal")])
def test_a_pattern_allows_the_subdomains_of_a_name(pattern, origin):
    check_origin(origin, [SITE], [allowed_origin(pattern)])


@pytest.mark.parametrize("origin", [
    "https://example.org", "https://evil-example.org", "https://example.org.evil.example",
    "https://app.example.org.evil.example", "http://app.example.org", "https://.example.org",
    "https://app.example.org:8443", "https://evil.example/.example.org", "https://*.example.org",
    "https://evil.example:1.example.org", "https://evil.example@app.example.org", "null",
    "https://app.example.org.", "https://evil.example#.example.org"])
def test_a_pattern_allows_nothing_else(origin):
    refused = refusal(check_origin, origin, [], [allowed_origin("https://*.example.org")])
    assert refused.status == 403


@pytest.mark.parametrize("origin", [
    "https://*", "https://a*.example.org", "https://*example.org", "https://app.*.org",
    "https://*.*.org", "https://*.*", "*://example.org", "http*://example.org", "*.example.org",
    "https://*.example.org:*", "https://*.127.0.0.1", "https://*.[::1]", "https://*.", "**",
    "https://*.example.org/page", "*.*"])
def test_any_other_use_of_a_star_is_an_error_that_says_what_to_use(origin):
    with pytest.raises(InvalidSetting, match=r"use scheme://"):
        allowed_origin(origin)


@pytest.mark.parametrize("origin", [
    "null", "file://", "capacitor://localhost", "ionic://localhost", "tauri://localhost",
    "app://.", "app://-", "chrome-extension://abcdefgh", "http://localhost", "https://localhost",
    "moz-extension://0aa1-b2", "vscode-webview://0abc"])
def test_apps_and_pages_without_a_host_can_be_allowed_by_name(origin):
    check_origin(origin, [SITE], [allowed_origin(origin)])
    assert refusal(check_origin, origin, [SITE], []).status == 403


@pytest.mark.parametrize("origin", [
    "https://b\xfccher.example", "https://example.org ", " https://example.org", "https://a,b",
    "https://a.example,https://b.example", "https://.example.org", "https://a..example.org",
    "file:///page", "NULL ", "https://[1::2::3]", "http://exa mple.org"])
def test_an_origin_that_no_browser_sends_is_an_error_instead_of_a_pattern_that_never_fits(origin):
    with pytest.raises(InvalidSetting):
        allowed_origin(origin)


def test_an_address_is_compared_as_browsers_write_it():
    assert allowed_origin("http://[0:0:0:0:0:0:0:1]:80") == "http://[::1]"


@pytest.mark.parametrize("hosts, host", [
    (["example.org"], "example.org"), (["Example.ORG:8080"], "example.org"),
    (["*.example.org"], "a.example.org"), (["*"], "evil.example"), ([], "localhost"),
    ([], "app.localhost"), ([], "127.0.0.1"), ([], "[::1]"), ([], "192.0.2.7"),
    (["example.org"], "localhost"), (["example.org"], "example.org.")])
def test_the_site_is_known_by_its_names_and_where_nobody_can_forge_one(hosts, host):
    origin = f"http://{host}:8888"
    check_origin(origin, [origin], [], hosts=[allowed_host(name) for name in hosts])


@pytest.mark.parametrize("hosts, host", [
    ([], "evil.example"), (["example.org"], "evil.example"), (["example.org"], "a.example.org"),
    (["*.example.org"], "example.org"), (["*.example.org"], "evil-example.org"),
    ([], "localhost.evil.example"), ([], "notlocalhost"), ([], "127.0.0.1.evil.example")])
def test_a_name_that_somebody_else_lets_resolve_to_this_machine_is_refused(hosts, host):
    origin = f"http://{host}:8888"
    refused = refusal(check_origin, origin, [origin], [],
                      hosts=[allowed_host(name) for name in hosts])
    assert refused.status == 403
    assert "allowed_hosts" in refused.message and host not in refused.message
    check_origin(origin, [origin], [origin], hosts=[])   # it may be allowed by its origin


@pytest.mark.parametrize("host", ["", "https://example.org", "a*", "*.*", "example.org/x", "::1",
                                  None, 5, b"example.org", "b\xfccher.example", "*.10.0.0.1"])
def test_what_is_no_host_name_is_an_error(host):
    with pytest.raises(InvalidSetting, match="use a name such as example.org"):
        allowed_host(host)


@pytest.mark.parametrize("address, expected", [
    ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.0.2.7", False), ("", False), (None, False),
    ("fe80::1%eth0", False)])
def test_an_address_of_this_machine_only_is_recognized(address, expected):
    assert is_loopback(address) is expected


BASE = "http://127.0.0.1:8080"


@pytest.mark.parametrize("base, headers, options, expected", [
    ("https, http://example.org", {"X-Forwarded-Proto": "https, http"}, {}, "https://example.org"),
    ("https,http://example.org", {"X-Forwarded-Proto": "https,http"}, {}, "https://example.org"),
    ("wss://example.org ", {"X-Forwarded-Proto": "wss"}, {}, "https://example.org"),
    ("WS://example.org", {"X-Forwarded-Proto": "WS"}, {}, "http://example.org"),
    ("HTTPS://Example.ORG:443", {"X-Forwarded-Proto": "HTTPS"}, {}, "https://example.org"),
    ("http://example.org", {"X-Forwarded-Ssl": "on"}, {}, "https://example.org"),
    ("http://example.org", {"X-Forwarded-Ssl": "off"}, {}, "http://example.org"),
    ("off://example.org", {"X-Ssl": "off"}, {"scheme": "X-Ssl"}, "http://example.org"),
    (BASE, {"Forwarded": "proto=https;host=example.org"}, {}, "https://example.org"),
    (BASE, {"Forwarded": 'for="[2001:db8::1]:4711";Proto=https; host="example.org:8443", for=a'},
     {}, "https://example.org:8443"),
    (BASE, {"Forwarded": "for=192.0.2.1, for=10.0.0.1;proto=https;host=example.org;by=_x"}, {},
     "https://example.org"),
    (BASE, {"Forwarded": r'for="a\"b;host=evil.example";host=example.org;proto=https'}, {},
     "https://example.org"),
    (BASE, {"Forwarded": 'host="[::1]:8443";proto=https'}, {}, "https://[::1]:8443"),
    ("http://outer.example", {"Forwarded": "proto=https;host=other.example",
                              "X-Forwarded-Host": "outer.example"}, {}, "https://outer.example"),
    ("https://example.org/app", {"Forwarded": "host=other.example"},
     {"base": "https://example.org/app", "local": ""}, "https://example.org")])
def test_behind_a_proxy_the_site_is_what_the_outermost_one_says(base, headers, options, expected):
    first, *_ = site_origins(base, HeaderMap(headers), options)
    assert normal_origin(first) == expected


@pytest.mark.parametrize("headers, expected", [
    ({"X-Forwarded-Port": "8443"}, ["https://example.org", "https://example.org:8443"]),
    ({"X-Forwarded-Port": "443"}, ["https://example.org", "https://example.org"]),
    ({"X-Forwarded-Port": ""}, ["https://example.org"]),
    ({"X-Forwarded-Port": "http"}, ["https://example.org"])])
def test_the_port_may_be_said_apart(headers, expected):
    found = site_origins("https://example.org", HeaderMap(headers), {})
    assert [normal_origin(origin) for origin in found] == expected


def test_a_port_of_the_host_counts_more_than_one_said_apart():
    headers = HeaderMap({"X-Forwarded-Port": "9"})
    assert site_origins("https://example.org:8443", headers, {}) == ["https://example.org:8443"]


def test_without_a_proxy_nothing_that_one_would_say_counts():
    headers = HeaderMap({"Forwarded": "proto=https;host=evil.example", "X-Forwarded-Ssl": "on",
                         "X-Forwarded-Port": "1"})
    assert site_origins(BASE, headers, None) == [BASE]


def test_an_origin_is_not_compared_with_itself_where_it_stands_for_the_host():
    headers = HeaderMap({"Origin": "https://evil.example", "Host": "example.org"})
    assert site_origins("https://evil.example", headers, {"local": "Origin"}) == \
        ["http://example.org"]


@given(st.text(alphabet='ab=;,"\\ :.', max_size=40))
def test_any_forwarded_header_is_read(value):
    assert len(site_origins(BASE, {"Forwarded": value}, {})) == 1


def test_the_log_says_what_to_set_if_only_the_scheme_differs():
    refused = refusal(check_origin, "https://example.org", ["http://example.org"], [])
    assert "X-Forwarded-Proto" in refused.detail and "tools.proxy.on" in refused.detail
    refused = refusal(check_origin, "https://evil.example\x1b\n" + "x" * 999, [SITE], [])
    assert "X-Forwarded-Proto" not in refused.detail
    assert refused.detail.isprintable() and len(refused.detail) < 300
