"""A connection that is a WebSocket.

Source: RFC 6455.
"""
from __future__ import annotations

from typing import Any

from ..wire.frames import (OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, close_frame, frame, header,
                           message_frame, without)
from ..wire.parser import FrameReader


class WebSocketFraming:
    """Make a server's frames; see ``Framing``."""

    ping = frame(OPCODE_PING, b"")
    heartbeat = frame(OPCODE_TEXT, b"")
    message = staticmethod(message_frame)
    frame = staticmethod(frame)
    head = staticmethod(header)
    without = staticmethod(without)
    close = staticmethod(close_frame)

    def __repr__(self) -> str:
        return "<WebSocketFraming>"


WEBSOCKET_FRAMING = WebSocketFraming()


class WebSocketTransport(FrameReader):
    """Read one client's frames, and answer its pings; see ``Transport``.

    Args:
        max_message_size: bytes of one message.
    """

    __slots__ = ()

    framing = WEBSOCKET_FRAMING

    def __init__(self, max_message_size: int) -> None:
        super().__init__(max_message_size)

    @staticmethod
    def answer(message: Any) -> bytes | None:
        """Return a pong for a ping; see ``Transport``."""
        return frame(OPCODE_PONG, message.data) if message.opcode == OPCODE_PING else None
