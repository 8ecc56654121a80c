"""A room: all see what is said in one order, and who comes later sees the last of it."""
from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from time import time
from typing import Any
from uuid import uuid4

import cherrypy

from .. import Connection, PushPlugin
from .messages import Wrong, read
from .pages import page

CHANNEL = "chat"
KEPT = 50  # lines that are shown to who comes later


class Room:
    """Who is here, and the last lines; may be used from any thread.

    What happens under the lock is in one order for all; to publish is to queue, so nobody waits.
    The number of a line and the ``epoch`` of the room tell a page that comes back what it has.
    """

    def __init__(self, push: PushPlugin) -> None:
        self._push = push
        self._lock = Lock()
        self._epoch = uuid4().hex
        self._said = 0
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._windows: Counter[str] = Counter()

    def enter(self, who: Connection) -> None:
        """Let one window in: it gets the last lines, and from then on every line."""
        with self._lock:
            self._windows[who.Id] += 1
            if self._windows[who.Id] == 1:
                self._push.publish(CHANNEL, {"type": "came", "name": who.Id})
            who.send({"type": "history", "epoch": self._epoch, "said": self._said,
                      "lines": list(self._lines), "here": list(self._windows)})
            who.subscribe(CHANNEL)

    def leave(self, who: Connection) -> None:
        """Let one window out; the name is gone with its last."""
        with self._lock:
            self._windows[who.Id] -= 1
            if not self._windows[who.Id]:
                del self._windows[who.Id]
                self._push.publish(CHANNEL, {"type": "left", "name": who.Id})

    def say(self, who: Connection, text: str, *, echo: bool) -> None:
        """Show a line to everybody; without ``echo`` the sender gets its number only."""
        with self._lock:
            self._said += 1
            line = {"type": "said", "n": self._said, "time": time(), "name": who.Id, "text": text}
            self._lines.append(line)
            if not echo:
                who.unsubscribe(CHANNEL)
            self._push.publish(CHANNEL, line)
            if not echo:
                who.subscribe(CHANNEL)
                who.send({"type": "sent", "n": self._said, "time": line["time"]})


class Chatter(Connection):
    """One window; its Id is the name."""

    def opened(self) -> None:
        """Come in."""
        self.data["room"].enter(self)

    def received_message(self, message: Any) -> None:
        """Say ``{"text": ..., "echo": false}``, or answer what is wrong with it."""
        try:
            said = read(message, "text")
            self.data["room"].say(self, said["text"], echo=said.get("echo") is not False)
        except Wrong as error:
            self.send({"type": "error", "text": str(error)})

    def closed(self, code: int, reason: str | None = None) -> None:
        """Go."""
        self.data["room"].leave(self)


class Chat:
    """``/chat/`` is the page, ``/chat/socket?Id=NAME`` what it connects to."""

    def __init__(self, push: PushPlugin) -> None:
        self._room = Room(push)

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the name from its own URL."""
        return page("chat")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Chatter)  # type: ignore[untyped-decorator]
    def socket(self, Id: str) -> None:
        """Let everybody in."""
        cherrypy.request.push_data["room"] = self._room
