"""What ws4py's ``send`` takes, as an opcode and bytes. Pure."""
from __future__ import annotations

from typing import Any

from pushserver.wire.frames import (MAX_SHORT, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING,
                                    OPCODE_PONG, OPCODE_TEXT)
from pushserver.wire.payloads import encode_payload
from ws4py.messaging import Message

from ..errors import InvalidData

CONTROL = frozenset({OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG})


def prepare(payload: Any, binary: bool = False) -> tuple[int, bytes]:
    """Return the opcode and the bytes of one message.

    Args:
        payload: text, bytes-like, a ws4py message, or anything that JSON can hold.
        binary: send it as a binary message; bytes are text otherwise, as with ws4py.

    Raises:
        InvalidData: a frame cannot hold it.
    """
    if isinstance(payload, Message):
        return _checked(payload.opcode, bytes(payload.data))
    opcode, data = encode_payload(payload)
    return _checked(OPCODE_BINARY if binary else OPCODE_TEXT, data)


def _checked(opcode: int, data: bytes) -> tuple[int, bytes]:
    if opcode in CONTROL and len(data) > MAX_SHORT:
        raise InvalidData(f"a ping or pong of {len(data)} bytes: use at most {MAX_SHORT}")
    if opcode == OPCODE_TEXT:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidData("bytes that are not UTF-8: send them with binary=True") from None
    return opcode, data
