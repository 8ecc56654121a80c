"""What a site imported from ws4py: ``WebSocketPlugin``, ``WebSocketTool`` and ``WebSocket``.

A ws4py site moves over by its imports: from here instead of from ``ws4py.server.cherrypyserver``
and ``ws4py.websocket``. ``docs/from-ws4py.md`` says what else is different.

Source: ws4py.server.cherrypyserver, ws4py.manager.
"""
from __future__ import annotations

import os
from typing import Any, Iterator

from .connections.children import Children
from .connections.connection import Connection
from .errors import InvalidData
from .server import PushServer
from .web.plugin import PushPlugin
from .web.tool import PushTool
from .wire.disconnects import NORMAL
from .wire.frames import OPCODE_BINARY, OPCODE_TEXT
from .wire.payloads import Data, encode_message

__all__ = ["EchoWebSocket", "WebSocket", "WebSocketPlugin", "WebSocketTool"]


_children = Children()


class WebSocket(Connection):
    """One client, whoever it is; see ``Connection``.

    A process that was forked since this was made can ``send``, ``ping`` and ``close``, too.
    """

    needs_id = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pid = os.getpid()
        self._number = _children.enter(self)

    def _deliver(self, opcode: int, payload: bytes) -> None:
        if os.getpid() == self._pid:
            super()._deliver(opcode, payload)
        else:
            _children.call(self._number, "_deliver", opcode, payload)

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """See ``Connection``."""
        if os.getpid() == self._pid:
            super().close(code, reason)
        else:
            _children.call(self._number, "close", code, reason)

    def give_up(self) -> None:
        """See ``Connection``."""
        super().give_up()
        _children.leave(self._number)

    def detach(self) -> None:
        """See ``Connection``."""
        super().detach()
        _children.leave(self._number)


class EchoWebSocket(WebSocket):
    """Send each message back as it came."""

    def received_message(self, message: Any) -> None:
        """See ``Connection``."""
        self.send(message.data, message.is_binary)


class WebSocketTool(PushTool):
    """Turn page handlers into WebSocket addresses: ``cherrypy.tools.websocket = WebSocketTool()``.

    It takes ws4py's options, and those of ``PushTool``: ``protocols`` are its ``subprotocols``.
    ``extensions`` and ``version`` change nothing: there are no extensions and only one version.
    """

    def _own(self, options: dict[str, Any]) -> dict[str, Any]:
        options = {name: value for name, value in options.items()
                   if name not in ("extensions", "version")}
        if "protocols" in options:
            options["subprotocols"] = options.pop("protocols") or ()
        if options.get("protocol", "plain") == "plain":
            options.setdefault("handler_cls", WebSocket)
        return options


class WebSocketManager:
    """All connections of a plugin, as ``plugin.manager``. Any thread may use it.

    Args:
        push: the plugin.
    """

    def __init__(self, push: WebSocketPlugin) -> None:
        self._push = push

    def __repr__(self) -> str:
        return f"<WebSocketManager of {self._push!r}>"

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._push)

    def __iter__(self) -> Iterator[Connection]:
        """Yield those that there are now, the oldest first."""
        return iter(self._push.connections())

    def __contains__(self, websocket: object) -> bool:
        return websocket in self._push.connections()

    def broadcast(self, message: Data, binary: bool = False) -> None:
        """See ``WebSocketPlugin``."""
        self._push.broadcast(message, binary)

    def close_all(self, code: int = 1001, message: str = "Server is shutting down") -> None:
        """Begin to close all."""
        for websocket in self:
            websocket.close(code, message)


class WebSocketPlugin(PushPlugin):
    """Run a push server: ``WebSocketPlugin(cherrypy.engine).subscribe()``.

    It is a ``PushPlugin``, which takes the same settings. On the engine's bus it also listens to
    ``websocket-broadcast`` (message, binary=False).

    Attributes:
        manager: all its connections.
    """

    def __init__(self, bus: Any, **settings: Any) -> None:
        super().__init__(bus, **settings)
        self.manager = WebSocketManager(self)
        self._listens = False
        self._listeners += (("websocket-broadcast", self.broadcast, None),)

    def start(self) -> None:
        """See ``PushPlugin``."""
        if not self._listens:
            self._listens = True
            _children.start()
        super().start()

    def stop(self) -> None:
        """See ``PushPlugin``."""
        super().stop()
        if self._listens:
            self._listens = False
            _children.stop()

    def broadcast(self, message: Data, binary: bool = False) -> None:
        """Queue one message for every connection.

        Args:
            message: what ``Connection.send`` takes: text, a ws4py message, bytes ...
            binary: send bytes as a binary message; otherwise they are text, as with ws4py.

        Raises:
            InvalidData: a message cannot hold this; nothing was sent.
            MessageTooLarge: it has more than ``max_outbox`` bytes; nothing was sent.
        """
        opcode, payload = encode_message(message, binary)
        if opcode not in (OPCODE_TEXT, OPCODE_BINARY):
            raise InvalidData("broadcast text or binary messages; each connection has its ping")
        PushServer.broadcast(self, payload if opcode == OPCODE_BINARY else payload.decode("utf-8"))
