"""Close codes: which are final, which may be sent, and what fits into a close frame."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.wire import disconnects
from pushserver.wire.disconnects import Disconnect, checked_disconnect, is_final, may_be_received
from pushserver.errors import InvalidSetting

OURS = {name: value for name, value in vars(disconnects).items() if isinstance(value, Disconnect)}


@pytest.mark.parametrize("code", [1000, 3500, 3999, 4500, 4999])
def test_a_client_stays_away_after_a_final_code(code):
    assert is_final(code)
    assert Disconnect(code, "").is_final


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 3000, 3499, 4000, 4499, 5000])
def test_a_client_comes_back_after_any_other_code(code):
    assert not is_final(code)
    assert not Disconnect(code, "").is_final


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999])
def test_a_code_that_may_stand_in_a_close_frame(code):
    assert may_be_received(code)
    assert checked_disconnect(code, "why") == Disconnect(code, "why")


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_code_that_may_not(code):
    assert not may_be_received(code)
    with pytest.raises(InvalidSetting, match="cannot be sent"):
        checked_disconnect(code, "")


@pytest.mark.parametrize("code", ["1000", None, 1000.0])
def test_a_code_that_is_no_whole_number_is_refused(code):
    with pytest.raises(InvalidSetting, match="close code"):
        checked_disconnect(code, "")


@given(st.text(max_size=140))
def test_a_reason_fits_when_its_utf8_has_at_most_123_bytes(reason):
    try:
        size = len(reason.encode())
    except UnicodeEncodeError:
        size = None
    if size is not None and size <= 123:
        assert checked_disconnect(1000, reason) == (1000, reason)
    else:
        with pytest.raises(InvalidSetting, match="close reason"):
            checked_disconnect(1000, reason)


@pytest.mark.parametrize("reason, fits", [("x" * 123, True), ("x" * 124, False),
                                          ("\u00e9" * 61, True), ("\u00e9" * 62, False)])
def test_a_reason_is_measured_in_bytes(reason, fits):
    if fits:
        checked_disconnect(1000, reason)
    else:
        with pytest.raises(InvalidSetting, match="has 124 bytes: use at most 123"):
            checked_disconnect(1000, reason)


@pytest.mark.parametrize("reason", ["\ud800", b"bytes", None, 5])
def test_a_reason_that_is_no_text_is_refused(reason):
    with pytest.raises(InvalidSetting, match="not text"):
        checked_disconnect(1000, reason)


def test_the_disconnects_of_this_package_have_the_documented_codes():
    assert {name: value.code for name, value in OURS.items()} == {
        "NORMAL": 1000, "SHUTTING_DOWN": 1001, "NO_STATUS": 1005, "ABNORMAL": 1006,
        "HANDLER_FAILED": 1011, "SLOW": 3008, "SHORT_OF_MEMORY": 3008,
        "NO_PONG": 3012, "REPLACED": 3504, "BY_SITE": 3505, "EXPIRED": 3005, "TOO_MUCH": 3013}


def test_what_this_package_sends_can_be_sent():
    for name, disconnect in OURS.items():
        if name not in ("NO_STATUS", "ABNORMAL"):  # those stand for a frame that never came
            assert checked_disconnect(*disconnect) == disconnect


def test_only_the_sites_wish_and_a_newer_connection_keep_a_client_away():
    assert {name for name, value in OURS.items() if value.is_final} == {
        "NORMAL", "REPLACED", "BY_SITE"}
