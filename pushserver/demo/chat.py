"""A chat room: everyone sees the lines in the same order, and latecomers see the last ones.

The room is a channel. Its rule, in ``cli.py``, makes it remember the last lines and who is there.
The clients ask for these themselves, and get what they missed when they reconnect.
"""
from __future__ import annotations

from time import time
from typing import Any

import cherrypy

from .. import CentrifugeConnection, CommandError
from .messages import BadMessage, check_text
from .pages import page

CHANNEL = "chat"
BAD_MESSAGE = 400  # the first error number that a site may use


class Chatter(CentrifugeConnection):
    """One window; its Id is the name."""

    needs_id = True

    def rpc(self, method: str, data: Any) -> Any:
        """Say ``{"text": ...}`` in the room, or answer with what is wrong with it."""
        if method != "say":
            return super().rpc(method, data)
        text = data.get("text") if isinstance(data, dict) else None
        try:
            check_text("text", text)
        except BadMessage as error:
            raise CommandError(BAD_MESSAGE, str(error)) from None
        line = {"name": self.Id, "time": time(), "text": text}
        return {"offset": self.server.publish(CHANNEL, line).offset}


class Chat:
    """``/chat/`` is the page, and it connects to ``/chat/socket?Id=NAME``."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the name from its own URL."""
        return page("chat")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(protocol="centrifuge",  # type: ignore[untyped-decorator]
                         handler_cls=Chatter)
    def socket(self, Id: str) -> None:
        """Let everyone in."""
