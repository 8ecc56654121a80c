"""The time, pushed to every page and program that asks for it."""
from __future__ import annotations

from datetime import datetime, timezone

import cherrypy
from cherrypy.lib.static import serve_file

from .. import PushPlugin, Ticker
from ..assets import browser_dir

CHANNEL = "time"


def now() -> str:
    """Return the time in UTC as ISO 8601, with microseconds and offset."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


class Clock:
    """``/`` is the page, ``/websocket?Id=...`` what it connects to."""

    def start_clock(self, push: PushPlugin, interval: float) -> Ticker:
        """Push the time every ``interval`` seconds, on whole ones."""
        return push.every(interval, now, channel=CHANNEL)

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, Id: str = "") -> object:
        """Serve the page, which reads the Id from its own URL."""
        return serve_file(str(browser_dir() / "clock.html"), "text/html;charset=utf-8")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(channels=[CHANNEL])  # type: ignore[untyped-decorator]
    def websocket(self, Id: str) -> None:
        """Let everybody in."""
