"""What is sent comes back; a page that asks for it is shown both headers of its handshake."""
from __future__ import annotations

from typing import Any

import cherrypy

from .. import Connection
from .pages import page


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
    """Keep both headers, when the answer is complete."""
    request, response = cherrypy.request, cherrypy.response
    request.push_data["handshake"] = {
        "request": [request.request_line, *(f"{name.title()}: {value}" for name, value
                                            in request.header_list if name != "Remote-Addr")],
        "response": [f"HTTP/1.1 {response.output_status.decode('latin-1')}",
                     *((name + b": " + value).decode("latin-1")
                       for name, value in response.header_list)]}


class EchoPage:
    """``/echo`` is the page and ``/echo?Id=...`` its WebSocket: one address for both."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.config(**{"tools.trailing_slash.on": False})  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(handler_cls=Echo, optional=True)  # type: ignore[untyped-decorator]
    def index(self, Id: str = "", handshake: str = "") -> bytes:
        """Return the page, or let everybody in when it is a handshake.

        Args:
            Id: who connects.
            handshake: anything: show both headers in the first message.
        """
        if handshake:
            cherrypy.request.hooks.attach("on_end_resource", keep_handshake, priority=99)
        return page("echo")
