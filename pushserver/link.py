"""One connection's life on the loop's thread, from the handover to its close."""
from __future__ import annotations

import logging
import ssl
import time
from functools import partial
from typing import Any, Callable, Protocol

from ws4py.framing import OPCODE_BINARY, OPCODE_PING, OPCODE_TEXT
from ws4py.websocket import WebSocket

from .disconnects import ABNORMAL, HANDLER_FAILED, NO_PONG, SHUTTING_DOWN, SLOW, Disconnect
from .errors import ConnectionClosed
from .frames import OPCODE_PONG, close_frame, frame
from .reader import FrameReader, Received
from .hub import Hub
from .loop import READ, WRITE, Loop
from .outbox import Head, Outbox
from .settings import Settings
from .sockets import LOST, RECEIVE_SIZE, WRITE_SIZE, Transport
from .timers import Timer
from .workers import STALL, Mailbox, Workers

logger = logging.getLogger(__name__)

READS_PER_ROUND = 16
READ_TIME = 0.002
"""Reads of one connection, and seconds that they may take, before the others have their turn."""

WRITES_WHEN_FEW = 4
"""Times ``WRITE_SIZE`` that one connection may write while few others have to wait."""

MESSAGE_OVERHEAD = 256
"""Bytes that a waiting message costs beside its data, so that empty ones count too."""

HANDLER_GRACE = 1.0
"""Seconds that a handler has to answer what came before the client's close frame."""

WAITING, OPEN, CLOSING, LINGERING, CLOSED = range(5)
"""States: not yet taken over by the loop; open; a close frame is queued or written; all is written
and what still comes is thrown away; ended."""

_STATE_NAMES = ("waiting", "open", "closing", "lingering", "closed")

_PING = frame(OPCODE_PING, b"")

HEARTBEAT = frame(OPCODE_TEXT, b"")
"""What a client gets that asked to be told that the server is there: browsers hide pings."""


class Events(Protocol):
    """Who is told, on a worker thread, what happens to connections."""

    def opened(self, connection: Any) -> None:
        """A connection is open."""

    def received(self, connection: Any, message: Any) -> None:
        """A connection has received a message."""

    def closed(self, connection: Any, code: int, reason: str) -> None:
        """A connection has ended."""


class Home:
    """What all links of one run of the server share.

    ``post`` and ``links`` belong to the loop's thread; the rest may be read by any.
    """

    def __init__(self, settings: Settings, hub: "Hub[Link]", loop: Loop, workers: Workers,
                 events: Events) -> None:
        self.settings = settings
        self.hub = hub
        self.loop = loop
        self.workers = workers
        self.events = events
        self.links: set[Link] = set()
        self.on_empty: Callable[[], None] | None = None
        self._relief: Timer | None = None

    def post(self, link: "Link", job: Callable[[], None]) -> None:
        """Have a callback run on a worker, and see to it that blocked workers are relieved."""
        self.workers.post(link, job)
        if self._relief is None and self.workers.is_behind:
            self._relief = self.loop.call_later(STALL, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        if self.workers.is_behind:
            self.workers.relieve()
            self._relief = self.loop.call_later(STALL, self._relieve)

    def ended(self, link: "Link") -> None:
        """Forget a link that has ended."""
        self.links.discard(link)
        if not self.links and self.on_empty is not None:
            self.on_empty()


class Link(Mailbox):
    """Own one connection's socket: read, write, ping, and end it, in one place.

    The loop's thread calls everything here but ``backlog`` and the jobs (``_run_*``), which
    workers run one at a time. All that is written passes through ``outbox`` or finds it empty.

    Args:
        connection: the application's object for this connection.
        Id: who the client is.
        transport: the socket, non-blocking.
        answer: the handshake's answer, the first bytes to be written.
        home: what all links share.
    """

    __slots__ = ("connection", "Id", "channels", "home", "transport", "send", "outbox", "busy",
                 "direct", "watching", "state", "disconnect", "_reader", "_timer", "_last_read",
                 "_pinged_at", "_paused", "_peer_closed", "_failed", "_deaf", "_fd", "_received",
                 "_can_place", "_handled", "_heartbeat")

    def __init__(self, connection: Any, Id: str, transport: Transport, answer: bytes,
                 home: Home) -> None:
        super().__init__()
        self.connection = connection
        self.Id = Id
        self.channels: set[str] | None = None
        self.home = home
        self.transport = transport
        self.send = transport.send
        self.outbox = Outbox(home.settings.max_outbox)
        self.outbox.force(answer)
        self.busy = True
        self.direct: int | ssl.SSLSocket | None = None
        self.watching = 0
        self.state = WAITING
        self.disconnect: Disconnect | None = None
        self._reader = FrameReader(home.settings.max_message_size)
        self._timer: Timer | None = None
        self._heartbeat: Timer | None = None
        self._last_read = 0.0
        self._pinged_at = 0.0
        self._paused = False
        self._peer_closed = False
        self._failed = False
        self._deaf = False
        self._fd = transport.socket.fileno()
        self._can_place = transport.can_place
        self._received = 0
        self._handled = 0

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
        self._last_read = self.home.loop.now
        self.home.links.add(self)
        self.home.loop.watch(self, READ)
        self.home.post(self, self._run_opened)
        self._schedule_ping(self.home.settings.ping_interval)
        if heartbeat:
            self._schedule_heartbeat(heartbeat)
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
            if self._paused or self.state == CLOSED:
                return
            size = self._read_once()
            if size is None:
                return
            if not size:
                self.end(ABNORMAL)
                return
            if size < RECEIVE_SIZE and not self.transport.pinned:
                return
            if time.monotonic() > deadline:
                break
        if self.transport.has_pending():
            self.home.loop.again(self)

    def _read_once(self) -> int | None:
        """Read and handle what has come: its size, None if nothing has, 0 if nothing ever will."""
        place = self._reader.place() if self._can_place else None
        if place is not None:
            size = self.transport.receive_to(*place)  # type: ignore[union-attr]
            data = None
        else:
            data = self.transport.receive()
            size = data if data is None else len(data)
        if size:
            self._last_read = self.home.loop.now
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
        if opcode == OPCODE_TEXT or opcode == OPCODE_BINARY:
            self._post_counted(message)
        elif opcode == OPCODE_PING:
            self.enqueue(frame(OPCODE_PONG, message.data))
        elif type(self.connection).ponged is not WebSocket.ponged:
            self._post_counted(message)

    @property
    def backlog(self) -> int:
        """Return the bytes that were received and are not yet handled."""
        return self._received - self._handled

    def _post_counted(self, message: Any) -> None:
        """Hand a message to the workers; stop reading when the handler falls behind."""
        self._received += len(message.data) + MESSAGE_OVERHEAD
        self.home.post(self, partial(self._run_message, message))
        limit = self.home.settings.max_inbox
        if not self._paused and self.backlog > limit:
            self._paused = True  # before the second look: a worker that is done by now sees it
            if self.backlog > limit // 2:
                self._watch()
            else:
                self._paused = False

    def _resume(self) -> None:
        if self._paused and self.state != CLOSED:
            self._paused = False
            self._last_read = self.home.loop.now
            self._watch()
            self.home.loop.again(self)

    def _watch(self) -> None:
        read = 0 if self._paused else READ
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

    def send_long(self, head: Head, payload: bytes) -> None:
        """Write a frame whose payload was not copied behind its header."""
        self.enqueue(head, payload)
        if not self.busy:
            self.flush()

    def partial(self, data: bytes, sent: int) -> None:
        """Queue frames of which only the first ``sent`` bytes could be written."""
        if sent == LOST:
            self.end(ABNORMAL)
            return
        self.outbox.force(data, sent)
        self._wait_writable()
        while self.state == OPEN and self.outbox.size > self.outbox.limit:
            before = self.outbox.size
            self.flush()
            if self.outbox.size == before:
                self._slow()

    def flush(self) -> None:
        """Write what waits, as much as the socket takes and the others can wait for."""
        room = WRITE_SIZE if self.home.loop.is_crowded else WRITE_SIZE * WRITES_WHEN_FEW
        while self.outbox.size and room > 0:
            data = self.outbox.peek(room)
            sent = self.transport.send(data)
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
        self.direct = None if busy else self.transport.direct

    def _wait_writable(self) -> None:
        self._set_busy(True)
        self._watch()

    def _flushed(self) -> None:
        self._watch()
        if self.state == OPEN:
            self._set_busy(False)
        elif self._peer_closed:
            self.transport.finish()
            self.end(ABNORMAL)
        elif self._failed and self.state == CLOSING:
            self.state = LINGERING
            self.transport.finish()

    # Staying alive

    def _schedule_ping(self, delay: float) -> None:
        if self.home.settings.ping_interval:
            self._set_timer(delay, self._check_alive)

    def _set_timer(self, delay: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = self.home.loop
        self._timer = loop.call_later(delay, partial(loop.guarded, self, action))

    def _check_alive(self) -> None:
        """Ping a client that has been silent; end one that does not answer."""
        settings = self.home.settings
        silent = self.home.loop.now - self._last_read
        if self._paused:
            self._schedule_ping(settings.ping_interval)
        elif self._pinged_at > self._last_read:
            left = self._pinged_at + settings.pong_timeout - self.home.loop.now
            if left > 0:
                self._schedule_ping(left)
            else:
                self._no_pong()
        elif silent < settings.ping_interval:
            self._schedule_ping(settings.ping_interval - silent)
        else:
            self._pinged_at = self.home.loop.now
            self._schedule_ping(min(settings.ping_interval, settings.pong_timeout))
            self.enqueue(_PING)
            if not self.busy:
                self.flush()

    def _schedule_heartbeat(self, seconds: float) -> None:
        loop = self.home.loop
        self._heartbeat = loop.call_later(seconds, partial(loop.guarded, self, self._beat, seconds))

    def _beat(self, seconds: float) -> None:
        """Say that the server is there, unless something else that waits will say it."""
        if self.state == OPEN:
            self._schedule_heartbeat(seconds)
            if not self.outbox.size:
                self.enqueue(HEARTBEAT)
                self.flush()

    def _no_pong(self) -> None:
        if not self.outbox.size:
            self.transport.send(close_frame(NO_PONG))
        logger.debug("Id %r: no pong", self.Id)
        self.end(ABNORMAL)

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
        if self._paused:
            self._paused = False
            self.home.loop.again(self)
        self.connection.server_terminated = True
        self.home.hub.remove(self)
        self.outbox.force(close_frame(disconnect))
        self._set_timer(self.home.settings.close_timeout, partial(self.end, ABNORMAL))
        self.flush()

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
        self._set_timer(HANDLER_GRACE, partial(self.close, disconnect))
        close_behind_queued = partial(self.home.loop.call_for, self, self.close, disconnect)
        if self.active:
            self.home.post(self, close_behind_queued)
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
            self.outbox.drop_unsent(self.transport.pinned)
        self.close(SLOW)

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
        for timer in (self._timer, self._heartbeat):
            if timer is not None:
                timer.cancel()
        self.outbox = Outbox(0)
        self.home.hub.remove(self)
        self.connection.client_terminated = self.connection.server_terminated = True
        try:
            self.home.loop.watch(self, 0)
            self.transport.close()
        finally:
            if was_open:
                self.home.post(self, self._run_closed)
                self.home.ended(self)

    # Jobs, on a worker

    def _run_opened(self) -> None:
        if self._run(self.connection.opened):
            self.home.events.opened(self.connection)

    def _run_message(self, message: Any) -> None:
        if self._deaf:
            pass  # the handler has failed: the connection is being closed
        elif message.opcode == OPCODE_PONG:
            self._run(self.connection.ponged, message)
        elif self._run(self.connection.received_message, message):
            self.home.events.received(self.connection, message)
        self._handled += len(message.data) + MESSAGE_OVERHEAD
        if self._paused and self.backlog <= self.home.settings.max_inbox // 2:
            self.home.loop.call_for(self, self._resume)

    def _run_closed(self) -> None:
        assert self.disconnect is not None
        self._run(self.connection.closed, *self.disconnect)
        self.home.events.closed(self.connection, *self.disconnect)
        self.connection.detach()

    def _run(self, callback: Callable[..., object], *args: object) -> bool:
        """Call the application; tell whether it went well. Its errors end only this connection."""
        try:
            callback(*args)
        except ConnectionClosed:
            logger.debug("Id %r: left while %s ran", self.Id, callback.__name__)
        except BaseException:  # a SystemExit of a handler's ends its connection, not a worker
            logger.exception("Id %r: %s failed", self.Id, callback.__name__)
            self._deaf = True
            self.home.loop.call_for(self, self.close, HANDLER_FAILED)
            return False
        return True
