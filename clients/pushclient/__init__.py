"""A client of WebSocket pushes that stays connected, on a thread of its own."""
from __future__ import annotations

from .client import CLOSED, CONNECTING, OPEN, WAITING, PushClient
from .connection import WebSocketClient
from .errors import (CertificateRefused, ConnectFailed, ConnectionClosed, ConnectTimeout,
                     Disconnected, HandshakeFailed, InvalidData, InvalidSetting, NotConnected,
                     ProxyFailed, PushError, Refused, TlsFailed, UnknownHost)

__all__ = ["CLOSED", "CONNECTING", "CertificateRefused", "ConnectFailed", "ConnectTimeout",
           "ConnectionClosed", "Disconnected", "HandshakeFailed", "InvalidData", "InvalidSetting",
           "NotConnected", "OPEN", "ProxyFailed", "PushClient", "PushError", "Refused",
           "TlsFailed", "UnknownHost", "WAITING", "WebSocketClient"]
