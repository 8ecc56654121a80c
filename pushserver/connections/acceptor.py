"""How a request becomes a connection: the part of the push server that the HTTP side calls."""
from __future__ import annotations

import socket
from typing import Any, Collection

from ..channels.hub import Hub
from ..channels.node import Node
from ..errors import HandshakeRefused
from ..runtime.farewell import Farewell
from ..runtime.runtime import Runtime
from ..runtime.sockets import lend, loop_socket
from ..settings import Settings
from ..tokens import Tokens
from ..transports.websocket import WebSocketTransport
from ..wire.disconnects import REPLACED
from .connection import Connection
from .context import Context, Events
from .handle import Handle, close
from .lifecycle import Lifecycle
from .link import Link


class Acceptor:
    """Reserve places for new connections, and take over their sockets. Any thread may call it.

    Args:
        settings: see ``Settings``.
        tokens: checks tokens, or None.
        hub: the connections.
        node: the channels.
        lifecycle: says whether connections are accepted.
        events: told about connections.
        server: the push server, for the site's own handlers.
    """

    def __init__(self, settings: Settings, tokens: Tokens | None, hub: Hub[Any], node: Node[Any],
                 lifecycle: Lifecycle, events: Events, server: object) -> None:
        self.settings = settings
        self.tokens = tokens
        self._hub = hub
        self._node = node
        self._lifecycle = lifecycle
        self._events = events
        self._server = server
        self._context: Context | None = None    # of the newest run

    def __repr__(self) -> str:
        return f"<Acceptor of {self._server!r}>"

    def reserve(self, Id: str) -> None:
        """Reserve a place for a new connection; ``accept`` or ``release`` must follow.

        Raises:
            HandshakeRefused: 429 or 503, with ``Retry-After``.
        """
        try:
            links = self._lifecycle.check_running().links
            if len(links) >= self.settings.max_connections:     # includes those that are closing
                raise HandshakeRefused(503, "the server has reached its limit of "
                                            f"{self.settings.max_connections} connections: "
                                            "try again later")
            self._hub.reserve(Id)
        except HandshakeRefused as refusal:
            refusal.headers["Retry-After"] = str(self.settings.retry_after)
            raise

    def release(self, Id: str) -> None:
        """Release a reserved place."""
        self._hub.release(Id)

    def take_leave(self, sock: socket.socket) -> bool:
        """Take over a socket on which a refusal was written, until its client has read it.

        Returns:
            False if it was not taken over: the caller must close it.
        """
        runtime = self._lifecycle.runtime
        return runtime is not None and Farewell.begin(runtime, sock, self.settings.close_timeout)

    def accept(self, connection: Connection, sock: socket.socket, *, channels: Collection[str],
               answer: bytes, early: bytes, heartbeat: float = 0) -> None:
        """Take over a socket after a valid handshake, and use the place reserved for it.

        By the time the client can read the answer, the connection is in the hub.

        Args:
            connection: the application's object, which knows its Id.
            sock: connected; belongs to the loop from now on.
            channels: the channels that it is in from the start.
            answer: the handshake's answer, the first bytes to write.
            early: what the client has already sent after its handshake.
            heartbeat: seconds between empty messages, the first right after the answer; 0: none.

        Raises:
            HandshakeRefused: 503: the server has begun to stop.
            Exception: what a broker raises. In neither case has the socket been touched.
        """
        try:
            runtime = self._lifecycle.check_running()
            arrivals = self._node.expect(channels, lambda _: connection.presence_info())
        except BaseException:
            self.release(connection.Id)
            raise
        context = self._context_of(runtime)
        transport = WebSocketTransport(self.settings.max_message_size)
        if heartbeat:
            answer += transport.framing.heartbeat
        connection.sock = lend(sock)
        link = Link(connection, connection.Id, loop_socket(connection.sock), transport, answer,
                    context)
        connection.attach(Handle(link, context))
        replaced = self._hub.add(link, channels)
        runtime.loop.call_for(link, link.open, early, heartbeat)
        self._node.expected(channels)
        self._node.announce(link, arrivals)
        for older in replaced:
            close(older, REPLACED)
        if not runtime.loop.is_alive:   # stopped in between: nothing else ends this one
            link.abort()

    def _context_of(self, runtime: Runtime) -> Context:
        """Return what all connections of a run share: the same object for all of them."""
        context = self._context
        if context is None or context.runtime is not runtime:
            context = self._context = Context(self.settings, self.tokens, runtime, self._hub,
                                              self._node, self._events, self._server)
        return context
