"""From data to payloads: what a site or a client sends, as an opcode and bytes. Pure."""
from __future__ import annotations

import json
from types import GeneratorType
from typing import Any, NoReturn

from ws4py.messaging import Message

from ..errors import InvalidData
from .frames import MAX_SHORT, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT

Data = Any
"""Text, bytes-like, or anything that JSON can hold."""

CONTROL = frozenset({OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG})
"""The opcodes of control frames, which may stand between the fragments of a message."""

dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""Returns JSON on one line; see ``encode_json`` for data that JSON may not hold."""


def encode_text(text: str) -> bytes:
    """Return text as UTF-8.

    Raises:
        InvalidData: it holds half of a surrogate pair.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidData(f"UTF-8 cannot hold this text: {error.reason}") from None


def encode_payload(data: Data) -> tuple[int, bytes]:
    """Return the opcode and the payload bytes for what a site sends.

    Args:
        data: ``str`` becomes text, bytes-like becomes binary, anything else JSON text.

    Raises:
        InvalidData: it cannot be encoded as UTF-8 or as JSON.
    """
    if isinstance(data, str):
        return OPCODE_TEXT, encode_text(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return OPCODE_BINARY, bytes(data)
    return OPCODE_TEXT, encode_json(data)


def encode_json(data: Data) -> bytes:
    """Return data as JSON text on one line.

    Raises:
        InvalidData: it cannot be encoded as JSON in UTF-8.
    """
    try:
        text = dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"JSON cannot hold this {type(data).__name__}: {error}") from None
    return encode_text(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


decode_json = json.JSONDecoder(parse_constant=_no_constant).decode
"""Returns what JSON text holds; a ``ValueError`` if it is not JSON or holds NaN or Infinity, a
``RecursionError`` if it is nested too deep."""


def encode_message(payload: Data, binary: bool = False) -> tuple[int, bytes]:
    """Return the opcode and the bytes of one message.

    Args:
        payload: text, bytes-like, a ws4py message, anything that JSON can hold, or a generator of
            these, whose pieces are joined.
        binary: send it as a binary message; otherwise, bytes are text, as with ws4py.

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
