"""The HTTP API: who may call it, and what concerns HTTP."""
from __future__ import annotations

import contextlib
import json
import socket

import pytest

from pushserver import InvalidSetting, PushAPI, PushServer
from pushserver.api.methods import METHODS
from tests.support.api_client import Api, KEY
from tests.support.api_site import SECOND_KEY, serving


def test_every_key_opens_and_no_other_does(shared):
    for key in (KEY, SECOND_KEY):
        assert Api(shared.port, key).call("channels") == {"channels": {}}
    for key in ("", "x", KEY[:-1], KEY + "x", KEY.upper(), KEY + SECOND_KEY, "\xff" * 32, None):
        assert Api(shared.port, key).status("channels") == \
            (401, "no valid key: send one in the X-API-Key header")


def test_older_clients_show_their_key_in_authorization(shared):
    api = Api(shared.port, key=None)
    assert api.request("info", Authorization=f"apikey {KEY}")[0] == 200
    assert api.request("info", Authorization=f"ApiKey {KEY}")[0] == 200
    for value in (f"Bearer {KEY}", KEY, "apikey", "apikey ", f"apikey {KEY} x", "apikey wrong"):
        assert api.request("info", Authorization=value)[0] == 401, value
    assert api.request("info", X_API_Key="wrong", Authorization=f"apikey {KEY}")[0] == 401


def test_a_key_in_the_url_is_none(shared):
    assert Api(shared.port, key=None).request(f"info?api_key={KEY}")[0] == 401


def test_without_keys_the_api_is_off():
    with serving(keys=[]) as site:
        for method in METHODS:
            status, message = Api(site.port).status(method, "{}")
            assert (status, message[:19]) == (403, "the HTTP API is off")


@pytest.mark.parametrize("keys", ["a key", b"a key", None, 5, [""], [None], ["with space"],
                                  ["ümlaut"], ["new\nline"]])
def test_wrong_keys_are_refused_where_they_are_given_and_not_shown(keys):
    with pytest.raises(InvalidSetting) as raised:
        PushAPI(PushServer(), keys=keys)
    assert "ümlaut" not in str(raised.value)


def test_a_short_key_is_logged_without_being_shown(caplog):
    api = PushAPI(PushServer(), keys=["tiny-key"])
    assert "8 characters and can be guessed" in caplog.text
    assert "tiny-key" not in caplog.text + repr(api)


@pytest.mark.parametrize("size", [0, -1, True, "5", 1.5])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(InvalidSetting, match="max_body is .*: use bytes, 1 or more"):
        PushAPI(PushServer(), keys=[KEY], max_body=size)


def test_what_is_no_push_server_is_a_clear_error():
    with pytest.raises(InvalidSetting, match="push is a str: use the PushPlugin"):
        PushAPI("push", keys=[KEY])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_than_post_are_405(shared, method):
    status, headers, _ = Api(shared.port).request("info", method=method)
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["nothing", "info/more", "default", "_calls", "%2e%2e",
                                  "publish%2finfo", "keys"])
def test_unknown_paths_are_404(shared, path):
    status, message = Api(shared.port).status(path)
    assert (status, message[:23]) == (404, "there is no such method")


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"{}{}", b"\xff\xfe", b'{"data": NaN}',
                                  b"[" * 100_000, b'{"a": "' + b"\x01" + b'"}'])
def test_malformed_bodies_are_400(shared, body):
    status, message = Api(shared.port).status("publish", body)
    assert (status, message[:20]) == (400, "the body is not JSON")


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_told_so(shared, body):
    status, message = Api(shared.port).status("publish", body)
    assert status == 200 and message.endswith(": send an object")


@pytest.mark.parametrize("headers", [
    {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Type": "application/xml"},
    {"Content_Type": "application/json; charset=latin-1"}, {"Content_Encoding": "gzip"}])
def test_other_kinds_of_body_are_415(shared, headers):
    assert Api(shared.port).request("info", b"{}", **headers)[0] == 415


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8",
                                  "APPLICATION/JSON;charset=UTF-8", "text/plain",
                                  "application/x-www-form-urlencoded"])
def test_json_is_taken_under_the_names_that_clients_give_it(shared, kind):
    assert Api(shared.port).request("channels", b"{}", Content_Type=kind)[0] == 200


def test_bodies_over_the_limit_are_413():
    with serving(max_body=1000) as site:
        api = Api(site.port)
        fits = json.dumps({"channel": "c", "data": ""}).encode()
        fits = fits[:-2] + b"x" * (1000 - len(fits)) + fits[-2:]
        assert api.request("publish", fits)[0] == 200
        assert api.request("publish", fits + b" ")[0] == 413
        chunks = (b" " * 100 for _ in range(11))
        status, _, body = api.request("publish", chunks)
        assert status == 413 and b"send at most 1000 bytes" in body


def test_a_chunked_body_is_read(shared):
    status, _, body = Api(shared.port).request("channels", iter([b"{", b"}"]))
    assert (status, json.loads(body)) == (200, {"result": {"channels": {}}})


def raw(site, *lines):
    """Send a request as it stands; return all that comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_the_body_of_who_has_no_key_is_not_waited_for(shared):
    answer = raw(shared, "POST /api/publish HTTP/1.1", "Host: x", "Content-Length: 50000000")
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = raw(shared, "POST /api/publish HTTP/1.1", "Host: x", f"X-API-Key: {KEY}",
                 "Content-Length: 50000000")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_connection_serves_many_calls(shared):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        sock = connection.sock
        for _ in range(3):
            connection.request("POST", "/api/info", "{}", {"X-API-Key": KEY})
            assert connection.getresponse().read()
        assert connection.sock is sock
