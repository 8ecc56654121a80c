"""What ws4py's ``send`` takes, as an opcode and bytes: the same for server and client. Pure."""
from __future__ import annotations

from types import GeneratorType

from ws4py.messaging import Message

from ..errors import InvalidData
from .frames import (MAX_SHORT, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT,
                     Data, encode_payload)

CONTROL = frozenset({OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG})
"""The opcodes of control frames, which may stand between the fragments of a message."""


def encode_message(payload: Data, binary: bool = False) -> tuple[int, bytes]:
    """Return the opcode and the bytes of one message.

    Args:
        payload: text, bytes-like, a ws4py message, anything that JSON can hold, or a generator of
            these, whose pieces are joined.
        binary: send it as a binary message; bytes are text otherwise, as with ws4py.

    Raises:
        InvalidData: a frame cannot hold it.
    """
    if isinstance(payload, Message):
        return _checked(payload.opcode, bytes(payload.data))
    if isinstance(payload, GeneratorType):
        data = b"".join(encode_payload(piece)[1] for piece in payload)
    else:
        opcode, data = encode_payload(payload)
        if opcode == OPCODE_TEXT and not binary:  # UTF-8 already
            return OPCODE_TEXT, data
    return (OPCODE_BINARY, data) if binary else _checked(OPCODE_TEXT, data)


def _checked(opcode: int, data: bytes) -> tuple[int, bytes]:
    if opcode in CONTROL and len(data) > MAX_SHORT:
        raise InvalidData(f"a control message of {len(data)} bytes: use at most {MAX_SHORT}")
    if opcode == OPCODE_TEXT:
        try:
            data.isascii() or data.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidData("bytes that are not UTF-8: send them with binary=True") from None
    return opcode, data
