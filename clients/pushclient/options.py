"""The options of both clients: defaults and checks. Pure."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping, Union

from .errors import InvalidSetting

TIMEOUT = 10.0
"""Seconds for each step of connecting, and for a write to make progress."""

CLOSE_TIMEOUT = 5.0
"""Seconds that the server has to answer a close frame."""

PING_INTERVAL = 25.0
"""Seconds without traffic after which the server is pinged."""

PONG_TIMEOUT = 10.0
"""Seconds that it has to answer; any traffic counts."""

MAX_MESSAGE_SIZE = 1024 * 1024
"""Bytes of one inbound message: the largest that pushserver sends by default."""

MAX_QUEUE = 1024
"""Messages received and not yet iterated over, before the client stops reading."""

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]
"""Further request headers: a mapping, or pairs, in which a name may occur twice."""

HeadersOption = Union[Headers, Callable[[], Union[Headers, None]], None]
"""Headers, or a function that returns some, called for each connection."""


@dataclass(frozen=True)
class ConnectionOptions:
    """Hold the options of each connection of a client. They are checked at once.

    Attributes:
        timeout: seconds for each step of connecting, and for a write to make progress.
        close_timeout: seconds that the server has to answer a close frame.
        ping_interval: seconds without traffic after which the server is pinged. 0: never.
        pong_timeout: seconds that it has to answer; any traffic counts.
        max_message_size: bytes of one inbound message; a larger one ends the connection with 1009.

    Raises:
        InvalidSetting: a value cannot work.
    """

    timeout: float = TIMEOUT
    close_timeout: float = CLOSE_TIMEOUT
    ping_interval: float = PING_INTERVAL
    pong_timeout: float = PONG_TIMEOUT
    max_message_size: int = MAX_MESSAGE_SIZE

    def __post_init__(self) -> None:
        for name in ("timeout", "close_timeout", "pong_timeout"):
            check_seconds(name, getattr(self, name))
        check_seconds("ping_interval", self.ping_interval, zero=True)
        check_count("max_message_size", self.max_message_size)


def check_seconds(name: str, value: float, *, zero: bool = False) -> float:
    """Return a number of seconds, if it can work.

    Args:
        name: the argument's.
        value: seconds.
        zero: whether 0 is allowed.

    Raises:
        InvalidSetting: it is not a finite number, or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSetting(f"{name} is {value!r}: use a number of seconds")
    if not math.isfinite(value) or value < 0 or value == 0 and not zero:
        raise InvalidSetting(f"{name} is {value!r}: use {'0 or more' if zero else 'more than 0'}")
    return value


def check_count(name: str, value: int) -> int:
    """Return a whole number, if it is 1 or more.

    Raises:
        InvalidSetting: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidSetting(f"{name} is {value!r}: use a whole number, 1 or more")
    return value


def header_pairs(headers: Headers | None) -> list[tuple[str, str]]:
    """Return headers as pairs, in whichever form they were given.

    Raises:
        InvalidSetting: they are in none of these forms.
    """
    try:
        return [(name, value) for name, value in
                (headers.items() if isinstance(headers, Mapping) else headers or ())]
    except (TypeError, ValueError):
        raise InvalidSetting("headers: use a mapping, or pairs of a name and a value") from None
