"""One connection to a server, ws4py's way: a drop-in for its threaded client.

The messages are ws4py's, the methods and callbacks too. Underneath, nothing of ws4py is left:
``dialing`` connects, ``FrameReader`` reads, ``Wire`` writes.

Source: ws4py.client.threadedclient; RFC 6455.
"""
from __future__ import annotations

import logging
import ssl
import threading
import time
from typing import Any, Callable, Mapping, Sequence

from pushserver.wire.disconnects import (ABNORMAL, HANDLER_FAILED, NORMAL, Disconnect,
                                         checked_disconnect)
from pushserver.wire.frames import OPCODE_PING, OPCODE_PONG, close_frame, frame
from pushserver.wire.parser import FrameReader, Received
from ws4py.messaging import PingControlMessage, PongControlMessage

from . import connect as dialing
from .. import options
from ..errors import ConnectionClosed
from .keepalive import Keepalive
from .request import Opening
from .proxy import ProxyOption
from .sending import MAX_OUTBOX, Sending, new_mask_key
from .waker import Patience, Waker
from .transport import LOST, Wire

__all__ = ["WebSocketClient"]

logger = logging.getLogger("pushclient")

READ_SIZE = 1024 * 1024
"""Bytes of one read: all that is there. A read a quarter as large costs a third more CPU."""

END_TIMEOUT = 1.0
"""Seconds that the server has to hang up after the closing handshake."""

NO_PONG = Disconnect(ABNORMAL.code, "no pong")
NO_CLOSE = Disconnect(ABNORMAL.code, "the server did not answer the close")


class WebSocketClient(Sending, Opening):
    """Hold one WebSocket connection, read on a thread of its own.

    Subclass it and override ``opened``, ``received_message``, ``ponged`` and ``closed``: they run
    on that thread, one at a time. What they raise is logged and closes the connection with 1011.
    ``connect`` and ``run_forever`` belong to one thread; ``send``, ``ping`` and ``close`` are safe
    from any, callbacks included.

    It differs from ws4py's where that one loses, hangs or trusts too much: ``connect`` is bounded
    and tries every address, TLS is verified, answers are checked, the subprotocol in
    ``protocols`` is text in the server's spelling, ``heartbeat_freq`` sends pings and expects
    answers, a message keeps its ``data``, ``closed`` gets its reason as text.

    Args:
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket``, with credentials where the
            server wants Basic authentication.
        protocols: subprotocols to offer.
        extensions: as ws4py's: kept, not offered.
        heartbeat_freq: seconds without traffic after which the server is pinged. None or 0: never.
        ssl_options: see ``tls.make_context``.
        headers: further request headers, pairs or a mapping.
        exclude_headers: names of headers to leave out.
        ssl_context: a context of your own, in place of ``ssl_options``.
        proxy: see ``proxy.find_proxy``.
        unix_socket: the path of a Unix socket to connect to in place of the URL's host.
        timeout: seconds for each step of connecting, and for a write to make any progress.
        close_timeout: seconds that the server has to answer a close frame.
        pong_timeout: seconds that it has to answer a ping; any traffic counts.
        max_message_size: bytes of one inbound message; past it the connection ends with 1009.

    Raises:
        InvalidSetting: an argument has a value that cannot work.
    """

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
        super().__init__(url, protocols, extensions, heartbeat_freq, ssl_options, headers,
                         exclude_headers, ssl_context=ssl_context, proxy=proxy,
                         unix_socket=unix_socket)
        self.daemon = True
        self._timeout = options.check_seconds("timeout", timeout)
        self._close_timeout = options.check_seconds("close_timeout", close_timeout)
        self._keepalive = Keepalive(
            options.check_seconds("heartbeat_freq", heartbeat_freq or 0, zero=True),
            options.check_seconds("pong_timeout", pong_timeout))
        self._reader = self._make_reader(options.check_count("max_message_size", max_message_size))
        self._begin()

    def _begin(self) -> None:
        """Set up what changes while the connection lives."""
        self._lock = threading.RLock()          # guards the next three
        self._wire: Wire | None = None
        self._close_asked = False
        self._close_sent: Disconnect | None = None
        self._begin_sending()
        self._waker: Waker | None = None
        self._th: threading.Thread | None = None
        self._reading_thread: int | None = None
        self._started = False
        self._ended = threading.Event()
        self._early = b""
        self._end: Disconnect | None = None     # what ``closed`` will be told
        self._end_by: float | None = None       # when to stop waiting for the other side

    def __repr__(self) -> str:
        state = "closed" if self.terminated else "open" if self._wire else "not connected"
        return f"<{type(self).__name__}: {state}, {self.scheme}://{self.host}:{self.port}>"

    # connecting

    def connect(self) -> None:
        """Connect, shake hands and start to read. Works once.

        Raises:
            ConnectFailed: no connection was made, and why; nothing is left open.
            ConnectionClosed: it was closed meanwhile, or connected before.
        """
        with self._lock:
            if self._started:
                raise ConnectionClosed("connect() works once: make another client")
            self._started = True
        self._waker = self._make_waker()
        try:
            self._dial(self._waker)
        except BaseException:
            self._dispose()
            raise
        self.handshake_ok()

    def handshake_ok(self) -> None:
        """Start the thread that reads; called once the server has agreed."""
        self._th = threading.Thread(target=self.run, name=type(self).__name__, daemon=self.daemon)
        self._th.start()

    def run_forever(self) -> None:
        """Block until the connection has ended and ``closed`` has returned."""
        if self._wire is not None:
            self._ended.wait()
        if self._th is not None and self._th is not threading.current_thread():
            self._th.join()

    def _dial(self, waker: Waker) -> None:
        patience = Patience(waker, self._timeout, lambda: self._close_asked)
        sock, self._early = self._open(self._make_resolver(), patience)
        with self._lock:
            if not self._close_asked:
                self._wire = Wire(sock, waker)
                self.sock = sock
                return
        sock.close()
        patience.check()

    def _make_waker(self) -> Waker:
        return Waker()

    def _make_resolver(self) -> dialing.Resolver:
        return dialing.Resolver()

    def _make_reader(self, max_message_size: int) -> FrameReader:
        return FrameReader(max_message_size, from_client=False)

    # reading: the connection's own thread

    def run(self) -> None:
        """Read until the connection has ended; then call ``closed``."""
        self._reading_thread = threading.get_ident()
        wire = self._wire
        assert wire is not None
        try:
            self._keepalive.heard(time.monotonic())
            self._call(self.opened)
            self._take(self._reader.feed(self._early))
            self._after_read()
            while not self._is_over():
                self._read_once(wire)
        finally:
            self._finish()

    def _read_once(self, wire: Wire) -> None:
        data = wire.receive(READ_SIZE)
        if data is None:
            wire.wait(self._seconds_to_wait())
        elif not data:
            self._note_end(Disconnect(ABNORMAL.code, wire.failure or LOST))
            self._end_by = 0.0
        else:
            self._keepalive.heard(time.monotonic())
            self._take(self._reader.feed(data))
            self._after_read()

    def _take(self, received: Sequence[Received]) -> None:
        """Act on what the server sent, in order."""
        for item in received:
            if isinstance(item, (Disconnect, PingControlMessage, PongControlMessage)):
                self._control(item)
            else:
                self._call(self.received_message, item)

    def _control(self, item: Received) -> None:
        if isinstance(item, Disconnect):
            self._note_end(item)
            self.server_terminated = True
            self._send_close(item)
        elif isinstance(item, PingControlMessage):
            self._answer_ping(item)
        else:
            self._call(self.ponged, item)

    def _answer_ping(self, ping: PingControlMessage) -> None:
        if self._wire is not None and self._wire.queued < MAX_OUTBOX:  # else a later one will do
            self._try_write(frame(OPCODE_PONG, ping.data, new_mask_key()))

    def _after_read(self) -> None:
        failure = self._reader.failure
        if failure is not None and not self.server_terminated:
            logger.info("The server broke the protocol: %s", failure.reason)
            self._note_end(failure)
            self.server_terminated = True
            self._send_close(failure)
        if self._wire is not None and self._wire.queued:
            self._wire.flush()

    def _note_end(self, disconnect: Disconnect) -> None:
        """Keep the first reason for the end: what follows from it says less."""
        if self._end is None:
            self._end = disconnect

    def _is_over(self) -> bool:
        """Tell whether to stop reading; send a ping where one is due."""
        now = time.monotonic()
        if self._end_by is not None:
            if now >= self._end_by:
                self._note_end(NO_CLOSE)
            return now >= self._end_by
        if self._keepalive.is_overdue(now):
            self._note_end(NO_PONG)
            return True
        if self._keepalive.is_due(now):
            self._keepalive.pinged(now)
            self._try_write(frame(OPCODE_PING, b"", new_mask_key()))
        return False

    def _seconds_to_wait(self) -> float | None:
        now = time.monotonic()
        if self._end_by is not None:
            return max(0.0, self._end_by - now)
        return self._keepalive.seconds(now)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Run a callback of the application; what it raises ends this connection only."""
        try:
            callback(*arguments)
        except Exception:
            logger.exception("%s failed", getattr(callback, "__qualname__", callback))
            self._send_close(HANDLER_FAILED)

    def _finish(self) -> None:
        """Give everything back and call ``closed``: the one place where a connection ends."""
        end = self._end or Disconnect(ABNORMAL.code, LOST)
        with self._lock:
            self.client_terminated = self.server_terminated = True
            if self._wire is not None:
                self._wire.release()
            self.sock = None
        try:
            self._call(self.closed, end.code, end.reason)
        finally:
            self._dispose()

    def _dispose(self) -> None:
        if self._waker is not None:
            self._waker.close()
        self._ended.set()

    # closing: any thread

    def close(self, code: int = NORMAL.code, reason: str = "") -> None:
        """Begin to close, behind all that was sent before, or stop connecting; never blocks.

        The thread ends when the server has answered, or after ``close_timeout``; ``run_forever``
        waits for that. A second time does nothing.

        Args:
            code: 1000, 1001 or 3000 to 4999, for example.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidSetting: one of them cannot be sent.
        """
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        disconnect = checked_disconnect(code, reason)
        with self._lock:
            self._close_asked = True
        if self._wire is not None:
            self._send_close(disconnect)
        elif self._waker is not None:
            self._waker.wake()

    def _send_close(self, disconnect: Disconnect) -> None:
        with self._lock:
            if self._wire is None or self.terminated and self.sock is None:
                return
            if self._close_sent is None:
                self._try_write(close_frame(disconnect, new_mask_key()))
                self._close_sent = disconnect
                self.client_terminated = True
                self._end_by = time.monotonic() + self._close_timeout
            if self.server_terminated:
                self._end_by = time.monotonic() + END_TIMEOUT
        if self._waker is not None:
            self._waker.wake()

    def close_connection(self) -> None:
        """End the connection at once, without a closing handshake."""
        if self._wire is not None:
            self._wire.shut_down("closed by close_connection()")

    def terminate(self) -> None:
        """End the connection at once; ``closed`` is called on its thread, as ever."""
        self.close_connection()
