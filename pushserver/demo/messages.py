"""Read what a client sent, which may be anything."""
from __future__ import annotations

import json
from typing import Any

MAX_TEXT = 1000
"""Most characters of one field."""


class BadMessage(ValueError):
    """A message is not acceptable; one line tells its sender what is wrong."""


def read(message: Any, *names: str) -> dict[str, Any]:
    """Return the JSON object in a message, whose named fields are text that can be shown.

    Raises:
        BadMessage: it is anything else.
    """
    try:
        found = json.loads(message.data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadMessage(f"send a JSON object with {' and '.join(names)}")
    for name in names:
        check_text(name, found.get(name))
    return found


def check_text(name: str, text: object) -> None:
    """Check that one field is text, and not blank or too long.

    Raises:
        BadMessage: it is not.
    """
    if not isinstance(text, str) or not text.strip():
        raise BadMessage(f"{name} is missing: send some text")
    if len(text) > MAX_TEXT:
        raise BadMessage(f"{name} has {len(text)} characters: send at most {MAX_TEXT}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadMessage(f"{name} has half of a surrogate pair: send both halves")
