"""ws4py's threaded client, on a connection of our own: change the import, keep the rest.

The messages, methods and callbacks are ws4py's. Underneath, nothing of ws4py is left: ``Request``
connects, ``Connection`` reads, ``Sender`` writes.

Source: ws4py.client.threadedclient.
"""
from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from pushserver.wire.disconnects import HANDLER_FAILED, NORMAL, Disconnect, checked_disconnect
from ws4py.messaging import PongControlMessage
from ws4py.websocket import WebSocket

from .. import options
from . import handshake
from .connection import Connection
from .errands import Errands
from .proxy import ProxyOption
from .request import Request
from .url import Address, parse_url
from .waker import NEVER, Waker

logger = logging.getLogger("pushclient")


def _of_connection(get: Callable[[Connection], Any]) -> property:
    """Return an attribute read from the connection; what ws4py's constructor sets is dropped."""
    return property(lambda self: get(self._connection), lambda self, value: None)


class WebSocketClient(WebSocket):  # type: ignore[misc]
    """Hold one WebSocket connection, which is read on a thread of its own.

    Subclass it and override ``opened``, ``received_message``, ``ponged`` and ``closed``: they run
    on that thread, one at a time. An exception in one is logged and closes the connection with
    1011. ``connect`` and ``run_forever`` belong to one thread; ``send``, ``ping`` and ``close`` are
    safe from any, callbacks included.

    It differs from ws4py's client where that loses data, hangs or trusts too much: ``connect`` is
    bounded and tries every address, TLS is verified, responses are checked, the subprotocol in
    ``protocols`` is text as the server spelled it, ``heartbeat_freq`` sends pings and expects
    answers, a message keeps its ``data``, ``closed`` gets its reason as text.

    As with ws4py, attributes may be changed until ``connect``: ``resource`` or ``extra_headers``,
    for example.

    Args:
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket``, with credentials if the server
            requires Basic authentication.
        protocols: subprotocols to offer.
        extensions: as in ws4py; kept, not offered.
        heartbeat_freq: seconds without traffic after which the server is pinged. None or 0: never.
        ssl_options: see ``tls.make_context``.
        headers: further request headers, pairs or a mapping.
        exclude_headers: names of headers to leave out.
        ssl_context: a context of your own, instead of ``ssl_options``.
        proxy: see ``proxy.find_proxy``.
        unix_socket: the path of a Unix socket to connect to, instead of the URL's host.
        timeout: seconds for each step of connecting, and for a write to make progress.
        close_timeout: seconds that the server has to answer a close frame.
        pong_timeout: seconds that it has to answer a ping; any traffic counts.
        max_message_size: bytes of one inbound message; a larger one ends the connection with 1009.

    Raises:
        InvalidSetting: an argument has a value that cannot work.
    """

    protocols: list[str]

    sock = _of_connection(lambda connection: connection.sock)
    client_terminated = _of_connection(lambda connection: connection.client_closed)
    server_terminated = _of_connection(lambda connection: connection.server_closed)

    def __init__(self, url: str, protocols: Sequence[str] | None = None,
                 extensions: Sequence[str] | None = None, heartbeat_freq: float | None = None,
                 ssl_options: Mapping[str, Any] | None = None,
                 headers: options.Headers | None = None,
                 exclude_headers: Sequence[str] | None = None, *,
                 ssl_context: ssl.SSLContext | None = None, proxy: ProxyOption = True,
                 unix_socket: str | None = None, timeout: float = options.TIMEOUT,
                 close_timeout: float = options.CLOSE_TIMEOUT,
                 pong_timeout: float = options.PONG_TIMEOUT,
                 max_message_size: int = options.MAX_MESSAGE_SIZE) -> None:
        super().__init__(None, handshake.check_subprotocols(protocols or ()), extensions or [],
                         heartbeat_freq=heartbeat_freq)
        self.stream.always_mask = True
        self.stream.expect_masking = False
        self._set_target(url, unix_socket)
        self.ssl_options = dict(ssl_options or {})
        self.extra_headers = options.header_pairs(headers)
        handshake.check_headers(self.extra_headers)
        self.exclude_headers = [name.lower() for name in exclude_headers or ()]
        self.key = handshake.new_key()
        self._offered = self.protocols
        self._ssl_context = ssl_context
        self._proxy = proxy
        options.check_seconds("heartbeat_freq", heartbeat_freq or 0, zero=True)
        connection = options.ConnectionOptions(timeout, close_timeout, heartbeat_freq or 0,
                                               pong_timeout, max_message_size)
        self._connection = Connection(_CallbackHandler(self, self._callback_failed), connection)
        self.daemon = True
        self._th: threading.Thread | None = None
        self._waker: Waker | None = None

    def _set_target(self, url: str, unix_socket: str | None) -> None:
        address = parse_url(url)
        self.url = url
        self.scheme, self.host, self.port = address.scheme, address.host, address.port
        self.resource = address.resource
        self.unix_socket_path = unix_socket or address.unix_socket
        self._credentials = address.credentials

    def __repr__(self) -> str:
        state = "closed" if self.terminated else "open" if self.sock else "not connected"
        return f"<{type(self).__name__}: {state}, {self.scheme}://{self.host}:{self.port}>"

    # connecting

    @property
    def bind_addr(self) -> str | tuple[str, int]:
        """Return where to connect to, as ws4py does."""
        return self.unix_socket_path or (self.host, self.port)

    @property
    def handshake_headers(self) -> list[tuple[str, str]]:
        """Return the request's headers; a subclass may add to them."""
        return self._request.headers

    @property
    def handshake_request(self) -> bytes:
        """Return the request that asks for the connection."""
        return handshake.build_request(self.resource, self.handshake_headers)

    @property
    def _request(self) -> Request:
        address = Address(self.scheme, self.host, self.port, self.resource, self.unix_socket_path,
                          self._credentials)
        return Request(address, self._offered, self.extra_headers, self.exclude_headers,
                       self._proxy, self._ssl_context, self.ssl_options, self.key)

    def connect(self) -> None:
        """Connect, shake hands and start to read. Works once.

        Raises:
            ConnectFailed: why no connection was made; nothing is left open.
            ConnectionClosed: it was closed meanwhile, or connected before.
        """
        request = replace(self._request, head=self.handshake_request)
        waker = Waker()
        try:
            self._connection.connect(request, waker, Errands())
        except BaseException:
            waker.close()
            raise
        self._waker = waker
        chosen = self._connection.subprotocol
        self.protocols = [chosen] if chosen else []
        self._is_secure = request.address.secure
        self.handshake_ok()

    def handshake_ok(self) -> None:
        """Start the thread that reads; called once the server has agreed."""
        self._th = threading.Thread(target=self.run, name=type(self).__name__, daemon=self.daemon)
        self._th.start()

    def run(self) -> None:
        """Read until the connection has ended; then call ``closed``."""
        assert self._waker is not None
        try:
            self._connection.run()
        finally:
            self._waker.close()

    def run_forever(self) -> None:
        """Block until the connection has ended and ``closed`` has returned."""
        if self._waker is not None:
            self._connection.wait_for_end()
        if self._th is not None and self._th is not threading.current_thread():
            self._th.join()

    # sending: any thread

    def send(self, payload: Any, binary: bool = False) -> None:
        """Send one message; return once the kernel has it.

        In a callback it does not wait for that: the callback's thread has to read, or two sides
        that answer each other would wait for each other. It waits there only while more than 1 MiB
        is queued.

        Args:
            payload: text, bytes, a ws4py message, or anything that JSON can hold. The pieces of a
                generator become fragments of one message; other messages wait for its end.
            binary: send it as binary; otherwise even bytes are sent as text, as with ws4py.

        Raises:
            ConnectionClosed: it is closed or not connected yet, or the server took nothing for
                ``timeout``. A message that was being sent may not have arrived.
            InvalidData: a message cannot hold this.
        """
        self._connection.sender.send(payload, binary)

    def send_frame(self, opcode: int, payload: bytes) -> None:
        """Send one whole message of a given opcode; see ``send``."""
        self._connection.sender.send_frame(opcode, payload)

    def _write(self, b: bytes) -> None:
        self._connection.sender.write(b)

    # closing: any thread

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Begin to close, after everything sent before, or stop connecting; never block.

        The thread ends when the server has answered, or after ``close_timeout``; ``run_forever``
        waits for that. A second call does nothing.

        Args:
            code: 1000, 1001 or 3000 to 4999, for example.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        self._connection.close(checked_disconnect(code, reason))

    def _callback_failed(self) -> None:
        self._connection.close_with(HANDLER_FAILED)

    def close_connection(self) -> None:
        """End the connection at once, without a closing handshake."""
        self._connection.shut_down("closed by close_connection()")

    def terminate(self) -> None:
        """End the connection at once; ``closed`` is called on its thread, as always."""
        self.close_connection()


class _CallbackHandler:
    """Call a client's methods; an exception is logged and ends only that connection."""

    due = NEVER

    def __init__(self, client: WebSocketClient, failed: Callable[[], None]) -> None:
        self._client = client
        self._failed = failed

    def opened(self) -> None:
        self._call(self._client.opened)

    def received(self, messages: Sequence[Any]) -> None:
        for message in messages:
            self._call(self._client.received_message, message)

    def ponged(self, pong: PongControlMessage) -> None:
        self._call(self._client.ponged, pong)

    def run_due(self) -> None:
        """Do nothing: nothing is ever due."""

    def closed(self, end: Disconnect) -> None:
        self._call(self._client.closed, end.code, end.reason)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except BaseException:  # even SystemExit: nobody would learn of it
            logger.exception("%s failed", getattr(callback, "__qualname__", callback))
            self._failed()
