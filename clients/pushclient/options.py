"""What both clients can set: the defaults, and the checks."""
from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Sequence, Union

from pushserver.errors import InvalidSetting

from .websocket import handshake

TIMEOUT = 10.0
"""Seconds for each step of connecting, and for a write to make progress."""

CLOSE_TIMEOUT = 5.0
"""Seconds that the server has to answer a close frame."""

PING_INTERVAL = 25.0
"""Seconds without traffic after which the server is pinged."""

PONG_TIMEOUT = 10.0
"""Seconds that it has to answer; any traffic counts."""

MAX_MESSAGE_SIZE = 1024 * 1024
"""Bytes of one inbound message: pushserver's largest."""

MAX_QUEUE = 1024
"""Messages received and not yet iterated over, before the client stops reading."""

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]
"""Further request headers: a mapping or pairs, where a name may come twice."""


def check_seconds(name: str, value: float, *, zero: bool = False) -> float:
    """Return a length of time that can work.

    Args:
        name: what the argument is called.
        value: seconds.
        zero: whether 0 has a meaning.

    Raises:
        InvalidSetting: it is no finite number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSetting(f"{name} is {value!r}: use a number of seconds")
    if not math.isfinite(value) or value < 0 or value == 0 and not zero:
        raise InvalidSetting(f"{name} is {value!r}: use {'0 or more' if zero else 'more than 0'}")
    return value


def check_count(name: str, value: int) -> int:
    """Return a whole number over 0.

    Raises:
        InvalidSetting: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidSetting(f"{name} is {value!r}: use a whole number, 1 or more")
    return value


def link_options(*, headers: Headers | None, origin: str | None, subprotocols: Sequence[str],
                 ping_interval: float, **rest: Any) -> dict[str, Any]:
    """Return what a client was told, checked and as each of its connections takes it.

    Raises:
        InvalidSetting: a value cannot work.
    """
    pairs = header_pairs(headers)
    if origin is not None:
        pairs.append(("Origin", origin))
    has_origin = any(name.lower() == "origin" for name, _ in pairs)
    for name in ("timeout", "close_timeout", "pong_timeout"):
        check_seconds(name, rest[name])
    check_count("max_message_size", rest["max_message_size"])
    return {"protocols": handshake.check_subprotocols(subprotocols),
            "headers": handshake.check_headers(pairs),
            "exclude_headers": () if has_origin else ("Origin",),
            "heartbeat_freq": check_seconds("ping_interval", ping_interval, zero=True), **rest}


def header_pairs(headers: Headers | None) -> list[tuple[str, str]]:
    """Return headers as pairs, whichever way they were given."""
    if headers is None:
        return []
    return list(headers.items() if isinstance(headers, Mapping) else headers)
