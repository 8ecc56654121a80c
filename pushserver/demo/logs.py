"""The server's log, pushed as it is written."""
from __future__ import annotations

import logging
import threading
from collections import deque

from .. import Connection, PushPlugin

CHANNEL = "log"

KEPT = 100
"""Records kept to show to a newcomer."""

MAX_LINE = 1000
"""Characters shown of one record, so that all that are kept fit into one message."""


class LogPush(logging.Handler):
    """Push what is logged to a channel, in the order in which it was logged.

    What pushing itself logs on the same thread is left out, to avoid an endless loop.

    Args:
        push: the plugin.
    """

    def __init__(self, push: PushPlugin) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._push = push
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._pushing = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record and push it; ``logging`` calls this while it holds the handler's lock."""
        if getattr(self._pushing, "now", False):
            return
        self._pushing.now = True
        try:
            line = self.format(record)[:MAX_LINE].encode("utf-8", "replace").decode("utf-8")
            self._kept.append(line)
            self._push.publish(CHANNEL, {"log": [line]})
        except Exception:  # as every handler does: logging must not break what it reports on
            self.handleError(record)
        finally:
            self._pushing.now = False

    def show(self, connection: Connection) -> None:
        """Send what is kept, then everything that follows, without a gap or a repetition."""
        self.acquire()
        try:
            connection.send({"log": list(self._kept)})
            connection.subscribe(CHANNEL)
        finally:
            self.release()
