"""Whatever is sent comes back; a page can also ask to see the headers of its handshake."""
from __future__ import annotations

from typing import Any

import cherrypy

from .. import Connection
from .pages import page


MAX_LINES = 50
MAX_CHARACTERS = 500
"""How many header lines are shown, and how much of each."""


class Echo(Connection):
    """Send each message back as it came."""

    def opened(self) -> None:
        """Show the handshake to a page that asked for it, before anything else."""
        if "handshake" in self.data:
            self.send(self.data["handshake"])

    def received_message(self, message: Any) -> None:
        """Send it back, as text or as binary."""
        self.send(message.data, message.is_binary)


def keep_handshake() -> None:
    """Keep the headers of request and response; CherryPy calls this when both are complete."""
    request, response = cherrypy.request, cherrypy.response
    asked = [f"{name.title()}: {value}" for name, value in request.header_list
             if name != "Remote-Addr"]  # which comes from the socket
    answered = [(name + b": " + value).decode("latin-1") for name, value in response.header_list]
    request.push_data["handshake"] = {
        "request": short([request.request_line, *asked]),
        "response": short([f"HTTP/1.1 {response.output_status.decode('latin-1')}", *answered])}


def short(lines: list[str]) -> list[str]:
    """Cut lines that a client sent so that they fit into one message."""
    return [line[:MAX_CHARACTERS] for line in lines[:MAX_LINES]]


class EchoPage:
    """``/echo`` is the page and ``/echo?Id=...`` its WebSocket: one path for both."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.config(**{"tools.trailing_slash.on": False})  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Echo, optional=True)  # type: ignore[untyped-decorator]
    def index(self, Id: str = "", handshake: str = "", **_: str) -> bytes:
        """Return the page, or let everyone in if the request is a handshake.

        Args:
            Id: who connects.
            handshake: if not empty, send both headers as the first message.
        """
        if handshake:
            cherrypy.request.hooks.attach("on_end_request", keep_handshake, priority=99)
        return page("echo")
