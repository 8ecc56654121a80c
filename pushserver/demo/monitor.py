"""Show every second what the machine and the server are doing, and the log as it is written."""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable

import cherrypy

from .. import Connection, PushPlugin, Ticker
from .logs import LogPush
from .measures import INSTALL, Measures
from .pages import page

CHANNEL = "monitor"
INTERVAL = 1.0


class Watcher(Connection):
    """Tell the monitor, which its page handler put into ``data``, that somebody is watching."""

    def opened(self) -> None:
        """Start watching."""
        self.data["monitor"].enter(self)

    def closed(self, code: int, reason: str | None = None) -> None:
        """Stop watching."""
        self.data["monitor"].leave(self)


class Monitor:
    """``/monitor/`` is the page, and it connects to ``/monitor/socket?Id=...``.

    Nothing is measured while nobody is watching.

    Args:
        push: the plugin; the log is kept while its engine runs.
    """

    def __init__(self, push: PushPlugin) -> None:
        self._push = push
        self._lock = threading.Lock()
        self._watchers: set[Connection] = set()
        self._ticker: Ticker | None = None
        self._log = LogPush(push)
        push.bus.subscribe("start", self.start)
        push.bus.subscribe("stop", self.stop)

    def start(self) -> None:
        """Start listening to all loggers."""
        logging.getLogger().addHandler(self._log)

    def stop(self) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self._log)

    def enter(self, watcher: Connection) -> None:
        """Start measuring if this is the first watcher, and show the log."""
        with self._lock:
            self._watchers.add(watcher)
            if not self._ticker and not INSTALL:
                self._ticker = self._push.every(INTERVAL, self._measuring(), CHANNEL)
        if INSTALL:
            watcher.send({"install": INSTALL})
        self._log.show(watcher)

    def leave(self, watcher: Connection) -> None:
        """Stop measuring when the last watcher has left."""
        with self._lock:
            self._watchers.discard(watcher)
            if self._ticker and not self._watchers:
                self._ticker.stop()
                self._ticker = None

    def _measuring(self) -> Callable[[], dict[str, Any]]:
        measures = Measures()
        return lambda: {**measures.take(), "connections": len(self._push)}

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the Id from its own URL."""
        return page("monitor")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Watcher, channels=[CHANNEL])  # type: ignore[untyped-decorator]
    def socket(self, Id: str) -> None:
        """Let everyone in."""
        cherrypy.request.push_data["monitor"] = self
