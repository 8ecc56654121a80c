"""The exceptions that pushclient raises, all under ``pushserver.errors.PushError``.

Each message is one line that names the cause::

    PushError
    +-- InvalidSetting      (ValueError)      an argument has a value that cannot work
    +-- InvalidData         (TypeError)       this cannot be sent as a message
    +-- ConnectionClosed    (RuntimeError)    the connection takes no messages
    |   +-- Disconnected                      how an open connection ended: code and reason
    |   +-- NotConnected                      no connection was open in time; nothing was sent
    |   +-- QueueFull                         messages that nobody takes block the answer
    +-- CommandFailed       (RuntimeError)    the server answered with an error: code, temporary
    |   +-- ChannelLost                       it refused a channel, or took the client out of it
    +-- ConnectFailed       (OSError)         no connection was made
        +-- UnknownHost                       the name has no address
        +-- ConnectTimeout  (TimeoutError)    a step of connecting took longer than ``timeout``
        +-- TlsFailed                         no TLS with this server
        |   +-- CertificateRefused            its certificate cannot be trusted
        +-- ProxyFailed                       the proxy made no tunnel
        +-- CredentialsFailed                 the function for headers or the token failed
        +-- HandshakeFailed (ws4py's HandshakeError)   the response is not a WebSocket server's
            +-- Refused                       an HTTP status other than 101: status, retry_after
"""
from __future__ import annotations

from pushserver.errors import ConnectionClosed, InvalidData, InvalidSetting, PushError
from pushserver.wire.disconnects import Disconnect, is_final
from ws4py.exc import HandshakeError

__all__ = ["CertificateRefused", "ChannelLost", "CommandFailed", "ConnectFailed", "ConnectTimeout",
           "ConnectionClosed", "CredentialsFailed", "Disconnected", "HandshakeFailed",
           "InvalidData", "InvalidSetting", "NotConnected", "ProxyFailed", "PushError",
           "QueueFull", "Refused", "TlsFailed", "UnknownHost"]

TRY_AGAIN = frozenset({408, 425, 429})
"""The 4xx statuses that may be others at another time."""

FIRST_CLIENT_ERROR = 400
FIRST_SERVER_ERROR = 500


class Disconnected(ConnectionClosed):
    """Tell how an open connection ended.

    Attributes:
        code: the close code; 1006: the connection was lost without one.
        reason: the server's words, or ours if it gave none.
    """

    def __init__(self, disconnect: Disconnect) -> None:
        self.code, self.reason = disconnect
        super().__init__(f"connection closed with {self.code}"
                         + (f": {self.reason}" if self.reason else ""))

    @property
    def is_final(self) -> bool:
        """Tell whether the client should not come back."""
        return is_final(self.code)


class NotConnected(ConnectionClosed):
    """Say that no connection was open in time: nothing was sent."""


class QueueFull(ConnectionClosed):
    """Say that the queue is full of messages that nobody takes, so the answer cannot be read."""


class CommandFailed(PushError, RuntimeError):
    """Carry the error with which the server answered a command.

    Attributes:
        code: the error's number; 0: the answer does not belong to the protocol.
        temporary: whether trying again may help.
    """

    def __init__(self, code: int, message: str, temporary: bool = False) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.temporary = temporary


class ChannelLost(CommandFailed):
    """Say which channel the server refused, or took the client out of, and why.

    Attributes:
        channel: its name.
    """

    def __init__(self, channel: str, code: int, message: str) -> None:
        super().__init__(code, f"{message}: channel {channel!r}")
        self.channel = channel


class ConnectFailed(PushError, OSError):
    """Say why no connection was made.

    Attributes:
        is_final: whether trying again cannot help.
        is_lasting: whether it can help only at an address that has worked before.
        retry_after: seconds that the server asked to wait; 0: it did not.
    """

    is_final = False
    is_lasting = False
    retry_after = 0.0


class CredentialsFailed(ConnectFailed):
    """Say that the function that returns headers or the token failed; the next attempt calls it."""


class UnknownHost(ConnectFailed):
    """Say that the name has no address."""


class ConnectTimeout(ConnectFailed, TimeoutError):
    """Say which step of connecting took longer than ``timeout``."""


class TlsFailed(ConnectFailed):
    """Say that no TLS connection could be made."""


class CertificateRefused(TlsFailed):
    """Say why the server's certificate cannot be trusted."""

    is_lasting = True


class ProxyFailed(ConnectFailed):
    """Say why the proxy made no tunnel.

    Args:
        status: the proxy's HTTP status; 0: it gave none.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.is_final = _is_final_status(status)


class HandshakeFailed(ConnectFailed, HandshakeError):  # type: ignore[misc]
    """Say why the response is not a WebSocket server's."""

    is_lasting = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.msg = message


class Refused(HandshakeFailed):
    """Carry an HTTP response that makes no connection.

    Args:
        status: the HTTP status, other than 101.
        message: one line: the status, its name and what the server said.
        retry_after: seconds to wait before the next attempt.
    """

    def __init__(self, status: int, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.is_final = _is_final_status(status)
        self.is_lasting = status < FIRST_CLIENT_ERROR


def _is_final_status(status: int) -> bool:
    return FIRST_CLIENT_ERROR <= status < FIRST_SERVER_ERROR and status not in TRY_AGAIN
