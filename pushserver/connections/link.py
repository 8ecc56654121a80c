"""One connection's life on the loop's thread, from the handover to its close."""
from __future__ import annotations

import logging
import ssl
import time
from functools import partial
from typing import Any

from ws4py.framing import OPCODE_BINARY, OPCODE_PING, OPCODE_TEXT
from ws4py.websocket import WebSocket

from ..runtime.loop import READ, WRITE
from ..runtime.outbox import Outbox
from ..runtime.runtime import Home
from ..runtime.sockets import LOST, RECEIVE_SIZE, WRITE_SIZE, LoopSocket
from ..runtime.timers import Action, Timer
from ..wire.disconnects import ABNORMAL, HANDLER_FAILED, NO_PONG, SHUTTING_DOWN, SLOW, Disconnect
from ..wire.frames import OPCODE_PONG, close_frame, frame
from ..wire.parser import FrameReader, Received
from .inbox import Inbox
from .keepalive import KeepAlive
from .plain import Protocol

logger = logging.getLogger(__name__)

READS_PER_ROUND = 16
READ_TIME = 0.002
"""Reads of one connection, and seconds that they may take, before the others have their turn."""

WRITES_WHEN_FEW = 4
"""Times ``WRITE_SIZE`` that one connection may write while few others have to wait."""

HANDLER_GRACE = 1.0
"""Seconds that a handler has to answer what came before the client's close frame."""

WAITING, OPEN, CLOSING, LINGERING, CLOSED = range(5)
"""States: not yet taken over by the loop; open; a close frame is queued or written; all is written
and what still comes is thrown away; ended."""

_STATE_NAMES = ("waiting", "open", "closing", "lingering", "closed")


class Link:
    """Own one connection's socket: read it, write it, and end it, in one place.

    Only the loop's thread may call it. What is received goes to ``inbox``, from which workers
    take it; all that is written passes through ``outbox`` or finds it empty.

    Args:
        connection: the application's object for this connection.
        Id: who the client is.
        sock: the socket, non-blocking.
        answer: the handshake's answer, the first bytes to be written.
        home: what all links share.
    """

    __slots__ = ("connection", "Id", "channels", "protocol", "home", "socket", "send", "inbox",
                 "outbox", "busy", "direct", "watching", "state", "disconnect", "last_read",
                 "_reader", "_keepalive", "_deadline", "_peer_closed", "_failed", "_fd",
                 "_can_place")

    def __init__(self, connection: Any, Id: str, sock: LoopSocket, answer: bytes,
                 home: Home[Link]) -> None:
        self.connection = connection
        self.Id = Id
        self.channels: set[str] | None = None
        self.protocol: Protocol = connection.protocol
        self.home = home
        self.socket = sock
        self.send = sock.send
        self.inbox = Inbox(connection, home, self)
        self.outbox = Outbox(home.settings.max_outbox)
        self.outbox.force(answer)
        self.busy = True
        self.direct: int | ssl.SSLSocket | None = None
        self.watching = 0
        self.state = WAITING
        self.disconnect: Disconnect | None = None
        self.last_read = 0.0
        self._reader = FrameReader(home.settings.max_message_size)
        self._keepalive: KeepAlive | None = None
        self._deadline: Timer | None = None
        self._peer_closed = False
        self._failed = False
        self._fd = sock.socket.fileno()
        self._can_place = sock.can_place

    def __repr__(self) -> str:
        return f"<Link Id={self.Id!r} {_STATE_NAMES[self.state]}>"

    def fileno(self) -> int:
        """Return the socket's descriptor, also when the site has closed it behind our back."""
        return self._fd

    # Beginning

    def open(self, early: bytes, heartbeat: float = 0) -> None:
        """Take the socket over: write the handshake's answer, then what waits behind it.

        Args:
            early: what the client has sent behind its handshake already.
            heartbeat: seconds between heartbeats; 0: none.
        """
        if self.state != WAITING:
            return
        self.state = OPEN
        self.last_read = self.home.loop.now
        self.home.links.add(self)
        self.home.loop.watch(self, READ)
        self.inbox.open()
        self._keepalive = KeepAlive(self, heartbeat)
        self.flush()
        if early and self.state == OPEN:
            self._take(early)
        if self.disconnect and self.state == OPEN:
            self._send_close(self.disconnect)
        if self.state == OPEN:
            self.readable()

    # Reading

    def readable(self) -> None:
        """Read until the socket and its TLS layer are empty, or the others have to have a turn."""
        deadline = time.monotonic() + READ_TIME
        for _ in range(READS_PER_ROUND):
            if self.inbox.is_full or self.state == CLOSED:
                return
            size = self._read_once()
            if size is None:
                return
            if not size:
                self.end(ABNORMAL)
                return
            if size < RECEIVE_SIZE and not self.socket.pinned:
                return
            if time.monotonic() > deadline:
                break
        if self.socket.has_pending():
            self.home.loop.again(self)

    def _read_once(self) -> int | None:
        """Read and handle what has come: its size, None if nothing has, 0 if nothing ever will."""
        place = self._reader.place() if self._can_place else None
        if place is not None:
            size = self.socket.receive_to(*place)  # type: ignore[union-attr]
            data = None
        else:
            data = self.socket.receive()
            size = data if data is None else len(data)
        if size:
            self.last_read = self.home.loop.now
            if self.state == LINGERING:
                pass  # thrown away
            elif data is None:
                self._handle(self._reader.placed(size))
            else:
                self._take(data)
        return size

    def _take(self, data: bytes) -> None:
        self._handle(self._reader.feed(data))

    def _handle(self, messages: list[Received]) -> None:
        for message in messages:
            if isinstance(message, Disconnect):
                self._peer_closes(message)
            elif self.state == OPEN:
                self._received_one(message)
        if self.outbox.size and not self.busy:
            self.flush()  # all pongs at once
        if self._reader.failure is not None and not self._failed:
            self._fail(self._reader.failure)

    def _received_one(self, message: Any) -> None:
        opcode = message.opcode
        if opcode == OPCODE_PING:
            self.enqueue(frame(OPCODE_PONG, message.data))
        elif opcode == OPCODE_TEXT or opcode == OPCODE_BINARY \
                or type(self.connection).ponged is not WebSocket.ponged:
            if self.inbox.put(message):
                self._watch()  # not to read, until the handler has caught up

    def resume(self) -> None:
        """Read on; see ``Reader``."""
        if self.inbox.is_full and self.state != CLOSED:
            self.inbox.is_full = False
            self.last_read = self.home.loop.now
            self._watch()
            self.home.loop.again(self)

    def _watch(self) -> None:
        read = 0 if self.inbox.is_full else READ
        self.home.loop.watch(self, read | (WRITE if self.outbox.size else 0))

    # Writing

    def enqueue(self, *pieces: bytes) -> None:
        """Queue whole frames; a full outbox ends the connection as slow. See ``Outbox.append``."""
        if self.state > OPEN or self.outbox.append(*pieces):
            return
        if self.state == OPEN:
            self.flush()  # perhaps nobody had asked the socket for a while
        if self.state > OPEN:
            return
        if not self.outbox.append(*pieces):
            self._slow()
        elif not self.busy:
            self.flush()

    def write(self, *pieces: bytes) -> None:
        """Queue whole frames as ``enqueue``, and write them if nothing waits for the socket."""
        self.enqueue(*pieces)
        if not self.busy:
            self.flush()

    def partial(self, data: bytes, sent: int) -> None:
        """Queue what was begun, a message or short ones joined: ``sent`` of its bytes are out."""
        if sent == LOST:
            self.end(ABNORMAL)
            return
        self.outbox.force(data, sent)
        self._wait_writable()

    def flush(self) -> None:
        """Write what waits, as much as the socket takes and the others can wait for."""
        room = WRITE_SIZE if self.home.loop.is_crowded else WRITE_SIZE * WRITES_WHEN_FEW
        while self.outbox.size and room > 0:
            data = self.outbox.peek(room)
            sent = self.socket.send(data)
            if sent == LOST:
                self.end(ABNORMAL)
                return
            self.outbox.advance(sent)
            room = room - sent if sent == len(data) else 0
        if self.outbox.size:
            self._wait_writable()
        else:
            self._flushed()

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self.direct = None if busy else self.socket.direct

    def _wait_writable(self) -> None:
        self._set_busy(True)
        self._watch()

    def _flushed(self) -> None:
        self._watch()
        if self.state == OPEN:
            self._set_busy(False)
        elif self._peer_closed:
            self.socket.finish()
            self.end(ABNORMAL)
        elif self._failed and self.state == CLOSING:
            self.state = LINGERING
            self.socket.finish()

    # Ending

    def close(self, disconnect: Disconnect) -> None:
        """Begin the closing handshake behind all that is queued. Safe to repeat."""
        if self.state == WAITING:
            self.disconnect = self.disconnect or disconnect
        elif self.state == OPEN:
            self._send_close(disconnect)

    def _send_close(self, disconnect: Disconnect) -> None:
        self.disconnect = self.disconnect or disconnect
        self.state = CLOSING
        self._set_busy(True)
        if self.inbox.is_full:
            self.inbox.is_full = False
            self.home.loop.again(self)
        self.connection.server_terminated = True
        self.home.hub.remove(self)
        self.outbox.force(close_frame(disconnect))
        self._set_deadline(self.home.settings.close_timeout, partial(self.end, ABNORMAL))
        self.flush()

    def _set_deadline(self, seconds: float, action: Action) -> None:
        """Have something done if the closing goes no further until then."""
        self._stop_timers()
        loop = self.home.loop
        self._deadline = loop.call_later(seconds, partial(loop.guarded, self, action))

    def _stop_timers(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None

    def _peer_closes(self, disconnect: Disconnect) -> None:
        self._peer_closed = True
        self.connection.client_terminated = True
        if self.state == OPEN:
            self._close_behind_handler(disconnect)
        elif self.state == CLOSING:
            self.flush()

    def _close_behind_handler(self, disconnect: Disconnect) -> None:
        """Close once the handler has answered what had come before; not long after in any case."""
        self.disconnect = self.disconnect or disconnect
        self._set_deadline(HANDLER_GRACE, partial(self.close, disconnect))
        close_behind_queued = partial(self.home.loop.call_for, self, self.close, disconnect)
        if self.inbox.active:
            self.home.post(self.inbox, close_behind_queued)
        else:
            close_behind_queued()

    def _fail(self, disconnect: Disconnect) -> None:
        """Close on a peer that broke the protocol: its answer would not be understood."""
        self._failed = True
        logger.debug("Id %r: closed with %d, %s", self.Id, *disconnect)
        if self.state == OPEN:
            self._close_behind_handler(disconnect)
        else:
            self.end(ABNORMAL)

    def _slow(self) -> None:
        """Close on a client that does not read: what it has not seen is dropped."""
        logger.debug("Id %r: slow, %d bytes waited", self.Id, self.outbox.size)
        if self.state == OPEN:
            self.outbox.drop_unsent(self.socket.pinned)
        self.close(SLOW)

    def no_pong(self) -> None:
        """End on a client that has not answered a ping; see ``Living``."""
        if not self.outbox.size:
            self.socket.send(close_frame(NO_PONG))
        logger.debug("Id %r: no pong", self.Id)
        self.end(ABNORMAL)

    def crashed(self) -> None:
        """End after an error in this class; see ``Watched``."""
        self.end(HANDLER_FAILED)

    def abort(self) -> None:
        """End without a closing handshake, because the server stops."""
        self.end(SHUTTING_DOWN)

    def end(self, disconnect: Disconnect) -> None:
        """End here and now; the one place where a connection ends. Safe to repeat.

        Args:
            disconnect: what ``closed`` is told if neither side has sent a close frame.
        """
        if self.state == CLOSED:
            return
        was_open = self.state != WAITING
        self.state = CLOSED
        self._set_busy(True)
        self.disconnect = self.disconnect or disconnect
        self._stop_timers()
        self.inbox.let_go()
        self.outbox = Outbox(0)
        self.home.hub.remove(self)
        self.connection.client_terminated = self.connection.server_terminated = True
        try:
            self.home.loop.watch(self, 0)
            self.socket.close()
        finally:
            if was_open:
                self.inbox.close(self.disconnect)
                self.home.ended(self)
