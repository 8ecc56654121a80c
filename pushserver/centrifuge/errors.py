"""The protocol's errors, which answer a command, and its disconnects, which end a connection.

Source: Centrifugo client protocol, client error codes and disconnect codes.
"""
from __future__ import annotations

from functools import partial

from ..errors import PushError
from ..wire.disconnects import EXPIRED, Disconnect


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


class CloseConnection(PushError):
    """End the connection instead of answering. A site's hooks may raise it."""

    def __init__(self, disconnect: Disconnect) -> None:
        super().__init__(f"{disconnect.code}: {disconnect.reason}")
        self.disconnect = disconnect


internal = partial(CommandError, 100, "internal server error", temporary=True)
"""A failure on the server."""

permission_denied = partial(CommandError, 103, "permission denied")
"""Something the client may not do."""

already_subscribed = partial(CommandError, 105, "already subscribed")
"""A second subscription to one channel."""

limit_exceeded = partial(CommandError, 106, "limit exceeded")
"""Too many channels, or an answer that is too large."""

bad_request = partial(CommandError, 107, "bad request")
"""A command with invalid contents."""

not_available = partial(CommandError, 108, "not available")
"""Something that is not enabled."""

token_expired = partial(CommandError, 109, "token expired")
"""A token that the client must replace."""

unrecoverable = partial(CommandError, 112, "unrecoverable position")
"""A position after which publications are lost."""


__all__ = ["EXPIRED", "CloseConnection", "CommandError"]

INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
TOO_MANY = Disconnect(3013, "too many connections of this user")
INVALID_TOKEN = Disconnect(3500, "invalid token")
NO_TOKEN = Disconnect(3500, "invalid token: none was sent")
NO_TOKENS_HERE = Disconnect(3500, "invalid token: the site accepts none")
MALFORMED = Disconnect(3501, "bad request")
STALE = Disconnect(3502, "stale")
INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
UNSUPPORTED = Disconnect(3508, "not available")

UNSUBSCRIBED_BY_SERVER = 2000, "server unsubscribe"
INSUFFICIENT_STATE_IN_CHANNEL = 2500, "insufficient state"
SUBSCRIPTION_EXPIRED = 2501, "subscription expired"
