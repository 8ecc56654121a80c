"""The opening handshake: every rule that a request can break, and what its answer says."""
from __future__ import annotations

import base64
import unicodedata

import pytest
from cherrypy.lib.httputil import HeaderMap
from hypothesis import given
from hypothesis import strategies as st

from pushserver.errors import HandshakeRefused
from pushserver.wire.disconnects import is_final
from pushserver.wire.handshake import (MAX_HEAD, accept_key, admitted_id, asks_for_close,
                                       asks_to_connect, check_head, check_key, check_request,
                                       checked_heartbeat, choose_subprotocol, refusal_disconnect)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(method="GET", protocol=(1, 1), **changes):
    """Check a handshake with some headers changed; None leaves a header out."""
    headers = HeaderMap({"Upgrade": "websocket", "Connection": "Upgrade",
                         "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY})
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers.pop(name, None)
        if value is not None:
            headers[name] = value
    check_request(method, protocol, headers)


def refusal(call, *args, **options):
    """Return how a call refuses; fail if it does not."""
    with pytest.raises(HandshakeRefused) as refused:
        call(*args, **options)
    message = refused.value.message
    assert message and "\n" not in message
    return refused.value


def test_a_handshake_as_in_the_rfc_is_good():
    request()
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_long_head_is_refused_and_one_that_is_not_too_long_is_good():
    line = "GET /websocket HTTP/1.1"
    room = MAX_HEAD - len(line) - len("Cookie: \r\n")
    check_head(line, {"Cookie": "x" * room})
    for name, value in (("Cookie", "x" * (room + 1)), ("X" * MAX_HEAD, ""),
                        ("X" * 8000, "x" * 9000)):
        assert refusal(check_head, line, {name: value}).status == 431
    assert refusal(check_head, "GET /?Id=" + "x" * MAX_HEAD, {}).status == 431


@pytest.mark.parametrize("changes", [
    {"Upgrade": "WebSocket"}, {"Upgrade": "h2c, websocket"}, {"Connection": "keep-alive, Upgrade"},
    {"Connection": "UPGRADE"}, {"Sec_WebSocket_Version": " 13 "}, {"Content_Length": "0"},
    {"Sec_WebSocket_Key": f" {KEY} "}])
def test_what_clients_and_proxies_write_differently_is_good(changes):
    request(**changes)


@pytest.mark.parametrize("headers", [
    {"Upgrade": "websocket"}, {"Upgrade": "h2c, WebSocket"}, {"Sec-WebSocket-Key": "bad"},
    {"Sec-WebSocket-Key": ""}, {"Sec-WebSocket-Version": "8"}], ids=str)
def test_what_has_a_header_of_a_handshake_asks_to_connect(headers):
    assert asks_to_connect(HeaderMap(headers))


@pytest.mark.parametrize("headers", [
    {}, {"Upgrade": "h2c"}, {"Upgrade": ""}, {"Connection": "Upgrade"},
    {"Upgrade": "not-websocket"}], ids=str)
def test_other_requests_do_not_ask_to_connect(headers):
    assert not asks_to_connect(HeaderMap(headers))


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "get", "X" * 500])
def test_any_method_but_get_is_405(method):
    refused = refusal(request, method)
    assert refused.status == 405
    assert refused.headers == {"Allow": "GET"}
    assert len(refused.message) < 100


def test_an_old_http_is_426_and_says_where_a_proxy_sets_it():
    refused = refusal(request, protocol=(1, 0))
    assert refused.status == 426
    assert "proxy_http_version" in refused.message


@pytest.mark.parametrize("changes", [
    {"Upgrade": None}, {"Upgrade": ""}, {"Upgrade": "h2c"}, {"Upgrade": "websockets"},
    {"Sec_WebSocket_Version": None}, {"Sec_WebSocket_Version": "8"},
    {"Sec_WebSocket_Version": "13, 8"}])
def test_no_upgrade_or_another_version_is_426_and_says_which_is_spoken(changes):
    refused = refusal(request, **changes)
    assert refused.status == 426
    assert refused.headers["Upgrade"] == "websocket"
    assert refused.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize("changes, word", [
    ({"Connection": None}, "Connection"), ({"Connection": "keep-alive"}, "Connection"),
    ({"Sec_WebSocket_Key": None}, "Sec-WebSocket-Key"),
    ({"Sec_WebSocket_Key": "x"}, "Sec-WebSocket-Key"),
    ({"Content_Length": "5"}, "body"), ({"Transfer_Encoding": "chunked"}, "body")])
def test_a_malformed_handshake_is_400_and_says_what_to_change(changes, word):
    refused = refusal(request, **changes)
    assert refused.status == 400
    assert word in refused.message


@given(st.binary(max_size=32))
def test_a_key_is_good_exactly_when_it_stands_for_16_bytes(key):
    encoded = base64.b64encode(key).decode()
    if len(key) == 16:
        check_key(encoded)
        assert len(base64.b64decode(accept_key(encoded))) == 20
    else:
        assert refusal(check_key, encoded).status == 400


@given(st.text(max_size=30)
       | st.text(alphabet="AQgw+/=-_ \n", min_size=20, max_size=28)
       | st.builds(lambda place, new: KEY[:place] + new + KEY[place + 1:],
                   st.integers(0, 24), st.text(max_size=2)))
def test_any_key_is_answered_or_refused(key):
    try:
        check_key(key)
    except HandshakeRefused as refused:
        assert refused.status == 400
    else:
        assert len(accept_key(key)) == 28


@given(st.text(max_size=140))
def test_an_id_is_1_to_128_characters_without_control_characters(Id):
    bad = {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, Id))
    if 1 <= len(Id) <= 128 and not bad:
        assert admitted_id(Id) == Id
    else:
        assert refusal(admitted_id, Id).status == 400


@pytest.mark.parametrize("Id", ["a", "x" * 128, "\u00fc", "\U0001f600" * 128, "a b", "a&b=c", "0"])
def test_a_good_id_is_returned_as_it_is(Id):
    assert admitted_id(Id) == Id


@pytest.mark.parametrize("Id, word", [
    (None, "missing"), ("", "empty"), ("x" * 129, "129 characters"), ("a\nb", "control"),
    ("a\x00", "control"), ("\x7f", "control"), ("\x85", "control"), ("\u2028", "control"),
    ("\udc80", "control"), (["1", "2"], "more than once")])
def test_a_bad_id_is_400_and_the_answer_says_which_rule(Id, word):
    refused = refusal(admitted_id, Id)
    assert refused.status == 400
    assert word in refused.message


@pytest.mark.parametrize("offered, supported, chosen", [
    ("", [], None), ("a", [], None), ("", ["a"], None), ("a, b", ["b", "a"], "a"),
    ("x,b ,a", ["a", "b"], "b"), ("A", ["a"], None), (",,", ["a"], None)])
def test_the_first_subprotocol_the_client_offers_and_the_site_speaks_is_chosen(offered, supported,
                                                                               chosen):
    assert choose_subprotocol(offered, supported, {}) == chosen


@pytest.mark.parametrize("value, seconds", [(None, 0), ("1", 1), ("25", 25), ("2.5", 2.5),
                                            ("3600", 3600), ("0001", 1)])
def test_a_heartbeat_is_a_number_of_seconds(value, seconds):
    assert checked_heartbeat(value) == seconds


@pytest.mark.parametrize("value", ["", "0", "0.9", "3600.1", "-5", "+5", " 5", "5 ", "1e2", "nan",
                                   "inf", "1_0", "x", "\u0665", "9" * 5000, "5.", ".5", "5\n"])
def test_other_heartbeats_are_refused(value):
    refused = refusal(checked_heartbeat, value)
    assert refused.status == 400 and "from 1 to 3600" in refused.message


def test_a_heartbeat_is_given_once():
    assert "more than once" in refusal(checked_heartbeat, ["5", "5"]).message


@pytest.mark.parametrize("value, asks", [(None, False), ("close", True)])
def test_a_client_may_ask_for_refusals_by_a_close_frame(value, asks):
    assert asks_for_close(value) is asks


@pytest.mark.parametrize("value", ["", "Close", "http", "close ", ["close", "close"]])
def test_any_other_form_of_refusals_is_400(value):
    refused = refusal(asks_for_close, value)
    assert refused.status == 400
    assert "refusals=close" in refused.message


@pytest.mark.parametrize("status, code", [
    (400, 4500), (401, 4501), (403, 4503), (404, 4504), (409, 4509), (499, 4599), (301, 4601),
    (303, 4603), (200, 4700), (204, 4704)])
def test_what_another_try_does_not_change_has_a_final_close_code(status, code):
    assert refusal_disconnect(status, "why") == (code, "why")
    assert is_final(code)


@pytest.mark.parametrize("status, code", [(429, 4029), (408, 4008), (500, 4100), (503, 4103)])
def test_what_may_pass_has_a_close_code_that_means_reconnect(status, code):
    assert refusal_disconnect(status, "why") == (code, "why")
    assert not is_final(code)


@given(st.text(), st.integers(200, 599))
def test_every_reason_fits_into_a_close_frame(reason, status):
    disconnect = refusal_disconnect(status, reason)
    assert len(disconnect.reason.encode()) <= 123
    assert 4000 <= disconnect.code <= 4999
    assert "\n" not in disconnect.reason


@pytest.mark.parametrize("reason, cut", [
    ("x" * 200, "x" * 123), ("é" * 100, "é" * 61), ("x" + "😀" * 40, "x" + "😀" * 30),
    ("a\n b\r\n", "a b"), ("\udc80", "?")])
def test_a_long_reason_is_cut_between_two_characters(reason, cut):
    assert refusal_disconnect(403, reason).reason == cut
