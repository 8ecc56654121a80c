"""The time, pushed to every page and program that asks for it."""
from __future__ import annotations

import threading
from datetime import datetime, timezone

import cherrypy

from .. import Connection, PushPlugin
from .pages import page

TIME = "time"
COUNT = "count"


def now() -> str:
    """Return the time in UTC as ISO 8601, with microseconds and offset."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


class Visitor(Connection):
    """Receive the time, and how many are connected if the handshake had ``count=``."""

    def opened(self) -> None:
        """Join the count; programs that only want the time are not told."""
        if self.data["count"]:
            self.subscribe(COUNT)


class ClockPage:
    """``/`` is the page, ``/websocket?Id=...`` what it connects to.

    Args:
        push: the plugin.
        interval: seconds between two pushes of the time.
    """

    def __init__(self, push: PushPlugin, interval: float) -> None:
        self._push = push
        self._counting = threading.Lock()
        push.every(interval, now, channel=TIME)
        push.bus.subscribe("push-opened", self.count)
        push.bus.subscribe("push-closed", self.count)

    def count(self, *_: object) -> None:
        """Tell how many are connected, each time that it changes."""
        with self._counting:  # so that the last to tell has counted last
            self._push.publish(COUNT, {"connected": len(self._push)})

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the Id from its own URL."""
        return page("clock")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Visitor, channels=[TIME])  # type: ignore[untyped-decorator]
    def websocket(self, Id: str, count: str = "") -> None:
        """Let everybody in."""
        cherrypy.request.push_data["count"] = count
