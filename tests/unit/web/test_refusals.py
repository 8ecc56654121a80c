"""The HTTP side, as far as it needs no site: plain answers, of one line."""
from __future__ import annotations

import cherrypy
import pytest

from pushserver.web.refusals import Refusal, plain_error_page, plain_text
from pushserver.errors import HandshakeRefused


@pytest.fixture
def response():
    """A response of CherryPy's that nobody waits for."""
    cherrypy.serving.load(cherrypy.serving.request, cherrypy._cprequest.Response())
    yield cherrypy.serving.response
    cherrypy.serving.clear()


def test_a_plain_text_answer_is_one_line_and_keeps_its_headers(response):
    response.headers["Content-Length"] = "999"
    plain_text("go\n away", {"Retry-After": "5"})
    assert response.collapse_body() == b"go away\n"
    assert response.headers["Content-Type"] == "text/plain;charset=utf-8"
    assert response.headers["Retry-After"] == "5"
    assert response.headers.get("Content-Length") != "999"


def test_a_refusal_is_an_http_error_of_its_status():
    refusal = Refusal(HandshakeRefused(429, "come later", {"Retry-After": "5"}))
    assert isinstance(refusal, cherrypy.HTTPError)
    assert refusal.code == 429


def test_a_refusal_answers_with_its_line(response):
    Refusal(HandshakeRefused(429, "come later", {"Retry-After": "5"})).set_response()
    assert response.status.startswith("429") if isinstance(response.status, str) \
        else response.status == 429
    assert response.collapse_body() == b"come later\n"
    assert response.headers["Retry-After"] == "5"


def test_the_error_page_is_one_line_of_text_without_entities(response):
    page = plain_error_page("403 Forbidden", "a &lt;b&gt;\n  c", traceback="x", version="y")
    assert page == "403 Forbidden: a <b> c\n"
    assert response.headers["Content-Type"] == "text/plain;charset=utf-8"
