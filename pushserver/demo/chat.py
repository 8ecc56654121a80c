"""A room: all see what is said in one order, and who comes later sees the last of it."""
from __future__ import annotations

from collections import Counter, deque
from itertools import count
from threading import Lock
from time import time
from typing import Any

import cherrypy

from .. import Connection, PushPlugin
from .messages import Wrong, read
from .pages import page

CHANNEL, KEPT = "chat", 50  # so many lines are for who comes later


class Room:
    """Who is here, and the last lines; its lock makes one order of all, and nobody waits there.

    A line's ``n`` and the room's ``epoch`` tell a page that comes back what it has.
    """

    def __init__(self, push: PushPlugin) -> None:
        self._push = push
        self._lock, self._epoch = Lock(), str(time())
        self._numbers = count(1)
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._windows: Counter[str] = Counter()

    def enter(self, who: Connection) -> None:
        """Let one window in: it gets the last lines, and from then on every line."""
        with self._lock:
            if who.Id not in self._windows:
                self._push.publish(CHANNEL, {"type": "came", "name": who.Id})
            self._windows[who.Id] += 1
            lines, here = [*self._lines], [*self._windows]
            who.send({"type": "history", "epoch": self._epoch, "lines": lines, "here": here})
            who.subscribe(CHANNEL)

    def leave(self, who: Connection) -> None:
        """Let one window out; the name is gone with its last."""
        with self._lock:
            self._windows[who.Id] -= 1
            if not self._windows[who.Id]:
                del self._windows[who.Id]
                self._push.publish(CHANNEL, {"type": "left", "name": who.Id})

    def say(self, who: Connection, text: str, *, echo: bool) -> None:
        """Show a line to all; without ``echo`` the sender's window gets its number only."""
        with self._lock:
            n, now = next(self._numbers), time()
            line = {"type": "said", "n": n, "time": now, "name": who.Id, "text": text}
            self._lines.append(line)
            if echo:
                return self._push.publish(CHANNEL, line)
            who.unsubscribe(CHANNEL)
            self._push.publish(CHANNEL, line)
            who.send({"type": "sent", "n": n, "time": now})
            who.subscribe(CHANNEL)


class Chatter(Connection):
    """One window; its Id is the name."""

    def opened(self) -> None:
        """Come in."""
        self.data["room"].enter(self)

    def received_message(self, message: Any) -> None:
        """Say ``{"text": ..., "echo": false}``, or answer what is wrong with it."""
        try:
            line = read(message, "text")
            self.data["room"].say(self, line["text"], echo=line.get("echo", True))
        except Wrong as error:
            self.send({"type": "error", "text": str(error)})

    def closed(self, code: int, reason: str | None = None) -> None:
        """Go out."""
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
