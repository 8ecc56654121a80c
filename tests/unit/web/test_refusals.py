"""Refusals, as far as they need no site: plain answers, of one line, and the log."""
from __future__ import annotations

import logging

import cherrypy
import pytest

from pushserver.web.refusals import (MOST_REASONS, QUIET, Refusal, RefusalLog, plain_error_page,
                                     plain_text, refusal_of)
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


@pytest.mark.parametrize("error, status, message", [
    (Refusal(HandshakeRefused(429, "come later")), 429, "come later"),
    (cherrypy.HTTPError(403, "members only"), 403, "members only"),
    (cherrypy.HTTPError(403, "a secret"), 500, "the site failed: try again later"),
    (ValueError("a secret"), 500, "the site failed: try again later"),
    (None, 403, "the site does not take this connection"),
    (None, 200, "the site does not take this connection")])
def test_a_refusal_says_what_the_client_may_know(error, status, message):
    refused = refusal_of(error, status)
    assert (refused.status, refused.message) == (status, message)


@pytest.fixture
def lines(caplog):
    """The lines that were logged."""
    caplog.set_level(logging.INFO, "pushserver")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def log():
    """A log whose ``now`` a test sets."""
    log = RefusalLog(lambda: log.now)
    log.now = 100.0
    return log


def add(log, message="go away", status=403, detail=""):
    log.add(HandshakeRefused(status, message, detail=detail), Id="42", address="192.0.2.1")


def test_the_same_reason_is_counted_for_a_while(log, lines):
    for _ in range(313):
        add(log)
    assert lines() == ["refused with 403, address 192.0.2.1, Id '42': go away"]
    log.now += QUIET
    add(log)
    assert lines()[1] == \
        "refused with 403, address 192.0.2.1, Id '42': go away (and 312 more in 10 s)"
    log.now += QUIET
    add(log)
    assert "more" not in lines()[2]


def test_reasons_are_counted_apart_but_not_by_their_numbers(log, lines):
    add(log, "Id has 129 characters")
    add(log, "Id has 130 characters")
    add(log, "Id is empty")
    add(log, "Id is empty", detail="seen twice")
    add(log, "Id is empty", status=400)
    assert len(lines()) == 4


def test_ever_new_reasons_do_not_fill_the_log(log, lines):
    for number in range(26 ** 2):
        add(log, f"go away, {chr(97 + number // 26)}{chr(97 + number % 26)}")
    assert len(lines()) == MOST_REASONS + 1
    assert len(repr(log)) < 40
    log.now += QUIET
    add(log, "a new one")
    assert "a new one" in lines()[-1]


def test_a_line_is_one_line(log, lines):
    add(log, "a\nb\x1b[31m\u2028" + "c" * 999)
    line, = lines()
    assert line.isprintable() and len(line) < 400


def test_what_a_404_repeats_is_not_logged(log, lines):
    add(log, "Unexpected query string parameters: secret", status=404)
    assert "secret" not in lines()[0] and "not found" in lines()[0]
