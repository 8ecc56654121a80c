"""Whose pages may connect."""
from __future__ import annotations

import logging

import pytest

from tests.support.handshakes import accepted, refusal
from tests.support.site import running_site


@pytest.mark.parametrize("origin", [None, "http://{host}", "ws://{host}", "HTTP://{host}"])
def test_programs_and_the_sites_own_pages_may_connect(origin):
    with running_site() as site:
        origin = origin and origin.format(host=f"127.0.0.1:{site.port}")
        accepted(site, headers={"Origin": origin})


@pytest.mark.parametrize("origin", [
    "https://elsewhere.example", "null", "http://127.0.0.1", "https://{host}", "wss://{host}",
    "http://{host}.elsewhere.example", "http://elsewhere.example@{host}", "http://[", "{host}",
    "http://localhost:{port}", "http://{host}, http://elsewhere.example", "file://", "\xff",
    "http://{host}0", "http://127.0.0.1:99999999",
])
def test_a_page_of_another_site_may_not_connect(origin):
    with running_site() as site:
        origin = origin.format(host=f"127.0.0.1:{site.port}", port=site.port)
        refused = refusal(site, headers={"Origin": origin})
        assert refused.status == 403
        assert b"allowed_origins" in refused.body


@pytest.mark.parametrize("allowed, origin, status", [
    (["https://friend.example"], "https://friend.example", 101),
    (["https://friend.example"], "https://friend.example:443", 101),
    (["https://friend.example"], "wss://friend.example", 101),
    (["https://Friend.example:443"], "https://friend.example", 101),
    (["https://friend.example"], "http://friend.example", 403),
    (["https://friend.example"], "https://friend.example:8443", 403),
    (["https://friend.example"], "https://a.friend.example", 403),
    (["https://friend.example"], "null", 403),
    (["*"], "https://anybody.example", 101),
    (["*"], "null", 101),
])
def test_allowed_origins_may_connect(allowed, origin, status):
    with running_site(settings={"allowed_origins": allowed}) as site:
        if status == 101:
            accepted(site, headers={"Origin": origin})
        else:
            assert refusal(site, headers={"Origin": origin}).status == status


def test_behind_a_proxy_the_sites_own_origin_is_the_outer_one():
    forwarded = {"X-Forwarded-Host": "push.example.org", "X-Forwarded-Proto": "https",
                 "X-Forwarded-For": "192.0.2.7"}
    with running_site(config={"/": {"tools.proxy.on": True}}) as site:
        accepted(site, headers={**forwarded, "Origin": "https://push.example.org"})
        inner = f"http://127.0.0.1:{site.port}"
        assert refusal(site, headers={**forwarded, "Origin": inner}).status == 403
        with site.client(headers=forwarded) as client:
            assert site.push.connections("42")[0].peer_address[0] == "192.0.2.7"
            assert client.hang_up() == 1000


def test_without_the_proxy_tool_forwarded_headers_are_not_believed():
    with running_site() as site:
        headers = {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https",
                   "Origin": "https://elsewhere.example"}
        assert refusal(site, headers=headers).status == 403


BEHIND_PROXY = {"/": {"tools.proxy.on": True}}


@pytest.mark.parametrize("headers, origin", [
    ({"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "example.org, inner:8080"},
     "https://example.org"),
    ({"X-Forwarded-Proto": "https,http", "X-Forwarded-Host": "example.org"},
     "https://example.org"),
    ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "example.org"}, "https://example.org"),
    ({"X-Forwarded-Proto": "HTTPS", "Host": "Example.ORG"}, "https://example.org"),
    ({"X-Forwarded-Ssl": "on", "Host": "example.org"}, "https://example.org"),
    ({"Forwarded": 'for=192.0.2.1;proto=https;host="example.org:8443", for=10.0.0.1'},
     "https://example.org:8443"),
    ({"Forwarded": "for=192.0.2.1\r\nForwarded: proto=https;host=example.org"},
     "https://example.org"),
    ({"X-Forwarded-Proto": "https", "Host": "example.org", "X-Forwarded-Port": "8443"},
     "https://example.org:8443")])
def test_chains_of_proxies_and_their_headers_are_understood(headers, origin):
    with running_site(config=BEHIND_PROXY) as site:
        accepted(site, headers={**headers, "Origin": origin})
        assert refusal(site, headers={**headers, "Origin": "https://evil.example"}).status == 403


@pytest.mark.parametrize("headers", [
    {"X-Forwarded-Proto": "https, http"}, {"X-Forwarded-Ssl": "on"},
    {"Forwarded": "proto=https;host=example.org"}, {"X-Forwarded-Port": "443"}])
def test_without_the_proxy_tool_none_of_them_is_believed(headers):
    with running_site() as site:
        headers = {**headers, "Host": "example.org", "Origin": "https://example.org"}
        assert refusal(site, headers=headers).status == 403


def test_a_proxy_that_ends_tls_in_silence_is_named_in_the_log(caplog):
    caplog.set_level(logging.INFO, "pushserver")
    with running_site(config=BEHIND_PROXY) as site:
        refusal(site, headers={"X-Forwarded-Host": "example.org", "Origin": "https://example.org"})
    assert "have it send X-Forwarded-Proto: https" in caplog.text


def test_the_option_that_takes_the_host_from_the_origin_lets_no_other_page_in():
    config = {"/": {"tools.proxy.on": True, "tools.proxy.local": "Origin"}}
    with running_site(config=config) as site:
        accepted(site, headers={"Host": "example.org", "Origin": "http://example.org"})
        assert refusal(site, headers={"Origin": "http://evil.example"}).status == 403


@pytest.mark.parametrize("base", ["https://example.org", "https://example.org/below"])
def test_a_base_that_the_site_has_set_is_its_origin(base):
    config = {"/": {"tools.proxy.on": True, "tools.proxy.base": base, "tools.proxy.local": ""}}
    with running_site(config=config) as site:
        accepted(site, headers={"Origin": "https://example.org"})
        forwarded = {"Forwarded": "host=evil.example;proto=http", "Origin": "http://evil.example"}
        assert refusal(site, headers=forwarded).status == 403


def rebound(host):
    """Return the headers of a page whose host name resolves to this machine."""
    return {"Host": host, "Origin": f"http://{host}"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "localhost.evil.example"])
def test_a_page_whose_name_resolves_to_this_machine_is_not_the_sites_own(host):
    with running_site() as site:
        refused = refusal(site, headers=rebound(host))
        assert refused.status == 403 and b"allowed_hosts" in refused.body


@pytest.mark.parametrize("host", ["localhost", "localhost:8888", "app.localhost", "127.0.0.1",
                                  "[::1]:8888", "192.0.2.7"])
def test_on_loopback_names_that_nobody_can_forge_are_the_sites_own(host):
    with running_site() as site:
        accepted(site, headers=rebound(host))


@pytest.mark.parametrize("headers", [
    {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-Proto": "http"}, {"X-Real-IP": "192.0.2.1"},
    {"Forwarded": "for=192.0.2.1"}, {"Via": "1.1 proxy"}])
def test_behind_a_proxy_on_the_same_machine_the_site_has_any_name(headers):
    with running_site() as site:
        accepted(site, headers={**rebound("example.org"), **headers})
    with running_site(config=BEHIND_PROXY) as site:
        accepted(site, headers=rebound("example.org"))


def test_a_program_may_use_any_name():
    with running_site() as site:
        accepted(site, headers={"Host": "example.org"})


@pytest.mark.parametrize("bind", [("0.0.0.0", 0), "{path}/socket"])
def test_a_server_that_others_can_reach_has_any_name(bind, tmp_path):
    bind = bind.format(path=tmp_path) if isinstance(bind, str) else bind
    with running_site(bind=bind) as site:
        accepted(site, headers=rebound("example.org"))


@pytest.mark.parametrize("config", [None, BEHIND_PROXY])
def test_names_that_the_site_has_set_are_its_only_ones_everywhere(config):
    with running_site(config=config, bind=("0.0.0.0", 0),
                      settings={"allowed_hosts": ["example.org:80", "*.example.net"]}) as site:
        accepted(site, headers=rebound("example.org"))
        accepted(site, headers=rebound("a.example.net:8080"))
        accepted(site, headers=rebound("localhost"))
        assert refusal(site, headers=rebound("example.net")).status == 403
        assert refusal(site, headers=rebound("evil.example")).status == 403


def test_a_star_allows_every_name():
    with running_site(settings={"allowed_hosts": ["*"]}) as site:
        accepted(site, headers=rebound("evil.example"))
