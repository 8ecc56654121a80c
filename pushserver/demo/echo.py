"""What is sent comes back; a page that asks for it is shown both headers of its handshake."""
from __future__ import annotations

from typing import Any

import cherrypy

from .. import Connection
from .pages import page


MOST_LINES = 50
MOST_CHARACTERS = 500
"""How much of a header is shown."""


class Echo(Connection):
    """Send each message back as it came."""

    def opened(self) -> None:
        """Show the handshake to who has asked for it, before anything else."""
        if "handshake" in self.data:
            self.send(self.data["handshake"])

    def received_message(self, message: Any) -> None:
        """Send it back, as text or as binary."""
        self.send(message.data, message.is_binary)


def keep_handshake() -> None:
    """Keep both headers, when the answer is complete; CherryPy calls this."""
    request, response = cherrypy.request, cherrypy.response
    asked = [f"{name.title()}: {value}" for name, value in request.header_list
             if name != "Remote-Addr"]  # which comes from the socket
    answered = [(name + b": " + value).decode("latin-1") for name, value in response.header_list]
    request.push_data["handshake"] = {
        "request": short([request.request_line, *asked]),
        "response": short([f"HTTP/1.1 {response.output_status.decode('latin-1')}", *answered])}


def short(lines: list[str]) -> list[str]:
    """Return of a client's lines no more than fits any message."""
    return [line[:MOST_CHARACTERS] for line in lines[:MOST_LINES]]


class EchoPage:
    """``/echo`` is the page and ``/echo?Id=...`` its WebSocket: one address for both."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.config(**{"tools.trailing_slash.on": False})  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Echo, optional=True)  # type: ignore[untyped-decorator]
    def index(self, Id: str = "", handshake: str = "", **_: str) -> bytes:
        """Return the page, or let everybody in when it is a handshake.

        Args:
            Id: who connects.
            handshake: anything: show both headers in the first message.
        """
        if handshake:
            cherrypy.request.hooks.attach("on_end_resource", keep_handshake, priority=99)
        return page("echo")
