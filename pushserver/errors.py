"""The exceptions that pushserver raises.

All have one root. Where a caller would expect a builtin exception, they are that too::

    PushError
    +-- InvalidSetting      (ValueError)    a setting or argument has a value that cannot work
    +-- InvalidData         (TypeError)     the data cannot be encoded as a message
    +-- MessageTooLarge     (ValueError)    the message has more bytes than max_outbox
    +-- ConnectionClosed    (RuntimeError)  the connection no longer takes messages
    +-- Overloaded          (RuntimeError)  clients read more slowly than the site publishes
    +-- ForkedProcess       (RuntimeError)  another process, which forked this one, has the clients
    +-- HandshakeRefused                    the answer to a request that is not upgraded
"""
from __future__ import annotations

from typing import Mapping


class PushError(Exception):
    """The root of every exception of this package."""


class InvalidSetting(PushError, ValueError):
    """A setting or argument has a value that cannot work; the message says which would."""


class InvalidData(PushError, TypeError):
    """The data is not text, bytes or anything that JSON can hold."""


class MessageTooLarge(PushError, ValueError):
    """The message is larger than an outbox may ever be; nothing was sent."""


class ConnectionClosed(PushError, RuntimeError):
    """A message was sent on a connection that is closing or closed.

    It is a ``RuntimeError`` because ws4py raises one in this case.
    """


class Overloaded(PushError, RuntimeError):
    """Clients had no room for a message within ``publish_timeout``; nothing was sent."""


class ForkedProcess(PushError, RuntimeError):
    """A process that was forked from the one with the connections tried to push.

    Push through the HTTP API (``PushAPI``) of the process that has them, as any other program does.
    """


class HandshakeRefused(PushError):
    """The HTTP answer to a request that does not become a connection.

    Args:
        status: the HTTP status, 400 to 599.
        message: one line that says what the client should change.
        headers: further response headers.
        detail: what only the site's log tells.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None, *,
                 detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.detail = detail
