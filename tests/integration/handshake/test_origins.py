"""Whose pages may connect."""
from __future__ import annotations

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
