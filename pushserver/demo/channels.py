"""The address for any client of Centrifugo's protocol: ``/connection/websocket?Id=...``"""
from __future__ import annotations

import cherrypy


class CentrifugeSocket:
    """The rules for the channels are the plugin's ``channels``, in ``cli.py``."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    @cherrypy.tools.push(protocol="centrifuge")  # type: ignore[untyped-decorator]
    def websocket(self, Id: str) -> None:
        """Let everyone in, under an Id of their choice."""
