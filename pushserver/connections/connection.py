"""What a site sees of one client: the interface of ws4py's WebSocket, served by the loop."""
from __future__ import annotations

import socket
import threading
import uuid
from typing import Any, Callable, Iterable, Mapping, Sequence

from ws4py.messaging import Message, PingControlMessage
from ws4py.websocket import WebSocket

from ..channels.presence import Info
from ..channels.rules import checked_channel
from ..errors import ConnectionClosed, InvalidSetting
from ..runtime.runtime import DelayedJob
from ..tokens import Claims
from ..wire.disconnects import NORMAL, checked_disconnect
from ..wire.payloads import Data
from ..wire.payloads import encode_message
from .codec import PLAIN, Codec
from .early import Early
from .handle import Handle
from .lease import Lease


_KEEPING = threading.Lock()
"""Held while a connection's delayed job is replaced: the site and a command may do so at once."""


class Connection(WebSocket):  # type: ignore[misc]
    """One client: subclass it to receive, and pass the class to the tool as ``handler_cls``.

    ``opened``, ``received_message``, ``ponged`` and ``closed`` run on a worker thread, one at a
    time and in order; blocking there delays no other client. An exception in them is logged and
    closes this connection with 1011. Once the client's rights have ended, or the site has closed
    the connection, only ``closed`` follows, whatever still waits. Any thread may call the methods
    below, of which only ``wait_writable`` waits for the client.

    Attributes:
        Id: who the client is, from ``?Id=``.
        user: ``cherrypy.request.login`` of the handshake, or None.
        data: a dict for the site, with what the page handler put into
            ``cherrypy.request.push_data``.
        session: the session that ``bind_session`` has bound it to, or None.
        info: what others in a channel see of this client, for JSON; None: nothing.
        environ: the WSGI environment of the handshake.
        protocols: the chosen subprotocol in a list, or an empty list.

    Source: ws4py.websocket.WebSocket, which it replaces.
    """

    codec: Codec = PLAIN

    has_heartbeats = True
    """Whether clients can ask for heartbeats; if not, they get pings that they can see."""

    refused_subprotocols: Mapping[str, str] = {}
    """Subprotocols that a client must not ask for, each with a line that says what to use."""

    needs_id = True
    """Whether the client must be known; if not, it gets an anonymous Id of its own."""

    expires_itself = False
    """Whether the class itself closes its connections when tokens expire, even one in the URL."""

    heartbeat_freq: float | None = None
    """Seconds between pings, whatever is sent or received; None or 0: as ``ping_interval`` says."""

    has_id = True
    """Whether the client is known, by the page handler, a token or ``?Id=``."""

    def __init__(self, sock: socket.socket, protocols: Sequence[str] | None = None,
                 extensions: Sequence[str] | None = None,
                 environ: Mapping[str, Any] | None = None,
                 heartbeat_freq: float | None = None) -> None:
        if heartbeat_freq is None:
            heartbeat_freq = type(self).heartbeat_freq
        super().__init__(sock, protocols, extensions, environ, checked_frequency(heartbeat_freq))
        self.sock: Any
        self.stream = None  # ws4py's parser; wire.parser.FrameReader does its work
        self.Id = ""
        self.user: str | None = None
        self.data: dict[str, Any] = {}
        self.info: Any = None
        self.session: Any = None
        self.url_claims: Claims | None = None   # of the token in the URL
        self._kept: DelayedJob | None = None
        self._lease: Lease | None = None
        self._client = ""
        self._handle: Handle | None = None
        self._early: Early | None = None

    def await_opening(self, room: int) -> None:
        """Keep what is sent from now on until the connection is open; the endpoint does this first.

        Args:
            room: bytes that may wait.
        """
        self._early = Early(room)

    def begin(self) -> None:
        """Do what was to be done before it was open; the server does this as it opens it."""
        early, handle = self._early, self._handle
        if early is not None and handle is not None:
            early.run(handle)
            self._early = None

    def give_up(self) -> None:
        """Be closed: the handshake was refused."""
        if self._early is not None:
            self._early.drop()
        self.client_terminated = self.server_terminated = True
        self.sock = None

    def identify(self, *, Id: str, user: str | None, data: dict[str, Any],
                 peer: tuple[str, int] | str) -> None:
        """Set who the client is; the endpoint does this before the connection is accepted."""
        self._peer_address = peer
        self.Id = Id
        self.user = user
        self.data = data

    def attach(self, handle: Handle) -> None:
        """Give the connection its handle; the server does this first."""
        self._handle = handle

    def detach(self) -> None:
        """Release the socket after ``closed``: a site that keeps this object keeps no socket."""
        self.keep(None)
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
        self._handle = None
        self.sock = None

    @property
    def handle(self) -> Handle:
        """Return what gives access to this connection's socket and node.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        if self._handle is None:
            raise ConnectionClosed(f"connection of Id {self.Id!r} is closed")
        return self._handle

    def keep(self, job: DelayedJob | None) -> None:
        """Keep a delayed job until another replaces it or the connection ends: cancel it then."""
        with _KEEPING:
            kept, self._kept = self._kept, job
        if kept is not None:
            kept.cancel()

    def expire(self, seconds: float | None) -> None:
        """End the client's rights after some seconds, when its token expires; None: never.

        The last call counts.
        """
        def expire(handle: Handle | None) -> None:
            self.keep(None if handle is None or seconds is None else handle.expire(seconds))

        if not self._waits(expire):
            expire(self._handle)

    def end_with(self, left: Callable[[], float]) -> None:
        """End the client's rights when something is over; see ``Lease``."""
        if self._handle is not None:
            self._lease = Lease(self._handle, left)

    def channel_lost(self, channel: str) -> None:
        """Handle removal from a channel because publications were lost.

        Only connections whose codec keeps positions are removed.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} Id={self.Id!r}{' closed' if self.terminated else ''}>"

    def starts_in(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Return the channels that it is in from the start.

        Args:
            channels: those that the tool names; a token in the URL may name others.
        """
        named = self.url_claims.channels if self.url_claims else ()
        early = self._early.channels if self._early else ()
        return tuple(dict.fromkeys((*channels, *named, *early)))

    @property
    def client(self) -> str:
        """Return a name for this connection that no other ever has."""
        if not self._client:
            self._client = str(uuid.uuid4())
        return self._client

    @property
    def has_client(self) -> bool:
        """Tell whether ``client`` has been used."""
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
        """Handle a new client. For subclasses."""

    def received_message(self, message: Message) -> None:
        """Handle one message. For subclasses.

        Args:
            message: ws4py's; ``message.data`` is bytes, which may be kept, ``str(message)`` is
                the text, and ``message.is_binary`` tells which kind it was.
        """

    def closed(self, code: int, reason: str | None = None) -> None:
        """Handle the end of the connection; called exactly once. For subclasses.

        Args:
            code: of the close frame that was sent or received first; 1005 if the client's had
                none, 1006 if it vanished or did not answer a ping.
            reason: the text in that frame.
        """

    def send(self, payload: Data, binary: bool = False) -> None:
        """Queue one message for this client.

        A handler that sends more than ``max_outbox`` faster than the client reads has it closed
        with 3008: call ``wait_writable`` in between. Other threads of the site wait by themselves.

        Args:
            payload: text, a ws4py message, or anything that JSON can hold. Bytes are sent as text
                unless ``binary`` is true, because ws4py's handlers echo ``message.data`` this way.
                The pieces of a generator become one message.
            binary: send bytes as a binary message.

        Raises:
            ConnectionClosed: it is closing or closed; the client will not get this.
            InvalidData: a message cannot hold this.
            MessageTooLarge: it has more than ``max_outbox`` bytes.
            Overloaded: on a thread of the site's: the client had no room for it within
                ``publish_timeout``; nothing was sent.
        """
        self._deliver(*encode_message(payload, binary))

    def wait_writable(self, timeout: float | None = None) -> bool:
        """Wait until this client has read most of what was sent to it.

        For a handler or a thread of the site that sends much: call it before each ``send``. It
        returns at once unless more than a quarter of ``max_outbox`` waits. A client that takes
        nothing for ``pong_timeout`` meanwhile is closed with 3008.

        Args:
            timeout: seconds; None: as long as the client reads.

        Returns:
            False if the time is up.

        Raises:
            ConnectionClosed: it is closing or closed.
        """
        return self.handle.wait_writable(timeout)

    def ping(self, message: str | bytes) -> None:
        """Queue a ping, whose answer goes to ``ponged``; the server's own pings continue.

        Args:
            message: at most 125 bytes.

        Raises:
            ConnectionClosed: see ``send``.
            InvalidData: the message is too long.
        """
        payload = message.encode() if isinstance(message, str) else bytes(message)
        self._deliver(*encode_message(PingControlMessage(payload), True))

    def _deliver(self, opcode: int, payload: bytes) -> None:
        early = self._early
        if early is not None and early.keep(lambda handle: handle.send(opcode, payload),
                                            len(payload)):
            return
        handle = self._handle
        if handle is None or not handle.send(opcode, payload):
            raise ConnectionClosed(f"connection of Id {self.Id!r} is closed: nothing was sent")

    def _waits(self, job: Callable[[Handle], object]) -> bool:
        """Keep a job until the connection is open; False if it is open, or will never be."""
        early = self._early
        return early is not None and early.keep(job)

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Begin to close, after all that was sent before. Does nothing if already closing.

        What the client has sent and is not yet handled is ignored: of the callbacks, only
        ``closed`` follows.

        Args:
            code: 1000, 1001 or 3000 to 4999, for example.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        disconnect = checked_disconnect(code, reason)
        if not self._waits(lambda handle: handle.close(disconnect)) and self._handle is not None:
            self._handle.close(disconnect)

    def close_connection(self) -> None:
        """End the connection without a closing handshake."""
        if not self._waits(lambda handle: handle.abort()) and self._handle is not None:
            self._handle.abort()

    def subscribe(self, channel: str) -> bool:
        """Begin to receive what is published to a channel.

        Args:
            channel: 1 to 255 characters.

        Returns:
            False if the connection was already in the channel, or is closed.

        Raises:
            InvalidSetting: the channel's name is invalid.
        """
        early, handle = self._early, self._handle
        if handle is None:
            return early is not None and early.enter(checked_channel(channel))
        return handle.subscribe(channel, self.presence_info)

    def unsubscribe(self, channel: str) -> bool:
        """Stop receiving what is published to a channel; tell whether it was in it."""
        early, handle = self._early, self._handle
        if handle is None:
            return early is not None and early.leave(checked_channel(channel))
        return handle.unsubscribe(checked_channel(channel), self.client)


def checked_frequency(value: Any) -> float | None:
    """Return seconds between pings.

    Raises:
        InvalidSetting: it is neither None nor 0 or more seconds.
    """
    if value is None or not isinstance(value, bool) and isinstance(value, (int, float)) \
            and 0 <= value < float("inf"):
        return value
    raise InvalidSetting(f"heartbeat_freq is {value!r}: use seconds, or None")
