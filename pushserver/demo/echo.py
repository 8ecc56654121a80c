"""What is sent comes back."""
from __future__ import annotations

from typing import Any

import cherrypy

from .. import Connection


class Echo(Connection):
    """Send each message back as it came."""

    def received_message(self, message: Any) -> None:
        """Send it back, as text or as binary."""
        self.send(message.data, message.is_binary)


class EchoPage:
    """``/echo?Id=...`` is the address."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Echo)  # type: ignore[untyped-decorator]
    def echo(self, Id: str) -> None:
        """Let everybody in."""
