"""One WebSocket connection: it reads, keeps itself alive, ends, and tells its handler.

Source: RFC 6455.
"""
from __future__ import annotations

import logging
import socket
import threading
import time
from itertools import groupby
from typing import Any, Protocol, Sequence

from pushserver.wire.disconnects import ABNORMAL, HANDLER_FAILED, Disconnect
from pushserver.wire.frames import OPCODE_PING, OPCODE_PONG
from pushserver.wire.keepalive import KeepAliveRule
from pushserver.wire.parser import FrameReader, Received
from ws4py.messaging import PingControlMessage, PongControlMessage

from ..bell import Bell
from ..errors import ConnectionClosed
from ..forks import FORKED, called_in_children
from ..options import ConnectionOptions
from .errands import Errands
from .request import Request
from .sending import MAX_OUTBOX, Sender
from .transport import LOST, Transport
from .waker import NEVER, StepDeadline, Waker

logger = logging.getLogger("pushclient")

READ_SIZE = 1024 * 1024
"""Bytes of one read: all there is. With a quarter of this, reading costs a third more CPU."""

END_TIMEOUT = 1.0
"""Seconds that the server has to hang up after the closing handshake."""

LONGEST_WAIT = 24 * 3600.0
"""Seconds that one wait may last: selectors accept no more than a few weeks."""

CHILD = Disconnect(ABNORMAL.code, FORKED)
SERVER_SILENT = Disconnect(ABNORMAL.code, "no pong")
NO_CLOSE = Disconnect(ABNORMAL.code, "the server did not answer the close")

_CONTROL = frozenset({PingControlMessage, PongControlMessage, Disconnect})


class ConnectionHandler(Protocol):
    """Is told about a connection, always on the thread that reads it."""

    @property
    def due(self) -> float:
        """Return when to call ``run_due``, as a time of ``time.monotonic``; ``NEVER``: not at all.

        A thread that makes it earlier has to call ``Connection.wake``.
        """

    def opened(self) -> None:
        """Begin: the server has agreed."""

    def received(self, messages: Sequence[Any]) -> None:
        """Take messages, in order; nothing is read meanwhile."""

    def ponged(self, pong: PongControlMessage) -> None:
        """Take the answer to a ping."""

    def run_due(self) -> None:
        """Do what is due."""

    def closed(self, end: Disconnect) -> None:
        """Take note of the end. Called once."""


class Connection:
    """Hold one WebSocket connection.

    ``connect`` and then ``run`` belong to one thread, or to two in turn. Everything else is for
    any thread, unless it says otherwise.

    Args:
        handler: is told of messages and of the end.
        options: how long to wait, and how much to take.
        values: give the handler messages as ``str`` and ``bytes``, not as ws4py's messages. A ping
            among them is answered first, because the handler may take long.

    Attributes:
        sender: sends messages.
        subprotocol: the one that the server chose, or None.
    """

    def __init__(self, handler: ConnectionHandler, options: ConnectionOptions, *,
                 values: bool = False) -> None:
        self.sender = Sender(options.timeout)
        self.subprotocol: str | None = None
        self._handler = handler
        self._options = options
        self._values = values
        self._reader = FrameReader(options.max_message_size, from_client=False, values=values)
        self._keepalive = KeepAliveRule(options.ping_interval, options.pong_timeout)
        self._early = b""
        self._lock = threading.RLock()          # guards what follows
        self._waker: Waker | None = None
        self._transport: Transport | None = None
        self._close_asked = False
        self._server_closed = False
        self._is_finished = self._is_forked = False
        self._end: Disconnect | None = None
        self._end_by: float | None = None       # when to stop waiting for the server
        self._is_told = False                   # the handler knows of the end
        self._told = Bell()
        called_in_children(self._forked)

    def __repr__(self) -> str:
        return f"<Connection: {'closed' if self._is_finished else self._transport or 'not open'}>"

    def _forked(self) -> None:
        """Leave the connection to the parent process: say nothing, and have ended."""
        self._lock = threading.RLock()
        self._close_asked = self._is_finished = self._is_forked = True
        self._note_end(CHILD)
        self._end_by = 0.0
        self.sender.forked()
        self._is_told = True
        self._told.ring()

    @property
    def sock(self) -> socket.socket | None:
        """Return the socket; None before there is one and once the connection has ended."""
        return self._transport.sock if self._transport and not self._is_finished else None

    @property
    def client_closed(self) -> bool:
        """Tell whether we have sent a close frame, or the connection has ended."""
        return self.sender.is_closed or self._is_finished

    @property
    def server_closed(self) -> bool:
        """Tell whether the server closed or broke the protocol, or the connection has ended."""
        return self._server_closed or self._is_finished

    @property
    def end(self) -> Disconnect:
        """Return how the connection ended."""
        return self._end or Disconnect(ABNORMAL.code, LOST)

    @property
    def queued(self) -> int:
        """Return the number of bytes that wait to be written."""
        return self._transport.queued if self._transport else 0

    # connecting

    def connect(self, request: Request, waker: Waker, errands: Errands) -> None:
        """Connect and shake hands. Works once.

        Args:
            request: what to ask for.
            waker: ends this connection's waits; the caller closes it after the end.
            errands: run what may hang: the lookup of the name, functions for credentials.

        Raises:
            ConnectFailed: why no connection was made; nothing is left open.
            ConnectionClosed: it was closed meanwhile, or connected before.
        """
        with self._lock:
            if self._waker is not None:
                raise ConnectionClosed("connect() works once: make another client")
            self._waker = waker
        deadline = StepDeadline(waker, self._options.timeout, lambda: self._close_asked)
        sock, self.subprotocol, self._early = request.open(errands, deadline)
        with self._lock:
            if not self._close_asked:
                self._transport = Transport(sock, waker)
                self.sender.open(self._transport)
                return
        sock.close()
        deadline.check()

    # reading

    def run(self) -> None:
        """Read until the connection has ended, then tell the handler."""
        transport = self._transport
        assert transport is not None
        self.sender.reading_thread = threading.get_ident()
        try:
            self._keepalive.heard(time.monotonic())
            self._handler.opened()
            self._take(self._reader.feed(self._early))
            self._after_read(transport)
            while not self._is_over():
                self._read_once(transport)
        except BaseException:  # SystemExit in a callback, for example
            self.sender.close(HANDLER_FAILED)
            raise
        finally:
            with self._lock:
                self._is_finished = True
                transport.release()
            if not self._is_forked:
                self._handler.closed(self.end)
            self._is_told = True
            self._told.ring()

    def wait_for_end(self) -> None:
        """Wait until the handler has been told of the end. Not on its thread."""
        self._told.wait(lambda: self._is_told)

    def _read_once(self, transport: Transport) -> None:
        data = transport.receive(READ_SIZE)
        if data is None:
            transport.wait(self._seconds_to_wait())
        elif not data:
            self.drop(Disconnect(ABNORMAL.code, transport.failure or LOST))
        else:
            self._keepalive.heard(time.monotonic())
            self._take(self._reader.feed(data))
            self._after_read(transport)

    def _take(self, received: Sequence[Received]) -> None:
        """Act on what the server sent, in order."""
        if _CONTROL.isdisjoint(map(type, received)):
            if received:
                self._handler.received(received)
            return
        if self._values:
            received = sorted(received, key=_urgency)
        for is_control, items in groupby(received, lambda item: type(item) in _CONTROL):
            if is_control:
                for item in items:
                    self._control(item)
            else:
                self._handler.received(list(items))

    def _control(self, item: Received) -> None:
        if isinstance(item, Disconnect):
            self._server_closed = True
            self.close_with(item, because=item)
        elif isinstance(item, PingControlMessage):
            if self.queued < MAX_OUTBOX:  # else the pong to a later ping is enough
                self.sender.try_send(OPCODE_PONG, item.data)
        else:
            self._handler.ponged(item)

    def _after_read(self, transport: Transport) -> None:
        failure = self._reader.failure
        if failure is not None and not self._server_closed:
            logger.info("The server broke the protocol: %s", failure.reason)
            self._server_closed = True
            self.close_with(failure, because=failure)
        if transport.queued:
            transport.flush()

    def _is_over(self) -> bool:
        """Do what is due, and ping; tell whether to stop reading."""
        now = time.monotonic()
        if self._end_by is None and now >= self._handler.due:
            self._handler.run_due()
        if self._end_by is not None:
            if now >= self._end_by:
                self._note_end(NO_CLOSE)
            return now >= self._end_by
        if self._keepalive.is_overdue(now):
            self._note_end(SERVER_SILENT)
            return True
        if self._keepalive.is_due(now):
            self._keepalive.pinged(now)
            self.sender.try_send(OPCODE_PING, b"")
        return False

    def _seconds_to_wait(self) -> float | None:
        now = time.monotonic()
        if self._end_by is not None:
            return max(0.0, self._end_by - now)
        seconds, due = self._keepalive.seconds(now), self._handler.due
        if due == NEVER:
            return seconds
        left = min(LONGEST_WAIT, max(0.0, due - now))
        return left if seconds is None else min(left, seconds)

    def wait_without_reading(self) -> None:
        """Until woken, only write what is queued. For the handler, on its thread."""
        if self._transport is not None:
            self._transport.wait(None, reading=False)

    def wake(self) -> None:
        """End the reading thread's wait, so that it looks at what is due."""
        if self._waker is not None:
            self._waker.wake()

    # ending

    def close(self, disconnect: Disconnect) -> None:
        """Begin to close, after everything sent before, or stop connecting; never block."""
        with self._lock:
            self._close_asked = True
        if self._transport is not None:
            self.close_with(disconnect)
        else:
            self.wake()

    def close_with(self, disconnect: Disconnect, *, because: Disconnect | None = None) -> None:
        """Send a close frame, unless one was sent, and give the server time to hang up.

        Args:
            disconnect: what the frame says.
            because: how the connection ended, as we see it; None: the server will say.
        """
        if because is not None:
            self._note_end(because)
        with self._lock:
            if self._transport is None or self._is_finished:
                return
            if self.sender.close(disconnect):
                self._end_by = time.monotonic() + self._options.close_timeout
            if self._server_closed:
                self._end_by = time.monotonic() + END_TIMEOUT
        self.wake()

    def drop(self, end: Disconnect) -> None:
        """Stop reading, without a closing handshake. For the handler, on its thread."""
        self._note_end(end)
        self._end_by = 0.0

    def shut_down(self, why: str) -> None:
        """End the connection at once, without a closing handshake."""
        if self._transport is not None:
            self._transport.shut_down(why)

    def _note_end(self, end: Disconnect) -> None:
        """Keep the first reason for the end: later ones follow from it and say less."""
        if self._end is None:
            self._end = end


def _urgency(item: Received) -> int:
    return 2 if isinstance(item, Disconnect) else type(item) not in _CONTROL
