"""Turn payloads into WebSocket frames.

``parser`` is the way back. Client and server both use this; a client masks its frames.

Source: RFC 6455 section 5.
"""
from __future__ import annotations

from ws4py.framing import OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT

from .disconnects import NO_STATUS, Disconnect, encoded_reason
from .speedups import HAVE_NATIVE, native

__all__ = ["apply_mask", "close_frame", "frame", "header", "message_frame", "OPCODE_BINARY",
           "OPCODE_CLOSE", "OPCODE_PING", "OPCODE_PONG", "OPCODE_TEXT"]

FIN = 0x80
MASKED = 0x80
LENGTH_16 = 126
LENGTH_64 = 127
MAX_SHORT = 125
MAX_LENGTH_16 = 0xFFFF
MASK_SIZE = 4

_SHORT = tuple(bytes((FIN | OPCODE_TEXT, second)) for second in range(256))
"""Headers of short text frames by their second byte, prepared because they are sent most."""


def apply_mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Mask or unmask a payload; doing it twice restores the payload.

    Without the C extension this is one XOR of two big integers, about thirty times faster than
    going byte by byte.

    Args:
        data: the payload, or a piece of it that starts at a multiple of four bytes.
        key: four bytes.

    Source: RFC 6455 section 5.3.
    """
    if HAVE_NATIVE:
        return native.apply_mask(data, key)
    size = len(data)
    mask = (key * (size // MASK_SIZE + 1))[:size]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")
    return mixed.to_bytes(size, "little")


def frame(opcode: int, payload: bytes, mask_key: bytes | None = None) -> bytes:
    """Return one unfragmented frame.

    Args:
        opcode: one of ws4py's ``OPCODE_*``.
        payload: at most 125 bytes for a control frame.
        mask_key: four bytes when a client sends, None when a server does.
    """
    if mask_key:
        return header(opcode, len(payload), MASKED) + mask_key + apply_mask(payload, mask_key)
    return header(opcode, len(payload)) + payload


def without(prefixes: tuple[bytes, ...], data: bytes) -> bytes:
    """Return frames of a server without those whose payload begins in one of some ways.

    Args:
        prefixes: the ways.
        data: whole frames. Anything else, such as the handshake's answer, is returned as it is.
    """
    kept, start = [], 0
    while start < len(data) and data[start] & FIN:
        begin, size = start + 2, data[start + 1]
        if size > MAX_SHORT:
            begin += 2 if size == LENGTH_16 else 8
            size = int.from_bytes(data[start + 2:begin], "big")
        if not data.startswith(prefixes, begin):
            kept.append(data[start:begin + size])
        start = begin + size
    kept.append(data[start:])
    return b"".join(kept)


def message_frame(is_binary: bool, payload: bytes) -> bytes:
    """Return one message of a server in one frame."""
    opcode = OPCODE_BINARY if is_binary else OPCODE_TEXT
    return header(opcode, len(payload)) + payload


def header(opcode: int, size: int, masked: int = 0) -> bytes:
    """Return the header of an unfragmented frame, without the mask key.

    Args:
        opcode: one of ws4py's ``OPCODE_*``.
        size: bytes of the payload.
        masked: ``MASKED``, or 0 if no mask key follows.
    """
    if size <= MAX_SHORT:
        return _SHORT[masked | size] if opcode == OPCODE_TEXT \
            else bytes((FIN | opcode, masked | size))
    if size <= MAX_LENGTH_16:
        return bytes((FIN | opcode, masked | LENGTH_16)) + size.to_bytes(2, "big")
    return bytes((FIN | opcode, masked | LENGTH_64)) + size.to_bytes(8, "big")


def close_frame(disconnect: Disconnect, mask_key: bytes | None = None) -> bytes:
    """Return a close frame; the code 1005 makes one without a code."""
    if disconnect.code == NO_STATUS.code:
        return frame(OPCODE_CLOSE, b"", mask_key)
    payload = disconnect.code.to_bytes(2, "big") + encoded_reason(disconnect.reason)
    return frame(OPCODE_CLOSE, payload, mask_key)
