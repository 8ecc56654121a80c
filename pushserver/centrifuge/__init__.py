"""Centrifugo's JSON client protocol: its clients work with this server unmodified.

A connection of this protocol is a ``CentrifugeConnection``; ``docs/protocol.md`` says what is
supported.
"""
from __future__ import annotations

from .connection import CentrifugeConnection
from .errors import CloseConnection, CommandError

__all__ = ["CentrifugeConnection", "CloseConnection", "CommandError"]
