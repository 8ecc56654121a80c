"""The client's commands, numbered, and which of them the protocol has sent itself. No I/O."""
from __future__ import annotations

from typing import Any

from pushserver.wire.payloads import encode_json

Json = dict[str, Any]


class SentCommands:
    """Number all commands of a client; a number is used once over all its connections.

    Not safe for several threads: the protocol's lock guards it.
    """

    def __init__(self) -> None:
        self._number = 0
        self._ours: dict[int, tuple[str, str]] = {}

    def encode(self, name: str, request: Json) -> tuple[int, str]:
        """Return a command's number and its text.

        Raises:
            InvalidData: JSON cannot hold it.
        """
        self._number += 1
        return self._number, encode_json({"id": self._number, name: request}).decode("utf-8")

    def ask(self, name: str, request: Json, channel: str = "") -> tuple[int, str]:
        """Encode a command of the protocol's own, whose reply ``take`` will tell."""
        number, text = self.encode(name, request)
        self._ours[number] = name, channel
        return number, text

    def take(self, number: int) -> tuple[str, str]:
        """Return the name and the channel of our command; both empty: the application's."""
        return self._ours.pop(number, ("", ""))

    def forget(self) -> None:
        """Expect no replies: the connection is another one."""
        self._ours.clear()
