"""A connection that is a WebSocket.

Source: RFC 6455.
"""
from __future__ import annotations

from typing import Any

from ..wire.disconnects import Disconnect
from ..wire.frames import (OPCODE_BINARY, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, close_frame, frame,
                           header)
from ..wire.parser import FrameReader


class WebSocketFraming:
    """Make a server's frames; see ``Framing``."""

    ping = frame(OPCODE_PING, b"")
    heartbeat = frame(OPCODE_TEXT, b"")

    def __repr__(self) -> str:
        return "<WebSocketFraming>"

    @staticmethod
    def message(is_binary: bool, payload: bytes) -> bytes:
        """See ``Framing``."""
        return frame(OPCODE_BINARY if is_binary else OPCODE_TEXT, payload)

    head = staticmethod(header)
    close = staticmethod(close_frame)


WEBSOCKET_FRAMING = WebSocketFraming()


class WebSocketTransport:
    """Read one client's frames; see ``Transport``.

    Args:
        max_message_size: bytes of one message.
    """

    __slots__ = ("_parser", "feed", "place", "placed")

    framing = WEBSOCKET_FRAMING

    def __init__(self, max_message_size: int) -> None:
        self._parser = parser = FrameReader(max_message_size)
        self.feed, self.place, self.placed = parser.feed, parser.place, parser.placed

    def __repr__(self) -> str:
        return "<WebSocketTransport>"

    @property
    def failure(self) -> Disconnect | None:
        """See ``Transport``."""
        return self._parser.failure

    @staticmethod
    def answer(message: Any) -> bytes | None:
        """See ``Transport``: a pong for a ping."""
        return frame(OPCODE_PONG, message.data) if message.opcode == OPCODE_PING else None
