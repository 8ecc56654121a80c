"""How messages get from the application to the wire."""
from __future__ import annotations

import os
import threading
from types import GeneratorType
from typing import Any

from pushserver.wire.disconnects import Disconnect
from pushserver.wire.frames import FIN, MASK_SIZE, OPCODE_BINARY, OPCODE_TEXT, frame
from ws4py.framing import OPCODE_CONTINUATION

from ..errors import ConnectionClosed, InvalidData
from .payloads import CONTROL, prepare
from .transport import Wire

MAX_OUTBOX = 1024 * 1024
"""Bytes that a callback's ``send`` leaves to be written later before it waits."""


class Sending:
    """The methods of ``WebSocketClient`` that send; for any thread."""

    _lock: threading.RLock
    _wire: Wire | None
    _close_sent: Disconnect | None
    _reading_thread: int | None
    _timeout: float

    def _begin_sending(self) -> None:
        self._message_lock = threading.RLock()  # held while one message's fragments are sent
        self._in_fragments = False

    def send(self, payload: Any, binary: bool = False) -> None:
        """Send one message; return once the kernel has it.

        In a callback it does not wait for that: the thread that it is called on has to read, or
        two sides that answer each other would wait for each other. It waits there only while more
        than 1 MiB is queued.

        Args:
            payload: text, bytes, a ws4py message, or anything that JSON can hold. The pieces of a
                generator become fragments of one message, which holds other messages back.
            binary: send it as binary; bytes are sent as text otherwise, as with ws4py.

        Raises:
            ConnectionClosed: it is closed or not connected yet, or the server took nothing for
                ``timeout``. A message that was under way may not have arrived.
            InvalidData: a message cannot hold this.
        """
        if isinstance(payload, GeneratorType):
            self._send_fragments(payload, binary)
        else:
            self.send_frame(*prepare(payload, binary))

    def send_frame(self, opcode: int, payload: bytes) -> None:
        """Send one whole message of a given opcode; see ``send``."""
        data = frame(opcode, payload, new_mask_key())
        if opcode in CONTROL:
            self._written(self._queue(data))
            return
        with self._message_lock:
            if self._in_fragments:
                raise InvalidData("a generator that is being sent cannot send: yield it instead")
            goal = self._queue(data)
        self._written(goal)

    def _send_fragments(self, pieces: Any, binary: bool) -> None:
        with self._message_lock:
            if self._in_fragments:
                raise InvalidData("a generator that is being sent cannot send: yield it instead")
            self._in_fragments = True
            try:
                opcode = OPCODE_BINARY if binary else OPCODE_TEXT
                for piece in pieces:
                    self._send_fragment(opcode, prepare(piece, True)[1])
                    opcode = OPCODE_CONTINUATION
                self._written(self._queue(frame(opcode, b"", new_mask_key())))
            finally:
                self._in_fragments = False

    def _send_fragment(self, opcode: int, payload: bytes) -> None:
        data = bytearray(frame(opcode, payload, new_mask_key()))
        data[0] &= ~FIN
        self._written(self._queue(bytes(data)))

    def _queue(self, data: bytes) -> int:
        with self._lock:
            if self._wire is None or self._close_sent is not None:
                raise ConnectionClosed("nothing was sent: the connection is "
                                       + ("closed" if self._wire else "not open"))
            return self._wire.write(data)

    def _written(self, goal: int) -> None:
        assert self._wire is not None
        in_callback = threading.get_ident() == self._reading_thread
        self._wire.finish(goal - (MAX_OUTBOX if in_callback else 0), self._timeout)

    def _write(self, b: bytes) -> None:
        self._written(self._queue(b))

    def _try_write(self, data: bytes) -> None:
        try:
            self._queue(data)
        except ConnectionClosed:  # reading will tell why
            pass


def new_mask_key() -> bytes:
    """Return what a frame of a client is masked with."""
    return os.urandom(MASK_SIZE)
