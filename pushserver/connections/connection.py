"""What a site sees of one client: ws4py's WebSocket, with a loop behind it."""
from __future__ import annotations

import socket
import uuid
from typing import Any, Iterable, Mapping, Sequence

from ws4py.messaging import Message, PingControlMessage
from ws4py.websocket import WebSocket

from ..channels.presence import Info
from ..channels.rules import checked_channel
from ..errors import ConnectionClosed
from ..runtime.runtime import DelayedJob
from ..tokens import Claims
from ..wire.disconnects import NORMAL, checked_disconnect
from ..wire.payloads import Data
from ..wire.payloads import encode_message
from .codec import PLAIN, Codec
from .handle import Handle


class Connection(WebSocket):  # type: ignore[misc]
    """One client: subclass it to receive, and give the class to the tool as ``handler_cls``.

    ``opened``, ``received_message``, ``ponged`` and ``closed`` run on a worker thread, one at a
    time and in order; blocking there keeps nobody else waiting. What they raise is logged and
    closes this connection with 1011. The methods below may be called from any thread and never
    wait for the socket.

    Attributes:
        Id: who the client is, from ``?Id=``.
        user: ``cherrypy.request.login`` of the handshake, or None.
        data: a dict for the site; what the page handler put into
            ``cherrypy.request.push_data`` is in it.
        session: what ``bind_session`` has bound it to, or None.
        info: what others in a channel are told of this client, for JSON; None: nothing.
        environ: the WSGI environment of the handshake.
        protocols: the chosen subprotocol in a list, or an empty list.

    Source: ws4py.websocket.WebSocket, whose place it takes.
    """

    codec: Codec = PLAIN

    has_heartbeats = True
    """Whether a client that asks for heartbeats gets them; where not, it has pings it can see."""

    refused_subprotocols: Mapping[str, str] = {}
    """Subprotocols that a client must not ask for, with the line that says what to use."""

    needs_id = True
    """Whether ``?Id=`` has to be in the URL."""

    expires_itself = False
    """Whether the class ends its connections after their tokens, those in a URL as well."""

    has_id = True
    """Whether it is known who the client is, by ``?Id=``, a token or the page handler."""

    def __init__(self, sock: socket.socket, protocols: Sequence[str] | None = None,
                 extensions: Sequence[str] | None = None,
                 environ: Mapping[str, Any] | None = None,
                 heartbeat_freq: float | None = None) -> None:
        super().__init__(sock, protocols, extensions, environ, heartbeat_freq)
        self.sock: Any
        self.stream = None  # ws4py's parser; wire.parser.FrameReader does its work
        self.Id = ""
        self.user: str | None = None
        self.data: dict[str, Any] = {}
        self.info: Any = None
        self.session: Any = None
        self.url_claims: Claims | None = None   # what the token in the URL says
        self._kept: DelayedJob | None = None
        self._client = ""
        self._handle: Handle | None = None

    def identify(self, *, Id: str, user: str | None, data: dict[str, Any],
                 peer: tuple[str, int] | str) -> None:
        """Tell the connection who its client is; the endpoint does this before it is accepted."""
        self._peer_address = peer
        self.Id = Id
        self.user = user
        self.data = data

    def attach(self, handle: Handle) -> None:
        """Give the connection what it reaches its socket by; the server does this first."""
        self._handle = handle

    def detach(self) -> None:
        """Let go of the socket after ``closed``: an object that is kept keeps no socket."""
        self.keep(None)
        self._handle = None
        self.sock = None

    @property
    def handle(self) -> Handle:
        """Return what reaches this connection's socket and its node.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        if self._handle is None:
            raise ConnectionClosed(f"connection of Id {self.Id!r} is closed")
        return self._handle

    def keep(self, job: DelayedJob | None) -> None:
        """Keep a delayed job until another takes its place, or the end of the connection."""
        kept, self._kept = self._kept, job
        if kept is not None:
            kept.cancel()

    def expire(self, seconds: float | None) -> None:
        """Close the connection after some seconds, when its token ends; None: never.

        The last call counts.
        """
        handle = self._handle
        self.keep(None if handle is None or seconds is None else handle.expire(seconds))

    def channel_lost(self, channel: str) -> None:
        """Take note of being out of a channel of which publications are lost.

        Only connections whose codec keeps positions are taken out.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} Id={self.Id!r}{' closed' if self.terminated else ''}>"

    def starts_in(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Return the channels that it is in from the moment it is there on.

        Args:
            channels: those that the tool names; a token in the URL may name others.
        """
        named = self.url_claims.channels if self.url_claims else ()
        return tuple(dict.fromkeys((*channels, *named)))

    @property
    def client(self) -> str:
        """Return what names this connection among all that ever were."""
        if not self._client:
            self._client = str(uuid.uuid4())
        return self._client

    @property
    def has_client(self) -> bool:
        """Tell whether anybody has asked for ``client``."""
        return bool(self._client)

    def presence_info(self) -> Info:
        """Return what others in a channel see of this client."""
        return Info(self.client, self.Id, self.info)

    @property
    def local_address(self) -> Any:
        """Return the server's side of the socket, or None once it is closed."""
        try:
            return super().local_address
        except (OSError, AttributeError):
            return None

    @property
    def peer_address(self) -> Any:
        """Return the client's address and port, as the proxy tool sees them."""
        return self._peer_address

    def opened(self) -> None:
        """Do what the site does when a client is there. For subclasses."""

    def received_message(self, message: Message) -> None:
        """Do what the site does with a message. For subclasses.

        Args:
            message: ws4py's; ``message.data`` are bytes that stay, ``str(message)`` is the text,
                ``message.is_binary`` tells which it was.
        """

    def closed(self, code: int, reason: str | None = None) -> None:
        """Do what the site does when a client has left; called exactly once. For subclasses.

        Args:
            code: of the close frame that was sent or received first; 1005 if the client's had
                none, 1006 if it vanished or did not answer a ping.
            reason: the text in that frame.
        """

    def send(self, payload: Data, binary: bool = False) -> None:
        """Queue one message for this client.

        Args:
            payload: text, a ws4py message, or anything that JSON can hold. Bytes go out as text
                unless ``binary`` is true: ws4py's handlers echo ``message.data`` so. The pieces
                of a generator become one message.
            binary: send bytes as a binary message.

        Raises:
            ConnectionClosed: it is closing or closed; the client will not get this.
            InvalidData: this cannot be put into a message.
            MessageTooLarge: it has more than ``max_outbox`` bytes.
        """
        self._deliver(*encode_message(payload, binary))

    def ping(self, message: str | bytes) -> None:
        """Queue a ping, whose answer ``ponged`` will get; the server's own pings go on.

        Args:
            message: at most 125 bytes.

        Raises:
            ConnectionClosed: see ``send``.
            InvalidData: the message is too long.
        """
        payload = message.encode() if isinstance(message, str) else bytes(message)
        self._deliver(*encode_message(PingControlMessage(payload), True))

    def _deliver(self, opcode: int, payload: bytes) -> None:
        handle = self._handle
        if handle is None or not handle.send(opcode, payload):
            raise ConnectionClosed(f"connection of Id {self.Id!r} is closed: nothing was sent")

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Begin to close, behind all that was sent before. Does nothing when closing already.

        Args:
            code: 1000, 1001 or 3000 to 4999, for example.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        disconnect = checked_disconnect(code, reason)
        if self._handle is not None:
            self._handle.close(disconnect)

    def close_connection(self) -> None:
        """End the connection without a closing handshake."""
        if self._handle is not None:
            self._handle.abort()

    def subscribe(self, channel: str) -> bool:
        """Receive from now on what is published to a channel.

        Args:
            channel: 1 to 255 characters.

        Returns:
            False if the connection was in the channel already, or is closed.

        Raises:
            InvalidSetting: this cannot be a channel's name.
        """
        handle = self._handle
        return handle is not None and handle.subscribe(channel, self.presence_info)

    def unsubscribe(self, channel: str) -> bool:
        """Receive no more of what is published to a channel; tell whether it was in it."""
        handle = self._handle
        return handle is not None and handle.unsubscribe(checked_channel(channel), self.client)
