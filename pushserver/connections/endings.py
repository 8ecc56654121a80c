"""What the site has ended lately, for requests that have yet to become connections."""
from __future__ import annotations

import threading
from typing import Iterator

from ..channels.control import ControlCommand


class Moment:
    """A place in the order of what the site has ended; keeps only what came after it."""

    __slots__ = ("_command", "_next")

    def __init__(self, command: ControlCommand | None = None) -> None:
        self._command = command
        self._next: Moment | None = None

    def since(self) -> Iterator[ControlCommand]:
        """Yield the commands that came after it, including those that come meanwhile."""
        moment = self._next
        while moment is not None:
            assert moment._command is not None
            yield moment._command
            moment = moment._next


class Endings:
    """Note commands that end rights. Any thread may call it.

    A handshake keeps the moment at which it began, and so what came after it; nothing else does.

    Attributes:
        now: the present moment.
    """

    def __init__(self) -> None:
        self.now = Moment()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<Endings>"

    def add(self, command: ControlCommand) -> None:
        """Note a command, before it is carried out."""
        moment = Moment(command)
        with self._lock:
            self.now._next = moment
            self.now = moment
