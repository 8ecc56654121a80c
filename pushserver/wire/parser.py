"""Turn the bytes that a peer sends into messages, without I/O.

``FrameReader`` takes bytes as they arrive and returns ws4py's message objects. It checks text as it
arrives, and a message's size before reading it. A client must mask its frames, a server must not.

Source: RFC 6455 section 5.
"""
from __future__ import annotations

import codecs
from typing import Union

from ws4py.framing import (OPCODE_BINARY, OPCODE_CLOSE, OPCODE_CONTINUATION, OPCODE_PING,
                           OPCODE_PONG, OPCODE_TEXT)
from ws4py.messaging import BinaryMessage, PingControlMessage, PongControlMessage, TextMessage

from .disconnects import NO_STATUS, Disconnect, may_be_received
from .frames import FIN, LENGTH_16, MASK_SIZE, MASKED, MAX_SHORT, apply_mask
from .speedups import HAVE_NATIVE, native

Received = Union[TextMessage, BinaryMessage, PingControlMessage, PongControlMessage, Disconnect,
                 str, bytes]
"""What a reader returns: a ws4py message, or with ``values`` its contents; a ``Disconnect`` for a
close frame."""

RESERVED_BITS = 0x70
OPCODE_BITS = 0x0F
LENGTH_BITS = 0x7F
CONTROL_BIT = 0x08
LENGTH_SIGN = 1 << 63

WORTH_A_VIEW = 1024
"""From this many bytes on, a view is cheaper than a copy."""

WORTH_PLACING = 32 * 1024
"""From this many missing bytes on, a payload is read straight into its place."""

SHORT_MASKED = 2 + MASK_SIZE
"""Bytes of a short frame's header with its mask."""

WHOLE_TEXT = FIN | OPCODE_TEXT
WHOLE_BINARY = FIN | OPCODE_BINARY

PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_LARGE = 1009

_DATA_OPCODES = (OPCODE_CONTINUATION, OPCODE_TEXT, OPCODE_BINARY)
_CONTROL_OPCODES = (OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG)


class _Failure(Exception):
    """Carry the close code for a peer that broke the protocol up to where it is handled."""

    def __init__(self, code: int, reason: str) -> None:
        self.disconnect = Disconnect(code, reason)


class FrameReader:
    """Turn the bytes that one peer sends into messages.

    It holds at most ``max_message_size`` bytes of a message: a longer one fails at the header
    that announces it. Invalid text fails at the byte that makes it invalid. Not thread-safe: the
    thread that reads the socket owns it.

    Args:
        max_message_size: bytes of one message, with all its fragments.
        from_client: True if the peer is a client, whose frames must be masked; False if it is a
            server, whose frames must not be.
        values: True to get text as ``str`` and binary as ``bytes`` instead of ws4py's messages.

    Attributes:
        failure: the close code and reason to send, once the peer has broken the protocol.
            After that, and after a close frame, nothing more is read.
        left: payload bytes of the current frame that have yet to arrive.
        frames: how many have begun, control frames and fragments too, and how many times one was
            gone on with; short ones that a server sends are not counted.
    """

    __slots__ = ("failure", "left", "frames", "_max", "_mask_bit", "_values", "_short", "_buffer",
                 "_done", "_opcode", "_body", "_size", "_text", "_key", "_final", "_target")

    def __init__(self, max_message_size: int, *, from_client: bool = True,
                 values: bool = False) -> None:
        self.failure: Disconnect | None = None
        self._max = max_message_size
        self._mask_bit = MASKED if from_client else 0
        self._values = values
        self._short = values != from_client and max_message_size >= MAX_SHORT
        self._buffer: bytearray | None = None
        self._done = False
        self._opcode = OPCODE_CONTINUATION   # of the current message; continuation: there is none
        # its contents so far, in one piece: each of many small ones would have its own overhead
        self._body: bytearray | bytes | None = None
        self._size = 0                        # of those
        self._text: _Utf8 | None = None
        self.left = 0
        self.frames = 0
        self._key = b""
        self._final = True
        self._target: bytes | None = None     # of the current frame, filled from its socket

    def feed(self, data: bytes) -> list[Received]:
        """Return the messages that these bytes complete, in order.

        Args:
            data: any number of bytes, split anywhere.
        """
        found: list[Received] = []
        if self.failure is not None or self._done:
            self.frames += 1
            return found
        buffer: bytes | bytearray = data
        if self.left:
            self.frames += 1
        elif self._buffer is not None:      # its frame counts again below
            self._buffer += data
            buffer = self._buffer
        position = 0
        try:
            position = self._read(buffer, found)
        except _Failure as failure:
            self.failure = failure.disconnect
            position = len(buffer)
        self._keep(buffer, position)
        return found

    @property
    def held_bytes(self) -> int:
        """Return the bytes kept of a message that has yet to arrive in full."""
        return len(self._buffer or b"") + len(self._body or b"") + len(self._target or b"")

    def _keep(self, buffer: bytes | bytearray, position: int) -> None:
        if position >= len(buffer):
            self._buffer = None
        elif isinstance(buffer, bytearray):
            del buffer[:position]
        else:
            self._buffer = bytearray(buffer[position:])

    def _read(self, buffer: bytes | bytearray, found: list[Received]) -> int:
        """Read as far as the buffer goes and return the position of the first byte to keep."""
        position, end = 0, len(buffer)
        while not self._done:
            if self.left:
                position = self._read_payload(buffer, position, found)
                if self.left:
                    return position
            if self._short and not self._opcode:
                if self._mask_bit:
                    position = self._read_short_masked(buffer, position, found)
                else:
                    position = self._read_short(buffer, position, found)
            start = position
            if end - start < 2:
                return start
            first, second = buffer[start], buffer[start + 1]
            self._check_header(first, second)
            size = second & LENGTH_BITS
            position = start + 2
            if size >= LENGTH_16:
                extended = 2 if size == LENGTH_16 else 8
                if end - position < extended:
                    return start
                size = int.from_bytes(buffer[position:position + extended], "big")
                position += extended
            opcode = first & OPCODE_BITS
            self.frames += 1
            if opcode < CONTROL_BIT:
                self._check_size(size)
            if self._mask_bit:
                if end - position < MASK_SIZE:
                    return start
                self._key = bytes(buffer[position:position + MASK_SIZE])
                position += MASK_SIZE
            if opcode >= CONTROL_BIT:
                if end - position < size:
                    return start
                found.append(self._control(opcode, self._plain(buffer, position, size)))
                position += size
            else:
                self._final = bool(first & FIN)
                if self._final and opcode and end - position >= size:
                    found.append(self._whole(opcode, buffer, position, size))
                    position += size
                else:
                    self._begin(opcode, size)
                    if not size:
                        self._end_of_frame(found)
        return end

    def _check_header(self, first: int, second: int) -> None:
        if first & RESERVED_BITS:
            raise _Failure(PROTOCOL_ERROR, "reserved bit set")
        opcode = first & OPCODE_BITS
        if opcode in _CONTROL_OPCODES:
            if not first & FIN:
                raise _Failure(PROTOCOL_ERROR, "fragmented control frame")
            if second & LENGTH_BITS > MAX_SHORT:
                raise _Failure(PROTOCOL_ERROR, "control frame over 125 bytes")
        elif opcode not in _DATA_OPCODES:
            raise _Failure(PROTOCOL_ERROR, f"reserved opcode {opcode}")
        elif (opcode == OPCODE_CONTINUATION) != (self._opcode != OPCODE_CONTINUATION):
            raise _Failure(PROTOCOL_ERROR, "continuation without a start" if self._opcode == 0
                           else "new message before the end of the previous one")
        if second & MASKED != self._mask_bit:
            raise _Failure(PROTOCOL_ERROR, "frame not masked" if self._mask_bit
                           else "frame masked")

    def _check_size(self, size: int) -> None:
        if size & LENGTH_SIGN:
            raise _Failure(PROTOCOL_ERROR, "frame length over 63 bits")
        if size + self._size > self._max:
            raise _Failure(TOO_LARGE, f"message over {self._max} bytes")

    def _plain(self, buffer: bytes | bytearray, position: int, size: int) -> bytes:
        if not self._mask_bit:
            return bytes(buffer[position:position + size])
        if size < WORTH_A_VIEW:
            return apply_mask(buffer[position:position + size], self._key)
        return apply_mask(memoryview(buffer)[position:position + size], self._key)

    @staticmethod
    def _read_short(buffer: bytes | bytearray, position: int, found: list[Received]) -> int:
        """Read a run of short, whole, unmasked messages.

        A client mostly gets these; this takes a quarter of the time of checking each header.
        """
        end = len(buffer) - 1
        append = found.append
        while position < end:
            size = buffer[position + 1]
            start = position + 2
            stop = start + size
            if size > MAX_SHORT or stop > end + 1:
                break
            first = buffer[position]
            if first == WHOLE_TEXT:
                append(_text(buffer[start:stop]))
            elif first == WHOLE_BINARY:
                append(bytes(buffer[start:stop]))
            else:
                break
            position = stop
        return position

    def _read_short_masked(self, buffer: bytes | bytearray, position: int,
                           found: list[Received]) -> int:
        """Read a run of short, whole messages from a client; like ``_read_short``."""
        end = len(buffer)
        while end - position >= SHORT_MASKED:
            first = buffer[position]
            start = position + SHORT_MASKED
            stop = start + buffer[position + 1] - MASKED
            if not start <= stop <= min(end, start + MAX_SHORT) \
                    or first != WHOLE_TEXT and first != WHOLE_BINARY:
                break
            payload = apply_mask(buffer[start:stop], bytes(buffer[start - MASK_SIZE:start]))
            if first == WHOLE_TEXT and not payload.isascii():
                _Utf8().decode(payload, True)
            found.append(_message(first & OPCODE_BITS, payload))
            self.frames += 1
            position = stop
        return position

    def _whole(self, opcode: int, buffer: bytes | bytearray, position: int, size: int) -> Received:
        """Return the message of one unfragmented frame that has arrived in full."""
        if self._values and opcode == OPCODE_TEXT and not self._mask_bit:
            return _text(memoryview(buffer)[position:position + size])
        payload = self._plain(buffer, position, size)
        if opcode == OPCODE_TEXT and not payload.isascii():
            _Utf8().decode(payload, True)
        return self._made(opcode, payload)

    def _made(self, opcode: int, payload: bytes | bytearray) -> Received:
        """Return checked contents in the form that the caller chose."""
        if not self._values:
            return _message(opcode, bytes(payload))
        return _text(payload) if opcode == OPCODE_TEXT else bytes(payload)

    def _begin(self, opcode: int, size: int) -> None:
        if opcode:
            self._opcode = opcode
            self._text = _Utf8() if opcode == OPCODE_TEXT else None
        self.left = size

    def _read_payload(self, buffer: bytes | bytearray, position: int,
                      found: list[Received]) -> int:
        """Take what has arrived of a frame's payload and return the position after it."""
        size = min(self.left, len(buffer) - position)
        if not size:
            return position
        payload = self._plain(buffer, position, size)
        self._add(payload)
        self._took(size, payload, found)
        return position + size

    def _add(self, piece: bytes) -> None:
        if self._body is None:
            self._body = bytearray(piece)
        else:
            self._body += piece

    def _took(self, size: int, piece: bytes, found: list[Received]) -> None:
        """Count what was added to the message, and check it if it is text."""
        turn = size % MASK_SIZE
        self._key = self._key[turn:] + self._key[:turn]
        self.left -= size
        self._size += size
        if self._text is not None:
            self._text.check(piece, self._final and not self.left)
        if not self.left:
            self._end_of_frame(found)

    def place(self) -> tuple[bytes, int, bytes] | None:
        """Return where to read to while a long masked payload is arriving; None: use ``feed``.

        The C extension can read its bytes from the socket straight into place. Report them to
        ``placed``.

        Returns:
            What ``native.receive_masked`` takes: the bytes to fill, the offset, the key.
        """
        if self.failure is not None or self._done or not HAVE_NATIVE:
            return None
        if self._target is None:
            if self.left < WORTH_PLACING or not self._mask_bit:
                return None
            self._target = self._blank()
        return self._target, len(self._target) - self.left, self._key

    def _blank(self) -> bytes:
        """Return room for the rest of a frame, after the message's beginning if it is the last."""
        if not self._final:
            return native.blank(self.left, b"")
        head, self._body = self._body or b"", None
        return native.blank(len(head) + self.left, head)

    def placed(self, size: int) -> list[Received]:
        """Return the messages that are complete after reading into place; see ``feed``.

        Args:
            size: bytes that were read to where ``place`` said.
        """
        found: list[Received] = []
        target = self._target
        assert target is not None
        self.frames += 1
        offset = len(target) - self.left
        if size == self.left:
            if self._final:
                self._body = target
            else:
                self._add(target)
            self._target = None
        piece = target[offset:offset + size] if self._text is not None else b""
        try:
            self._took(size, piece, found)
        except _Failure as failure:
            self.failure = failure.disconnect
        return found

    def _end_of_frame(self, found: list[Received]) -> None:
        if not self._final:
            return
        if self._text is not None:
            self._text.check(b"", True)
        found.append(self._made(self._opcode, self._body or b""))
        self._body = None
        self._size = 0
        self._text = None
        self._opcode = OPCODE_CONTINUATION

    def _control(self, opcode: int, payload: bytes) -> Received:
        if opcode == OPCODE_PING:
            return PingControlMessage(payload)
        if opcode == OPCODE_PONG:
            return PongControlMessage(payload)
        closing = _read_close(payload)
        self._done = True
        return closing


class _Utf8:
    """Decode text piece by piece, to find invalid text as early as possible."""

    __slots__ = ("_decoder", "_between")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._between = True    # no character is split between this piece and the next

    def decode(self, data: bytes, final: bool = False) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise _Failure(INVALID_TEXT, "invalid UTF-8") from None

    def check(self, data: bytes, final: bool = False) -> None:
        """Check as ``decode`` does, but skip the decoding where ASCII makes it needless."""
        if not self._between or not data.isascii():
            self.decode(data, final)
            self._between = not self._decoder.getstate()[0]


def _text(data: bytes | bytearray | memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise _Failure(INVALID_TEXT, "invalid UTF-8") from None


def _message(opcode: int, payload: bytes) -> Received:
    message = TextMessage(payload) if opcode == OPCODE_TEXT else BinaryMessage(payload)
    message.completed = True
    return message


def _read_close(payload: bytes) -> Disconnect:
    """Return the code and reason of a close frame (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return NO_STATUS
    if len(payload) == 1:
        raise _Failure(PROTOCOL_ERROR, "close frame with one byte")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_received(code):
        raise _Failure(PROTOCOL_ERROR, f"invalid close code {code}")
    return Disconnect(code, _Utf8().decode(payload[2:], True))
