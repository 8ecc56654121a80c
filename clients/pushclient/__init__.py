"""A client for WebSocket pushes that stays connected, on a thread of its own."""
from __future__ import annotations

from .centrifuge.events import Gap, Presence, Publication
from .client import PushClient
from .errors import (CertificateRefused, ChannelLost, CommandFailed, ConnectFailed,
                     ConnectionClosed, ConnectTimeout, CredentialsFailed, Disconnected,
                     HandshakeFailed, InvalidData, InvalidSetting, NotConnected, ProxyFailed,
                     PushError, QueueFull, Refused, TlsFailed, UnknownHost)
from .reconnect import CLOSED, CONNECTING, OPEN, WAITING
from .websocket.client import WebSocketClient

__all__ = ["CLOSED", "CONNECTING", "CertificateRefused", "ChannelLost", "CommandFailed",
           "ConnectFailed", "ConnectTimeout", "ConnectionClosed", "CredentialsFailed",
           "Disconnected", "Gap", "HandshakeFailed", "InvalidData", "InvalidSetting",
           "NotConnected", "OPEN", "Presence", "ProxyFailed", "Publication", "PushClient",
           "PushError", "QueueFull", "Refused", "TlsFailed", "UnknownHost", "WAITING",
           "WebSocketClient"]
