"""How a request becomes a connection: the part of the push server that the HTTP side calls."""
from __future__ import annotations

import logging
import socket
from typing import Any, Collection

from ..channels.control import UnsubscribeId
from ..channels.hub import Hub
from ..channels.node import Node
from ..errors import HandshakeRefused
from ..runtime.account import Account
from ..runtime.farewell import Farewell
from ..runtime.runtime import Runtime
from ..runtime.sockets import lend, loop_socket
from ..settings import Settings
from ..tokens import Tokens
from ..transports.websocket import WebSocketTransport
from ..wire.disconnects import REPLACED
from .backpressure import Backpressure
from .connection import Connection
from .context import Context, Events
from .endings import Endings, Moment
from .handle import Handle, end
from .lifecycle import Lifecycle
from .link import Link
from .local import ending_of

logger = logging.getLogger(__name__)


class Acceptor:
    """Reserve places for new connections, and take over their sockets. Any thread may call it.

    Args:
        settings: see ``Settings``.
        tokens: checks tokens, or None.
        hub: the connections.
        node: the channels.
        account: the bytes that all connections hold.
        backpressure: has publishers wait for connections.
        lifecycle: says whether connections are accepted.
        endings: what the site has ended since a handshake began.
        events: told about connections.
        server: the push server, for the site's own handlers.
    """

    def __init__(self, settings: Settings, tokens: Tokens | None, hub: Hub[Any], node: Node[Any],
                 account: Account, backpressure: Backpressure, lifecycle: Lifecycle,
                 endings: Endings, events: Events, server: object) -> None:
        self.settings = settings
        self.tokens = tokens
        self._hub = hub
        self._node = node
        self._account = account
        self._backpressure = backpressure
        self._lifecycle = lifecycle
        self._endings = endings
        self._events = events
        self._server = server
        self._context: Context | None = None    # of the newest run

    def __repr__(self) -> str:
        return f"<Acceptor of {self._server!r}>"

    def hasten(self) -> None:
        """Note that a client is about to connect; see ``Loop.hasten``. Safe to repeat."""
        runtime = self._lifecycle.runtime
        if runtime is not None:
            runtime.loop.hasten()

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
            if self._account.is_over:
                raise HandshakeRefused(503, "the server holds as much for its clients as it may: "
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
               answer: bytes, early: bytes, heartbeat: float = 0,
               began: Moment | None = None) -> None:
        """Take over a socket after a valid handshake, and use the place reserved for it.

        By the time the client can read the answer, the connection is in the hub.

        Args:
            connection: the application's object, which knows its Id.
            sock: connected; belongs to the loop from now on.
            channels: the channels that it is in from the start.
            answer: the handshake's answer, the first bytes to write.
            early: what the client has already sent after its handshake.
            heartbeat: seconds between empty messages, the first right after the answer; 0: none.
            began: when its handshake did; see ``moment``.

        Raises:
            HandshakeRefused: 503: the server has begun to stop. 403: what lets the client in has
                ended since its handshake began.
            Exception: what a broker raises. In neither case has the socket been touched.
        """
        began = began or self.moment
        try:
            runtime = self._lifecycle.check_running()
            _check_rights(connection, began)
            taken = self.taken_out(connection.Id, began)
            channels = [channel for channel in channels if channel not in taken]
            arrivals = self._node.expect(channels, lambda _: connection.presence_info())
        except BaseException:
            self.release(connection.Id)
            raise
        runtime.loop.hasten()
        context = self._context_of(runtime)
        transport = WebSocketTransport(self.settings.max_message_size)
        if heartbeat:
            answer += transport.framing.heartbeat
        connection.sock = lend(sock)
        taken_over = loop_socket(connection.sock, self.settings.max_message_size)
        link = Link(connection, connection.Id, taken_over, transport, answer, context)
        connection.attach(Handle(link, context))
        replaced = self._hub.add(link, channels)
        try:
            connection.begin()
            _catch_up(connection, link, began)
        except Exception:   # the socket is no longer the caller's to answer on
            logger.exception("Id %r: it could not be opened", connection.Id)
            runtime.loop.call_for(link, link.crashed)
        runtime.loop.call_for(link, link.open, early, heartbeat)
        self._node.expected(channels)
        self._node.announce(link, arrivals)
        for older in replaced:
            end(older, REPLACED)
        if not runtime.loop.is_alive:   # stopped in between: nothing else ends this one
            link.abort()

    @property
    def moment(self) -> Moment:
        """Return the present moment, for a handshake to remember."""
        return self._endings.now

    @staticmethod
    def taken_out(Id: str, began: Moment) -> set[str]:
        """Return the channels that the site has taken an Id out of since a handshake began."""
        return {command.channel for command in began.since()
                if isinstance(command, UnsubscribeId) and command.Id == Id}

    def _context_of(self, runtime: Runtime) -> Context:
        """Return what all connections of a run share: the same object for all of them."""
        context = self._context
        if context is None or context.runtime is not runtime:
            context = self._context = Context(self.settings, self.tokens, runtime, self._hub,
                                              self._node, self._account, self._backpressure,
                                              self._events, self._server)
        return context


def _check_rights(connection: Connection, began: Moment) -> None:
    """Refuse a client whose rights have ended since its handshake began.

    Raises:
        HandshakeRefused: 403, or 503 if it may come back at once.
    """
    for command in began.since():
        ending = ending_of(command, connection)
        if ending is not None:
            raise HandshakeRefused(403 if ending.is_final else 503, "the site has ended this "
                                   "client's connections or its session: log in again")


def _catch_up(connection: Connection, link: Link, began: Moment) -> None:
    """Do for a new connection what it was too late for, or too early."""
    for command in began.since():
        ending = ending_of(command, connection)
        if ending is not None:
            end(link, ending)
        elif isinstance(command, UnsubscribeId) and command.Id == connection.Id:
            connection.unsubscribe(command.channel)
