"""The HTTP API: what is wrong with a request is said."""
from __future__ import annotations

import json
import logging

import pytest

from tests.support.api_client import Api


@pytest.mark.parametrize("method, request_, message", [
    ("publish", {}, "channel is missing: send it"),
    ("publish", {"channel": "c"}, "data is missing: send what to publish"),
    ("publish", {"channel": "c", "data": None}, "data is missing"),
    ("publish", {"channel": 5, "data": 1}, "channel is a number: use text"),
    ("publish", {"channel": "c", "date": 1}, "there is no field 'date': use channel, data"),
    ("publish", {"channel": "c", "data": 1, "delta": True}, "delta is not supported here"),
    ("publish", {"channel": "c", "data": 1, "tags": {"a": 1}}, "tags has a value"),
    ("publish", {"channel": "c", "data": 1, "idempotency_key": "k" * 256}, "use at most 255"),
    ("publish", {"channel": "c", "data": 1, "skip_history": "yes"}, "use true or false"),
    ("publish", {"channel": "\ud800", "data": 1}, "half of a surrogate pair"),
    ("publish", {"channel": "c", "data": "\ud800"}, "UTF-8 cannot hold this text"),
    ("publish", {"channel": "c", "data": "x" * ((1 << 20) + 1)}, "send at most 1048576"),
    ("broadcast", {"data": 1}, "channels: send a list of 1 to 10000 names"),
    ("broadcast", {"channels": "c", "data": 1}, "channels is text: use a list of text"),
    ("subscribe", {"channel": "c"}, "user is missing: send it"),
    ("subscribe", {"user": "42"}, "channel is missing: send it"),
    ("subscribe", {"user": "42", "channel": "c", "session": "x"}, "session is not supported"),
    ("subscribe", {"user": "42", "channel": "c", "b64info": "AA=="}, "use info and data"),
    ("subscribe", {"user": "42", "channel": "c", "recover_since": 5}, "use an object"),
    ("unsubscribe", {"user": "42"}, "channel is missing: send it"),
    ("unsubscribe", {"channel": "c"}, "user is missing: send it"),
    ("disconnect", {}, "user is missing: send it"),
    ("disconnect", {"user": "42", "disconnect": {"code": 1005}}, "cannot be sent"),
    ("disconnect", {"user": "42", "disconnect": {"code": 3000, "reason": "x" * 124}}, "at most"),
    ("disconnect", {"user": "42", "whitelist": "x"}, "whitelist is text: use a list of text"),
    ("refresh", {"user": "42", "expire_at": -1}, "expire_at is -1"),
    ("refresh", {}, "user is missing: send it"),
    ("presence", {}, "channel is missing: send it"),
    ("presence_stats", {"channel": ["c"]}, "channel is a list: use text"),
    ("history", {"channel": "news:1", "limit": "5"}, "limit is text: use a whole number"),
    ("history", {"channel": "news:1", "since": {"offset": "5"}}, "offset is text"),
    ("history_remove", {}, "channel is missing: send it"),
    ("channels", {"pattern": "{a,b}"}, r"pattern has a character that is not supported"),
    ("info", {"verbose": True}, "there is no field 'verbose': use none"),
    ("batch", {"commands": {}}, "commands: send a list"),
    ("batch", {"commands": [], "parallel": 1}, "parallel is a number")])
def test_what_is_wrong_with_a_request_is_said_in_one_line(shared, method, request_, message):
    status, _, body = Api(shared.port).request(method, json.dumps(request_))
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (200, 107)
    assert message in error["message"] and "\n" not in error["message"]


def test_errors_have_a_status_where_the_caller_wants_it(shared):
    api = Api(shared.port)
    options = {"X_Centrifugo_Error_Mode": "transport"}
    for method, request, status, code in (
            ("publish", {}, 400, 107), ("history", {"channel": "c"}, 400, 108),
            ("history", {"channel": "news:1", "since": {"offset": 9, "epoch": "?"}}, 416, 112)):
        found = api.request(method, json.dumps(request), **options)
        assert (found[0], json.loads(found[2])["code"]) == (status, code)


def test_what_fails_inside_is_logged_and_not_told(site, api, monkeypatch, caplog):
    monkeypatch.setattr(site.push, "channels", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "pushserver"):
        assert api.error("channels") == (100, "internal server error: see the site's log")
    assert "ZeroDivisionError" in caplog.text
