"""How messages become frames, and in which order they are sent."""
from __future__ import annotations

import os
import threading
from types import GeneratorType
from typing import Any, Iterable

from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import (FIN, MASK_SIZE, OPCODE_BINARY, OPCODE_TEXT, close_frame, frame)
from pushserver.wire.payloads import CONTROL, encode_message
from ws4py.framing import OPCODE_CONTINUATION

from ..errors import ConnectionClosed, InvalidData
from .transport import Transport

MAX_OUTBOX = 1024 * 1024
"""Bytes that ``send`` in a callback leaves queued without waiting."""


class Sender:
    """Send messages as masked frames, each whole, none after the close frame. For any thread.

    A signal handler may send too. If it has interrupted another ``send``, its message is queued
    behind that one, which goes on once the handler has returned, and its own returns at once.

    Args:
        timeout: seconds for which the server may take nothing while ``send`` waits.

    Attributes:
        is_closed: the close frame was sent.
        reading_thread: the one that reads, which must not wait until the server reads.
    """

    def __init__(self, timeout: float) -> None:
        self.is_closed = False
        self.reading_thread: int | None = None
        self._timeout = timeout
        self._lock = threading.RLock()          # guards ``is_closed`` and the transport
        self._transport: Transport | None = None
        self._message_lock = threading.RLock()  # held while one message's fragments are sent
        self._in_fragments = False

    def forked(self) -> None:
        """Take new locks: a thread of the parent's may have held these."""
        self._lock, self._message_lock = threading.RLock(), threading.RLock()
        if self._transport is not None:
            self._transport.forked()

    def open(self, transport: Transport) -> None:
        """Take messages from now on."""
        with self._lock:
            self._transport = transport

    def close(self, disconnect: Disconnect) -> bool:
        """Send the close frame without waiting; return False if one was sent before."""
        with self._lock:
            if self.is_closed:
                return False
            self.is_closed = True
            if self._transport is not None:
                try:
                    self._transport.write(close_frame(disconnect, _new_mask_key()))
                except ConnectionClosed:  # the server was faster
                    pass
        return True

    def send(self, payload: Any, binary: bool = False) -> None:
        """Send one message; see ``WebSocketClient.send``."""
        if isinstance(payload, GeneratorType):
            self._send_fragments(payload, binary)
        else:
            self.send_frame(*encode_message(payload, binary))

    def send_frame(self, opcode: int, payload: bytes, *, wait: bool = True) -> None:
        """Send one message or control frame; return once the kernel has it.

        On the reading thread, return once at most ``MAX_OUTBOX`` bytes are queued.

        Args:
            opcode: the frame's.
            payload: the whole message.
            wait: False: return at once, whatever is queued.

        Raises:
            ConnectionClosed: see ``WebSocketClient.send``.
        """
        data = frame(opcode, payload, _new_mask_key())
        if opcode in CONTROL:  # these may stand between fragments
            self.write(data)
            return
        with self._message_lock:
            self._check_no_fragments()
            goal = self._queue(data)
        if wait:
            self._finish(goal)

    def try_send(self, opcode: int, payload: bytes) -> None:
        """Send one frame without waiting, if the connection still takes any.

        For the protocol's own frames: the reading thread learns anyway why a connection was lost.
        """
        self._try_write(frame(opcode, payload, _new_mask_key()))

    def write(self, data: bytes) -> None:
        """Write whole frames; return as ``send_frame`` does."""
        self._finish(self._queue(data))

    def _send_fragments(self, pieces: Iterable[Any], binary: bool) -> None:
        with self._message_lock:
            self._check_no_fragments()
            self._in_fragments = True
            try:
                opcode = OPCODE_BINARY if binary else OPCODE_TEXT
                for piece in pieces:
                    self._send_fragment(opcode, encode_message(piece, True)[1])
                    opcode = OPCODE_CONTINUATION
                self.write(frame(opcode, b"", _new_mask_key()))
            finally:
                self._in_fragments = False

    def _check_no_fragments(self) -> None:
        if self._in_fragments:
            raise InvalidData("a generator is being sent, which cannot send: yield it instead, "
                              "or send it later")

    def _send_fragment(self, opcode: int, payload: bytes) -> None:
        data = bytearray(frame(opcode, payload, _new_mask_key()))
        data[0] &= ~FIN
        self.write(bytes(data))

    def _queue(self, data: bytes) -> int:
        with self._lock:
            if self._transport is None or self.is_closed:
                raise ConnectionClosed("nothing was sent: the connection is "
                                       + ("closed" if self._transport else "not open"))
            return self._transport.write(data)

    def _finish(self, goal: int) -> None:
        assert self._transport is not None
        in_callback = threading.get_ident() == self.reading_thread
        self._transport.finish(goal - (MAX_OUTBOX if in_callback else 0), self._timeout)

    def _try_write(self, data: bytes) -> None:
        try:
            self._queue(data)
        except ConnectionClosed:
            pass


def _new_mask_key() -> bytes:
    return os.urandom(MASK_SIZE)
