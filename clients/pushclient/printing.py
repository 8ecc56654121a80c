"""Messages as lines of output. Pure, but reads the clock."""
from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from datetime import datetime
from typing import Any

from .centrifuge.events import Publication
from .inbox import Value

EARLIEST = 946_684_800.0
"""The year 2000 in seconds since 1970: smaller numbers are not taken for a time."""

LATEST = 4_102_444_800.0
"""The year 2100: the same holds for larger ones."""

MILLISECONDS = 1000.0

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = {"\n": "\\n", "\r": "\\r"}


def as_line(message: Value) -> str:
    """Return a message as one line, with its line breaks and terminal codes as escapes."""
    if isinstance(message, Publication):
        message = f"{message.channel}: {_text(message.data)}" if message.channel \
            else _text(message.data)
    if isinstance(message, bytes):
        message = message.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(_escaped, message)


def as_json(message: Value, now: float | None = None) -> str:
    """Return a message as a JSON object.

    Args:
        message: text is kept as it is, bytes become base64 with ``"binary": true``.
        now: when it came, in seconds since 1970; None: now.
    """
    now = time.time() if now is None else now
    if isinstance(message, Publication):
        return json.dumps({"time": now, "channel": message.channel, "offset": message.offset,
                           "data": message.data}, ensure_ascii=False)
    if isinstance(message, bytes):
        return json.dumps({"time": now, "data": b64encode(message).decode("ascii"),
                           "binary": True})
    fields: dict[str, Any] = {"time": now, "data": message}
    sent = sent_at(message)
    if sent is not None:
        fields["latency"] = round(now - sent, 6)
    return json.dumps(fields, ensure_ascii=False)


def _text(data: Any) -> str:
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def sent_at(text: str) -> float | None:
    """Return the time that a message gives, in seconds since 1970; None if it gives none.

    Args:
        text: a time is seconds or milliseconds since 1970, an ISO 8601 date and time, or a JSON
            object with one of these as ``"time"``.
    """
    value: Any = text.strip()
    if value.startswith("{"):
        try:
            value = json.loads(value).get("time")
        except (ValueError, RecursionError):
            return None
    return _number(value) or _date(value)


def _number(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    if seconds > LATEST:
        seconds /= MILLISECONDS
    return seconds if EARLIEST <= seconds <= LATEST else None


def _date(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError, OverflowError):
        return None


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return _NAMED.get(character) or character.encode("unicode_escape").decode("ascii")
