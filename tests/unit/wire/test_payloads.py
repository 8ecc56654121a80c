from __future__ import annotations

import pytest
from ws4py.messaging import BinaryMessage, PingControlMessage, TextMessage

from pushserver.errors import InvalidData
from pushserver.wire.payloads import encode_message


@pytest.mark.parametrize("payload, binary, prepared", [
    ("é", False, (1, "é".encode())), (b"x", False, (1, b"x")), (b"\xff", True, (2, b"\xff")),
    ("x", True, (2, b"x")), (TextMessage("x"), True, (1, b"x")),
    (BinaryMessage(b"\xff"), False, (2, b"\xff")),
    (PingControlMessage("x"), False, (9, b"x")), ({"a": 1}, False, (1, b'{"a":1}'))])
def test_payloads_are_ws4pys_and_more(payload, binary, prepared):
    assert encode_message(payload, binary) == prepared


@pytest.mark.parametrize("payload, words", [(b"\xff", "binary=True"), (object(), "JSON"),
                                            (PingControlMessage("x" * 126), "at most 125")])
def test_what_no_frame_can_hold_is_refused(payload, words):
    with pytest.raises(InvalidData, match=words):
        encode_message(payload)
