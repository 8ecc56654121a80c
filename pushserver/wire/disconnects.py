"""Why a connection ends: close codes with their reasons, as values.

The ranges are Centrifugo's, so a client needs no table to know whether to reconnect: 1000,
3500-3999 and 4500-4999 are final; every other code means reconnect.

Source: RFC 6455 section 7.4; Centrifugo client protocol, disconnect codes.
"""
from __future__ import annotations

from typing import NamedTuple

from ..errors import InvalidSetting

MAX_REASON_BYTES = 123
"""Bytes that a close frame has room for after its code (RFC 6455 section 5.5)."""

_RECEIVABLE = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))


class Disconnect(NamedTuple):
    """A close code and its reason.

    Attributes:
        code: 1000 to 4999.
        reason: at most 123 bytes of UTF-8; may be empty.
    """

    code: int
    reason: str

    @property
    def is_final(self) -> bool:
        """Tell whether a client should stay away after this disconnect."""
        return is_final(self.code)


NORMAL = Disconnect(1000, "")
SHUTTING_DOWN = Disconnect(1001, "shutting down")
NO_STATUS = Disconnect(1005, "")
ABNORMAL = Disconnect(1006, "connection lost")
HANDLER_FAILED = Disconnect(1011, "handler failed")
EXPIRED = Disconnect(3005, "connection expired")
SLOW = Disconnect(3008, "slow: read faster")
SHORT_OF_MEMORY = Disconnect(3008, "slow: the server is short of memory")
NO_PONG = Disconnect(3012, "no pong")
TOO_MUCH = Disconnect(3013, "too many messages: send fewer")
REPLACED = Disconnect(3504, "replaced by a newer connection of this Id")
BY_SITE = Disconnect(3505, "disconnected by the site")


def is_final(code: int) -> bool:
    """Tell whether a close code means that the client should stay away."""
    return code == 1000 or 3500 <= code <= 3999 or 4500 <= code <= 4999


def may_be_received(code: int) -> bool:
    """Tell whether a peer may send this code in a close frame (RFC 6455 section 7.4)."""
    return code in _RECEIVABLE


def checked_disconnect(code: int, reason: str) -> Disconnect:
    """Return a disconnect that can be sent in a close frame.

    Args:
        code: a code that a close frame may carry, so not 1004 to 1006 or 1015.
        reason: at most 123 bytes of UTF-8.

    Raises:
        InvalidSetting: the code or the reason does not qualify.
    """
    if not isinstance(code, int) or not may_be_received(code):
        raise InvalidSetting(f"close code {code!r} cannot be sent: use 1000, 1001 or 3000 to 4999")
    size = len(encoded_reason(reason))
    if size > MAX_REASON_BYTES:
        raise InvalidSetting(f"close reason has {size} bytes: use at most {MAX_REASON_BYTES}")
    return Disconnect(code, reason)


def encoded_reason(reason: str) -> bytes:
    """Return a close reason as UTF-8.

    Raises:
        InvalidSetting: it is not text, or it contains half of a surrogate pair.
    """
    try:
        return reason.encode("utf-8")
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidSetting(f"close reason is not text that UTF-8 can hold: {error}") from None
