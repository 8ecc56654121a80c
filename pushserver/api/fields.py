"""The fields of a request, checked one by one; each refusal is a line that says what to change."""
from __future__ import annotations

import base64
import binascii
from typing import Any, Iterable, Mapping

from ..centrifuge.json_codec import MAX_OFFSET
from ..channels.publication import Position
from ..channels.rules import MAX_CHANNEL
from ..errors import PushError

MAX_NUMBER = (1 << 63) - 1


class BadField(PushError, ValueError):
    """A field is not acceptable; the message says why, and what would be."""


class Fields:
    """Read the fields of one request. A field that is null counts as absent.

    Args:
        request: the decoded JSON.

    Raises:
        BadField: it is not an object.
    """

    def __init__(self, request: Any) -> None:
        if not isinstance(request, dict):
            raise BadField(f"the request is {_kind(request)}: send an object")
        self._found = {name: value for name, value in request.items() if value is not None}

    def expect(self, known: Iterable[str], unsupported: Iterable[str] = ()) -> None:
        """Refuse fields that would be ignored.

        Args:
            known: the names that are read.
            unsupported: names that Centrifugo has; allowed while empty, because they then change
                nothing.

        Raises:
            BadField: there is any other field.
        """
        known = tuple(known)
        for name, value in self._found.items():
            if name in known or name in unsupported and not value:
                continue
            if name in unsupported:
                raise BadField(f"{name} is not supported here: leave it out")
            raise BadField(f"there is no field {_shown(name)}: use {', '.join(known) or 'none'}")

    def has(self, name: str) -> bool:
        """Tell whether a field is present."""
        return name in self._found

    def raw(self, name: str) -> Any:
        """Return a field unchecked, or None."""
        return self._found.get(name)

    def text(self, name: str, *, needed: bool = False) -> str:
        """Return text, empty if absent."""
        value = self._take(name, str, "text", "")
        if needed and not value:
            raise BadField(f"{name} is missing: send it")
        return _utf8(name, value)

    def flag(self, name: str) -> bool:
        """Return true or false, false if absent."""
        value: bool = self._take(name, bool, "true or false", False)
        return value

    def whole(self, name: str, least: int = 0, most: int = MAX_NUMBER) -> int:
        """Return a whole number, 0 if absent."""
        value: int = self._take(name, int, "a whole number", 0)
        if isinstance(value, bool) or not least <= value <= most:
            raise BadField(f"{name} is {_shown(value)}: use a whole number from {least} to {most}")
        return value

    def channel(self) -> str:
        """Return the channel that the request is about."""
        return checked_channel_field(self.text("channel", needed=True))

    def texts(self, name: str) -> list[str]:
        """Return a list of text, empty if absent."""
        value: list[str] = self._take(name, list, "a list of text", [])
        if not all(isinstance(one, str) for one in value):
            raise BadField(f"{name} has an item that is not text: use a list of text")
        return [_utf8(name, one) for one in value]

    def tags(self) -> Mapping[str, str]:
        """Return the names and values that go with a publication."""
        value: dict[str, str] = self._take("tags", dict, "an object with text values", {})
        if not all(isinstance(one, str) for one in value.values()):
            raise BadField("tags has a value that is not text: use an object with text values")
        for item in value.items():
            _utf8("tags", "".join(item))
        return value

    def inner(self, name: str) -> "Fields | None":
        """Return an object inside the request, None if absent."""
        return Fields(self._take(name, dict, "an object", None)) if self.has(name) else None

    def position(self, name: str) -> Position | None:
        """Return a position in a history, None if absent."""
        inner = self.inner(name)
        if inner is None:
            return None
        inner.expect(("offset", "epoch"))
        return Position(inner.whole("offset", most=MAX_OFFSET), inner.text("epoch"))

    def data(self, name: str = "data", coded: str = "b64data") -> Any:
        """Return the data to pass on, as sent or decoded from base64; None if absent."""
        given: str = self._take(coded, str, "base64 text", "")
        if not given:
            return self.raw(name)
        if self.has(name):
            raise BadField(f"{name} and {coded} are both given: use one")
        try:
            return base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise BadField(f"{coded} is not base64: encode the bytes in base64") from None

    def _take(self, name: str, kind: type, wanted: str, missing: Any) -> Any:
        value = self._found.get(name)
        if value is None:
            return missing
        if not isinstance(value, kind):
            raise BadField(f"{name} is {_kind(value)}: use {wanted}")
        return value


def checked_channel_field(channel: str) -> str:
    """Return a channel's name.

    Raises:
        BadField: it is too long or empty.
    """
    if not 0 < len(channel) <= MAX_CHANNEL:
        raise BadField(f"a channel's name has {len(channel)} characters: use 1 to {MAX_CHANNEL}")
    return channel


_KINDS = ((bool, "true or false"), (str, "text"), ((int, float), "a number"), (list, "a list"),
          (dict, "an object"))


def _kind(value: Any) -> str:
    """Return the name of a value's JSON type."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _shown(value: Any) -> str:
    return f"{str(value)!r:.40}" if isinstance(value, str) else f"{value!s:.40}"


def _utf8(name: str, text: str) -> str:
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadField(f"{name} holds half of a surrogate pair: use whole characters") from None
    return text
