"""The exceptions that pushserver raises.

All have one root, and those that stand for a wrong argument are also the builtin
exception that a caller would expect::

    PushError
    +-- InvalidSetting      (ValueError)    a setting has a value that cannot work
    +-- InvalidData         (TypeError)     what was given cannot be put into a message
    +-- MessageTooLarge     (ValueError)    the message has more bytes than max_outbox
    +-- ConnectionClosed    (RuntimeError)  the connection no longer takes messages
    +-- HandshakeRefused                    the answer to a request that is not upgraded
"""
from __future__ import annotations

from typing import Mapping


class PushError(Exception):
    """The root of every exception of this package."""


class InvalidSetting(PushError, ValueError):
    """Say that a setting or an argument has a value that cannot work, and which would."""


class InvalidData(PushError, TypeError):
    """Say that data is neither text, bytes nor anything that JSON can hold."""


class MessageTooLarge(PushError, ValueError):
    """Say that one message is larger than an outbox may ever be; nobody was sent anything."""


class ConnectionClosed(PushError, RuntimeError):
    """Say that a message was sent on a connection that is closing or closed.

    It is a ``RuntimeError`` because that is what ws4py raises in this place.
    """


class HandshakeRefused(PushError):
    """Carry the HTTP answer to a request that does not become a connection.

    Args:
        status: the HTTP status, 400 to 599.
        message: one line that says what the client has to change.
        headers: further response headers.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
