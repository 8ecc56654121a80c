from __future__ import annotations

import pytest
from ws4py.messaging import BinaryMessage, PingControlMessage, TextMessage

from pushclient.errors import InvalidData
from pushclient.websocket.payloads import prepare


@pytest.mark.parametrize("payload, binary, prepared", [
    ("é", False, (1, "é".encode())), (b"x", False, (1, b"x")), (b"\xff", True, (2, b"\xff")),
    ("x", True, (2, b"x")), (TextMessage("x"), True, (1, b"x")),
    (BinaryMessage(b"\xff"), False, (2, b"\xff")),
    (PingControlMessage("x"), False, (9, b"x")), ({"a": 1}, False, (1, b'{"a":1}'))])
def test_payloads_are_ws4pys_and_more(payload, binary, prepared):
    assert prepare(payload, binary) == prepared


@pytest.mark.parametrize("payload, words", [(b"\xff", "binary=True"), (object(), "JSON"),
                                            (PingControlMessage("x" * 126), "at most 125")])
def test_what_no_frame_can_hold_is_refused(payload, words):
    with pytest.raises(InvalidData, match=words):
        prepare(payload)
