"""The protocol's errors, which answer a command, and its disconnects, which end a connection.

Source: Centrifugo client protocol, client error codes and disconnect codes.
"""
from __future__ import annotations

from typing import Any

from ..disconnects import EXPIRED, Disconnect
from ..errors import PushError


class CommandError(PushError):
    """Answer a command with an error. A site's hooks may raise it, with codes from 400 to 1999.

    Args:
        code: the error's number.
        message: one line for the client's developer.
        temporary: trying again may help.
    """

    def __init__(self, code: int, message: str, temporary: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.temporary = temporary

    def as_json(self) -> dict[str, Any]:
        """Return what the client gets."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.temporary:
            found["temporary"] = True
        return found


class CloseConnection(PushError):
    """End the connection instead of answering. A site's hooks may raise it."""

    def __init__(self, disconnect: Disconnect) -> None:
        super().__init__(f"{disconnect.code}: {disconnect.reason}")
        self.disconnect = disconnect


def internal() -> CommandError:
    """Return the error for what failed here."""
    return CommandError(100, "internal server error", temporary=True)


def permission_denied() -> CommandError:
    """Return the error for what a client may not do."""
    return CommandError(103, "permission denied")


def already_subscribed() -> CommandError:
    """Return the error for a second subscription to one channel."""
    return CommandError(105, "already subscribed")


def limit_exceeded() -> CommandError:
    """Return the error for too many channels, or an answer that is too large."""
    return CommandError(106, "limit exceeded")


def bad_request() -> CommandError:
    """Return the error for a command whose contents cannot work."""
    return CommandError(107, "bad request")


def not_available() -> CommandError:
    """Return the error for what is not switched on."""
    return CommandError(108, "not available")


def token_expired() -> CommandError:
    """Return the error for a token that the client has to replace."""
    return CommandError(109, "token expired")


def unrecoverable() -> CommandError:
    """Return the error for a history position whose followers are lost."""
    return CommandError(112, "unrecoverable position")


__all__ = ["EXPIRED", "CloseConnection", "CommandError"]

INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
TOO_MANY = Disconnect(3013, "too many connections of this user")
INVALID_TOKEN = Disconnect(3500, "invalid token")
NO_TOKEN = Disconnect(3500, "invalid token: none was shown")
NO_TOKENS_HERE = Disconnect(3500, "invalid token: the site takes none")
BAD_REQUEST = Disconnect(3501, "bad request")
STALE = Disconnect(3502, "stale")
INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
NOT_AVAILABLE = Disconnect(3508, "not available")

UNSUBSCRIBED_BY_SERVER = 2000, "server unsubscribe"
INSUFFICIENT_STATE_IN_CHANNEL = 2500, "insufficient state"
SUBSCRIPTION_EXPIRED = 2501, "subscription expired"
