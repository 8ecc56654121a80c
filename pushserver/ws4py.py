"""The names of ws4py's CherryPy side: a site that uses it moves over by changing its imports.

In the place of ``ws4py.server.cherrypyserver`` and ``ws4py.websocket``::

    from pushserver.ws4py import WebSocket, WebSocketPlugin, WebSocketTool
"""
from __future__ import annotations

from typing import Any, Iterator

from ws4py.messaging import Message

from .connections.connection import Connection
from .errors import ConnectionClosed
from .web.plugin import PushPlugin
from .web.tool import PushTool
from .wire.disconnects import SHUTTING_DOWN
from .wire.frames import OPCODE_BINARY
from .wire.payloads import Data, encode_message

_IGNORED = ("extensions", "version")
"""Options of ws4py's tool that mean nothing here."""


class WebSocket(Connection):
    """One client, which needs no Id: see ``pushserver.Connection`` for all that it can do.

    The page handler finds it in ``cherrypy.request.ws_handler``, and may set attributes and keep
    it; messages can be sent once ``opened`` is called.
    """

    needs_id = False


class EchoWebSocket(WebSocket):
    """Send each message back."""

    def received_message(self, message: Message) -> None:
        """See ``WebSocket``."""
        self.send(message.data, message.is_binary)


class WebSocketTool(PushTool):
    """Turn a page handler into a WebSocket address: ``cherrypy.tools.websocket = WebSocketTool()``.

    It belongs to the plugin that is subscribed to ``cherrypy.engine``. Beside the options of
    ``pushserver.PushTool`` it takes ws4py's ``protocols``.
    """

    def __init__(self) -> None:
        super().__init__()

    def _own(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in options.items() if name not in _IGNORED}
        protocols = own.pop("protocols", None)
        if protocols:
            own["subprotocols"] = protocols
        if "handler_cls" in own or "protocol" not in own:
            own.setdefault("handler_cls", WebSocket)
        return own


class WebSocketPlugin(PushPlugin):
    """Serve the connections, as ``pushserver.PushPlugin`` does, by the name of ws4py's plugin.

    ``websocket-broadcast`` on the engine's bus sends to all of them.

    Attributes:
        manager: the connections, as in ws4py.
    """

    def __init__(self, bus: Any, **options: Any) -> None:
        super().__init__(bus, **options)
        self.manager = WebSocketManager(self)
        self._listeners += (("websocket-broadcast", self.broadcast, None),)

    def broadcast(self, data: Data, binary: bool = False) -> None:
        """Queue one message for every connection; see ``WebSocket.send`` for what it can be.

        Args:
            data: text, bytes, or a ws4py message, for example.
            binary: send bytes as a binary message.
        """
        opcode, payload = encode_message(data, binary)
        super().broadcast(payload if opcode == OPCODE_BINARY else payload.decode("utf-8"))


class WebSocketManager:
    """Show a plugin's connections as ws4py's manager does. Any thread may call it.

    Args:
        push: the plugin.
    """

    def __init__(self, push: WebSocketPlugin) -> None:
        self._push = push

    def __repr__(self) -> str:
        return f"<WebSocketManager of {len(self)}>"

    def __len__(self) -> int:
        return len(self._push)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._push.connections())

    def __contains__(self, connection: object) -> bool:
        return any(one is connection for one in self)

    @property
    def websockets(self) -> dict[str, Connection]:
        """Return the connections by a name that no other connection ever has."""
        return {connection.client: connection for connection in self}

    def broadcast(self, message: Data, binary: bool = False) -> None:
        """Queue one message for every connection; see ``WebSocketPlugin``."""
        self._push.broadcast(message, binary)

    def close_all(self, code: int = SHUTTING_DOWN.code,
                  message: str = "Server is shutting down") -> None:
        """Begin to close every connection."""
        for connection in self:
            connection.close(code, message)


__all__ = ["ConnectionClosed", "EchoWebSocket", "WebSocket", "WebSocketManager",
           "WebSocketPlugin", "WebSocketTool"]
