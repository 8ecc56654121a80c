"""The client's commands, numbered, and which of them are the protocol's own. No I/O."""
from __future__ import annotations

from typing import Any

from pushserver.wire.payloads import encode_json

Json = dict[str, Any]


class SentCommands:
    """Number a client's commands; across all its connections, each number is used once.

    Not safe for several threads: the protocol's lock guards it.
    """

    def __init__(self) -> None:
        self._number = 0
        self._ours: dict[int, tuple[str, str]] = {}

    def encode(self, name: str, request: Json) -> tuple[int, str]:
        """Return a command's number and text.

        Raises:
            InvalidData: JSON cannot hold it.
        """
        self._number = number = self._number + 1
        return number, encode_json({"id": number, name: request}).decode("utf-8")

    def ask(self, name: str, request: Json, channel: str = "") -> tuple[int, str]:
        """Encode one of the protocol's own commands; ``take`` recognizes its reply."""
        number, text = self.encode(name, request)
        self._ours[number] = name, channel
        return number, text

    def take(self, number: int) -> tuple[str, str]:
        """Return the name and channel of our own command; both empty: it is the application's."""
        return self._ours.pop(number, ("", ""))

    def forget(self) -> None:
        """Forget the commands of the last connection: no reply will come."""
        self._ours.clear()
