"""Read what a client has sent, which may be anything."""
from __future__ import annotations

import json
from typing import Any

MAX_TEXT = 1000
"""Characters of one field."""


class Wrong(ValueError):
    """Say in one line what is wrong with a message, to the one who sent it."""


def read(message: Any, *names: str) -> dict[str, Any]:
    """Return the JSON object in a message, whose named fields are text that can be shown.

    Raises:
        Wrong: it is something else.
    """
    try:
        found = json.loads(message.data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Wrong(f"send a JSON object with {' and '.join(names)}")
    for name in names:
        check_text(name, found.get(name))
    return found


def check_text(name: str, text: object) -> None:
    """Check that one field is text that says something.

    Raises:
        Wrong: it is not.
    """
    if not isinstance(text, str) or not text.strip():
        raise Wrong(f"{name} is missing: send some text")
    if len(text) > MAX_TEXT:
        raise Wrong(f"{name} has {len(text)} characters: send at most {MAX_TEXT}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Wrong(f"{name} has half of a character: send both")
