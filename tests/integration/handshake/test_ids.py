"""Which Ids clients may have."""
from __future__ import annotations

from urllib.parse import quote

import cherrypy
import pytest

from tests.support.handshakes import refusal
from tests.support.site import running_site


@pytest.mark.parametrize("query, says", [
    ("", b"missing"), ("?", b"missing"), ("?id=42", b"missing"),
    ("?Id=", b"empty"), ("?Id", b""),
    ("?Id=" + "a" * 129, b"129 characters"),
    ("?Id=" + "a" * 10_000, b"10000 characters"),
    ("?Id=" + quote("\U0001f600" * 129), b"129 characters"),
    ("?Id=%00", b"control characters"), ("?Id=a%0Ab", b"control characters"),
    ("?Id=a%0D%0ASet-Cookie:%20x", b"control characters"),
    ("?Id=%7F", b"control characters"), ("?Id=%C2%85", b"control characters"),
    ("?Id=%E2%80%A8", b"control characters"),
    ("?Id=1&Id=2", b"more than once"), ("?Id=1&Id=1", b"more than once"),
    ("?Id=%FF", b"UTF-8"), ("?Id=%ED%A0%80", b"UTF-8"), ("?Id=%C3", b"UTF-8"),
])
def test_an_id_that_cannot_be_one_is_answered_400_saying_why(query, says):
    with running_site() as site:
        refused = refusal(site, "/websocket" + query)
        assert refused.status == 400
        assert b"Id" in refused.body and says in refused.body
        assert len(refused.body) < 200


@pytest.mark.parametrize("Id", ["42", "a", "a" * 128, "\U0001f600", "\U0001f600" * 128,
                                "with space", "a+b&c=d%", "\u05d0\u200d\u05d1", "<script>",
                                "../../etc/passwd", "'; --"])
def test_any_other_text_is_an_id(Id):
    with running_site() as site:
        with site.client("/websocket?Id=" + quote(Id, safe="")) as client:
            assert site.push.ids() == [Id]
            assert site.push.send(Id, "for you") == 1
            assert client.message() == "for you"
            assert client.hang_up() == 1000


def test_an_id_that_a_page_handler_needs_is_asked_for_with_a_400():
    class Site:
        @cherrypy.expose
        @cherrypy.tools.push(protocol="centrifuge")
        def websocket(self, Id):
            """Take who says who it is."""

    with running_site(Site()) as site:
        found = refusal(site, "/websocket")
        assert found.status == 400 and b"Id" in found.body and b"missing" in found.body


def test_a_client_cannot_choose_its_id_where_the_page_handler_does_not_look_at_it():
    class Forgetful:
        @cherrypy.expose
        @cherrypy.tools.push()
        def websocket(self):
            """Take no Id."""

    with running_site(Forgetful()) as site:
        found = refusal(site)
        assert found.status == 400 and b"leave it out" in found.body
