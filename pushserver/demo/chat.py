"""A room: all see what is said in one order, and who comes later sees the last of it.

The room is a channel. Its rule, in ``cli.py``, lets it remember the last lines and know who is
there; the clients ask for that themselves, and get what they have missed when they come back.
"""
from __future__ import annotations

from time import time
from typing import Any

import cherrypy

from .. import CentrifugeConnection, CommandError
from .messages import Wrong, check_text
from .pages import page

CHANNEL = "chat"
WRONG = 400  # the first of the error numbers that a site may use


class Chatter(CentrifugeConnection):
    """One window; its Id is the name."""

    needs_id = True

    def rpc(self, method: str, data: Any) -> Any:
        """Say ``{"text": ...}`` in the room, or answer what is wrong with it."""
        if method != "say":
            return super().rpc(method, data)
        text = data.get("text") if isinstance(data, dict) else None
        try:
            check_text("text", text)
        except Wrong as error:
            raise CommandError(WRONG, str(error)) from None
        line = {"name": self.Id, "time": time(), "text": text}
        return {"offset": self.server.publish(CHANNEL, line).offset}


class Chat:
    """``/chat/`` is the page, ``/chat/socket?Id=NAME`` what it connects to."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the name from its own URL."""
        return page("chat")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(protocol="centrifuge",  # type: ignore[untyped-decorator]
                         handler_cls=Chatter)
    def socket(self, Id: str) -> None:
        """Let everybody in."""
