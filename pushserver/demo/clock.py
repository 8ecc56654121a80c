"""The time, pushed to every page and program that connects."""
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
    """Receive the time, and with ``count=`` in the handshake the number of connections."""

    def opened(self) -> None:
        """Subscribe to the count if the client asked for it."""
        if self.data["count"]:
            self.subscribe(COUNT)


class ClockPage:
    """``/`` is the page, and it connects to ``/websocket?Id=...``.

    Args:
        push: the plugin.
        interval: seconds between pushes of the time.
    """

    def __init__(self, push: PushPlugin, interval: float) -> None:
        self._push = push
        self._counting = threading.Lock()
        push.every(interval, now, channel=TIME)
        push.bus.subscribe("push-opened", self.count)
        push.bus.subscribe("push-closed", self.count)

    def count(self, *_: object) -> None:
        """Publish how many are connected, each time the number changes."""
        with self._counting:  # so that the last number published is the last one counted
            self._push.publish(COUNT, {"connected": len(self._push)})

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the Id from its own URL."""
        return page("clock")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Visitor, channels=[TIME])  # type: ignore[untyped-decorator]
    def websocket(self, Id: str, count: str = "") -> None:
        """Let everyone in."""
        cherrypy.request.push_data["count"] = count
