"""Write to one person by name; every window open under that name receives the message."""
from __future__ import annotations

from typing import Any

import cherrypy

from .. import Connection, PushPlugin
from .messages import BadMessage, read
from .pages import page

PREFIX = "direct."
"""Starts every Id here, so that the same name on another page of this site receives no letters."""


class Writer(Connection):
    """One window; its Id is the prefix and the name."""

    def received_message(self, message: Any) -> None:
        """Deliver ``{"to": ..., "text": ...}``, or answer with what is wrong with it."""
        try:
            letter = read(message, "to", "text")
        except BadMessage as error:
            self.send({"type": "error", "text": str(error)})
        else:
            self.deliver(letter["to"].strip(), letter["text"])

    def deliver(self, to: str, text: str) -> None:
        """Send a letter to all windows of a name, and a copy to all windows of the sender."""
        push: PushPlugin = self.data["push"]
        receiver = PREFIX + to
        letter = {"type": "letter", "from": self.Id[len(PREFIX):], "to": to, "text": text}
        windows = push.send(receiver, letter)
        if not windows:
            self.send({"type": "absent", "to": to, "text": text})
        elif receiver != self.Id:
            push.send(self.Id, letter | {"windows": windows})


class Direct:
    """``/direct/`` is the page, and it connects to ``/direct/socket?Id=direct.NAME``."""

    def __init__(self, push: PushPlugin) -> None:
        self._push = push

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self, **_: str) -> bytes:
        """Return the page, which reads the name from its own URL."""
        return page("direct")

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Writer)  # type: ignore[untyped-decorator]
    def socket(self, Id: str) -> None:
        """Let in everyone who has a name."""
        if not Id.startswith(PREFIX) or Id.strip() == PREFIX:
            raise cherrypy.HTTPError(400, f"Id must be {PREFIX} and a name")
        cherrypy.request.push_data["push"] = self._push
