"""One connection's life on the loop's thread, from taking over its socket to closing it."""
from __future__ import annotations

import logging
import ssl
import sys
import time
from functools import partial
from itertools import chain
from typing import Any, Mapping, Sequence

from ws4py.framing import OPCODE_BINARY, OPCODE_TEXT
from ws4py.websocket import WebSocket

from ..runtime.loop import READ, WRITE
from ..runtime.outbox import Outbox
from ..runtime.shares import Allowance
from ..runtime.sockets import LOST, RECEIVE_SIZE, WRITE_SIZE, LoopSocket
from ..runtime.timers import Action, Timer
from ..transports.transport import Transport
from ..wire.disconnects import (ABNORMAL, HANDLER_FAILED, NO_PONG, SHORT_OF_MEMORY, SHUTTING_DOWN,
                                SLOW, TOO_MUCH, Disconnect)
from .codec import FramedCodec, encoding
from .context import Context
from .inbox import MESSAGE_OVERHEAD, Handler, Inbox
from .keepalive import KeepAlive
from .pace import Pace
from .waiters import Waiters

logger = logging.getLogger(__name__)

READS_PER_ROUND = 16
READ_TIME = 0.002
"""Reads of one connection, and seconds that they may take, before the others get their turn."""

PIECE = 1024
"""Bytes of short frames that are handled at once while others wait; some 10 KiB are milliseconds
of work, most of it for the workers."""

WRITES_WHEN_FEW = 4
"""Times ``WRITE_SIZE`` that one connection may write while few others must wait."""

HANDLER_GRACE = 1.0
"""Seconds that a handler has to answer what came before the client's close frame."""

LAST_WORDS = 0.03
"""Seconds in which a client can still take what was sent to it before its rights ended."""

LEAVE_GRACE = 1.0
"""Seconds, at most, that a client has to answer a close frame while the server stops."""

WAITING, OPEN, CLOSING, LINGERING, CLOSED = range(5)
"""States: not yet taken over by the loop; open; a close frame is queued or written; all is written
and anything that still arrives is discarded; ended."""

_STATE_NAMES = ("waiting", "open", "closing", "lingering", "closed")


class Link:
    """Own one connection's socket: read it, write it, and end it, in one place.

    Only the loop's thread may call it, except ``lost``. What is received goes to ``inbox``, from
    which workers take it; all that is written passes through ``outbox`` or finds it empty.

    Args:
        connection: the application's object for this connection.
        Id: who the client is.
        sock: the socket, non-blocking.
        transport: what the connection is on the wire.
        answer: the handshake's answer, the first bytes to write.
        context: what all connections share.

    Attributes:
        head_size: bytes of the request's headers that the connection keeps.
        is_behind: much waits for the client; see ``Backpressure``.
    """

    __slots__ = ("connection", "channels", "encoding", "context", "transport", "socket", "send",
                 "inbox", "outbox", "busy", "direct", "watching", "state", "disconnect",
                 "last_read", "allowance", "pace", "head_size", "is_behind", "_account",
                 "_backpressure", "_unhandled", "_Id", "_runtime", "_loop", "_hub", "_keepalive",
                 "_deadline", "_waiters", "_written", "_within", "_will_drop", "_peer_closed",
                 "_failed", "_fd", "_can_place")

    def __init__(self, connection: Handler, Id: str, sock: LoopSocket, transport: Transport,
                 answer: bytes, context: Context) -> None:
        self.connection = connection
        self.channels: set[str] | None = None
        self.encoding: FramedCodec = encoding(connection.codec, transport.framing)
        self.context = context
        self.transport = transport
        self.socket = sock
        self.send = sock.send
        self.inbox = Inbox(connection, context, self)
        self._account = context.account
        self.outbox = Outbox(context.settings.max_outbox, self._account)
        self._backpressure = context.backpressure
        self.is_behind = False
        self.busy = True
        self.direct: int | ssl.SSLSocket | None = None
        self.watching = 0
        self.state = WAITING
        self.disconnect: Disconnect | None = None
        self.last_read = 0.0
        self._Id = Id
        self._runtime = context.runtime
        self._loop = context.runtime.loop
        self._loop.note(partial(self.outbox.force, answer))     # this is not its thread
        self.head_size = _text_size(connection.environ or {})
        self.allowance = Allowance(self._loop.shares, self._loop.now)
        self.pace = Pace()
        self._unhandled = b""   # what was read before it was the others' turn
        self._hub = context.hub
        self._keepalive: KeepAlive | None = None
        self._deadline: Timer | None = None
        self._waiters: Waiters | None = None
        self._written = 0       # only what has been in the outbox
        self._within: float | None = None
        self._will_drop = False     # what waits, soon
        self._peer_closed = False
        self._failed = False
        self._fd = sock.socket.fileno()
        self._can_place = sock.can_place

    def __repr__(self) -> str:
        return f"<Link Id={self.Id!r} {_STATE_NAMES[self.state]}>"

    @property
    def Id(self) -> str:
        """Return who the client is; the hub sets it, here and on the connection at once."""
        return self._Id

    @Id.setter
    def Id(self, Id: str) -> None:
        """Rename the client, here and where the site sees it."""
        self._Id = self.connection.Id = Id

    def lost(self, channel: str) -> None:
        """Tell the connection that it was removed from a channel; see ``Member``."""
        job = partial(self.inbox.run, self.connection.channel_lost, channel)
        self._runtime.run(self.inbox, job)

    def fileno(self) -> int:
        """Return the socket's descriptor, even if the site has closed it behind our back."""
        return self._fd

    @property
    def received_bytes(self) -> int:
        """Return the bytes held of what the client has sent, also those of its request."""
        return self.head_size + self._unfinished_bytes

    @property
    def _unfinished_bytes(self) -> int:
        return max(0, self.inbox.backlog) + self.inbox.unsent + self.transport.held_bytes \
            + len(self._unhandled)

    @property
    def burden(self) -> int:
        """Return the bytes that would be free if this connection ended for want of memory.

        Its share of what is queued for others too.
        """
        return self._unfinished_bytes + self.outbox.share

    # Beginning

    def open(self, early: bytes, heartbeat: float = 0) -> None:
        """Take over the socket: write the handshake's answer, then what is queued after it.

        Args:
            early: what the client has already sent after its handshake.
            heartbeat: seconds between heartbeats; 0: none.
        """
        if self.state != WAITING:
            return
        self.state = OPEN
        self.last_read = self._loop.now
        self._account.arrive(self.head_size)
        self._runtime.links.add(self)
        self._loop.watch(self, READ)
        self.inbox.open()
        self._keepalive = KeepAlive(self, heartbeat)
        self.flush()
        if early and self.state == OPEN:
            self._take(early, len(early))
        if self.disconnect is not None:
            self.close(self.disconnect, self._within)
        elif self._runtime.leaving is not None:
            self.close(self._runtime.leaving)
        if self.state == OPEN:
            self.readable()

    # Reading

    def readable(self) -> None:
        """Read until the socket and its TLS layer are empty, or the others must have a turn."""
        deadline = 0.0      # found out only if one read is not enough
        for _ in range(READS_PER_ROUND):
            if self.inbox.is_full or self.pace.is_paused or self.state == CLOSED:
                return
            if self._unhandled:
                self._take(self._unhandled, 0)
                size: int | None = RECEIVE_SIZE
            else:
                size = self._read_once()
            if size == 0:
                self.end(ABNORMAL)
                return
            if size is None \
                    or size < RECEIVE_SIZE and not self.socket.pinned and not self._unhandled:
                if self.allowance.is_over:
                    self.allowance.has_caught_up()
                return
            now = time.monotonic()
            deadline = deadline or now + READ_TIME
            if now > deadline:
                break
        self._loop.again(self)

    def look(self) -> tuple[bool, bool]:
        """Tell whether something waits to be read, and whether the client has left behind it."""
        waits, has_left = self.socket.look()
        return waits or bool(self._unhandled), has_left

    def _read_once(self) -> int | None:
        """Read and handle what has come; return its size, None if nothing came, 0 at the end."""
        place = self.transport.place() if self._can_place and self.transport.left else None
        if place is not None:
            size = self.socket.receive_to(*place)  # type: ignore[union-attr]
            data = None
        else:
            data = self.socket.receive()
            size = data if data is None else len(data)
        if size:
            self.last_read = self._loop.now
            if self.state == LINGERING:
                pass  # discarded
            elif data is None:
                self._handle(self.transport.placed(size), size)
            else:
                self._take(data, size)
        return size

    def _take(self, data: bytes, size: int) -> None:
        """Handle what has been read, short frames in pieces if others wait; ``size`` bytes are new.
        """
        self._unhandled = b""
        if len(data) > PIECE and not self.transport.left \
                and self._loop.shares.others_wait(self._loop.now):
            data, self._unhandled = data[:PIECE], data[PIECE:]
        self._handle(self.transport.feed(data), size)

    def _handle(self, messages: Sequence[Any], size: int) -> None:
        self._account.arrive(size + MESSAGE_OVERHEAD * len(messages))
        for message in messages:
            if isinstance(message, Disconnect):
                self._peer_closes(message)
            elif self.state == OPEN:
                self._received_one(message)
        if self.outbox.size and not self.busy:
            self.flush()  # all pongs at once
        failure = self.transport.failure
        if failure is not None and not self._failed:
            self._fail(failure)
        caused = self.transport.frames + self.inbox.caused
        if caused >= self.allowance.due and self.state <= CLOSING:
            self.pace.charge(self, caused)

    def when_allowed(self, action: Action) -> None:
        """Call something as soon as the client may cause more, or at the end."""
        if self.state > OPEN:
            action()
            return
        self.pace.charge(self, self.transport.frames + self.inbox.caused)
        self.pace.when_allowed(action)

    def _received_one(self, message: Any) -> None:
        opcode = message.opcode
        if opcode != OPCODE_TEXT and opcode != OPCODE_BINARY:
            answer = self.transport.answer(message)
            if answer is not None:
                self.enqueue(answer)
                return
            if type(self.connection).ponged is WebSocket.ponged:
                return
        if self.inbox.put(message):
            self.watch()   # stop reading until the handler has caught up

    def resume(self) -> None:
        """Continue reading; see ``InboxReader``."""
        if self.inbox.is_full and self.state != CLOSED:
            self.inbox.is_full = False
            self.read_on()

    def read_on(self) -> None:
        """Read again what waits; the client was not silent, it was not heard."""
        self.last_read = self._loop.now
        self.watch()
        self._loop.again(self)

    def watch(self) -> None:
        """Have the selector watch for what can be done now."""
        read = 0 if self.inbox.is_full or self.pace.is_paused else READ
        self._loop.watch(self, read | (WRITE if self.outbox.size else 0))

    # Writing

    def enqueue(self, *pieces: bytes) -> None:
        """Queue whole frames; a full outbox ends the connection as slow. See ``Outbox.append``."""
        if self.state > OPEN or self._append(pieces):
            return
        if self.state == OPEN:
            self.flush()  # perhaps the socket has not been tried for a while
        if self.state > OPEN:
            return
        if not self._append(pieces):
            self.slow()
        elif not self.busy:
            self.flush()

    def _append(self, pieces: tuple[bytes, ...]) -> bool:
        if not self.outbox.append(*pieces):
            return False
        if self.outbox.behind > self._backpressure.behind_from and not self.is_behind:
            self._backpressure.fell_behind(self)
        return True

    def write(self, *pieces: bytes) -> None:
        """Queue whole frames like ``enqueue``, and write them if nothing waits for the socket."""
        self.enqueue(*pieces)
        if not self.busy:
            self.flush()

    def drop(self, prefixes: tuple[bytes, ...]) -> None:
        """Drop messages that begin in one of some ways and of which nothing has been written."""
        if self.state == OPEN and self.outbox.size:
            self.outbox.sift(partial(self.transport.framing.without, prefixes), self.socket.pinned)
            self.flush()

    def partial(self, data: bytes, sent: int) -> None:
        """Queue the rest of a partly written message, or of several joined; ``sent`` is done."""
        if sent == LOST:
            self.end(ABNORMAL)
            return
        self.outbox.force(data, sent)
        self._wait_writable()

    def flush(self) -> None:
        """Write what waits, as much as the socket takes and is fair to the others."""
        room = WRITE_SIZE if self._loop.is_crowded else WRITE_SIZE * WRITES_WHEN_FEW
        while self.outbox.size and room > 0:
            data = self.outbox.peek(room)
            sent = self.socket.send(data)
            if sent == LOST:
                self.end(ABNORMAL)
                return
            self.outbox.advance(sent)
            self._written += sent
            room = room - sent if sent == len(data) else 0
        if self.outbox.size:
            self._wait_writable()
        else:
            self._flushed()
        if self.is_behind and self.outbox.measure() <= self._backpressure.behind_from:
            self._backpressure.caught_up(self)
        if self._waiters:
            self._waiters.tell()

    def when_read(self, most: int, action: Action) -> None:
        """Call something as soon as at most so many bytes wait for the client, or at the end."""
        if self.state > OPEN:
            action()
            return
        if self._waiters is None:
            self._waiters = Waiters(self)
        self._waiters.add(most, action)

    def progress(self) -> tuple[int, int]:
        """Return how many bytes the client has taken, and how many are on their way to it.

        Only differences of the first say something.
        """
        known = self.socket.acknowledged()
        if known is None:
            return self._written, self.outbox.size
        return known, self.socket.unreceived + self.outbox.size

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self.direct = None if busy else self.socket.direct

    def _wait_writable(self) -> None:
        self._set_busy(True)
        self.watch()

    def _flushed(self) -> None:
        self.watch()
        if self.state == OPEN:
            self._set_busy(False)
        elif self._peer_closed:
            self.socket.finish()
            self.end(ABNORMAL)
        elif self._failed and self.state == CLOSING:
            self.state = LINGERING
            self.socket.finish()

    # Ending

    def close(self, disconnect: Disconnect, within: float | None = None) -> None:
        """Begin the closing handshake after all that is queued. Safe to repeat.

        Args:
            disconnect: the code and the reason for the close frame.
            within: seconds after which messages that still wait are dropped; None: they are not.
        """
        if self.state == WAITING:
            self.disconnect = self.disconnect or disconnect
            self._within = within if self._within is None else self._within
            return
        if self.state == OPEN:
            self._send_close(disconnect)
        if self.state != CLOSING or self._will_drop:
            return
        if within is not None:
            self._will_drop = True
            self._set_deadline(within, self._drop_rest)
        elif self._runtime.leaving is not None:
            self._await_answer()

    def _send_close(self, disconnect: Disconnect) -> None:
        self.disconnect = self.disconnect or disconnect
        self.state = CLOSING
        self._set_busy(True)
        if self.inbox.is_full or self.pace.is_paused:
            self.inbox.is_full = False
            self._loop.again(self)
        self.connection.server_terminated = True
        self._hub.remove(self)
        self._end_waiting()
        self.outbox.force(self.transport.framing.close(disconnect))
        self._await_answer()
        self.flush()

    def _await_answer(self) -> None:
        """Give the client time to answer the close frame: a stop does not wait for silent ones."""
        seconds = self.context.settings.close_timeout
        if self._runtime.leaving is None or seconds <= LEAVE_GRACE:
            self._set_deadline(seconds, partial(self.end, ABNORMAL))
        else:
            self._set_deadline(LEAVE_GRACE, self._not_answered)

    def _not_answered(self) -> None:
        """End, unless the client has yet to receive all: how long that may take, the stop knows."""
        if self.outbox.size or self.socket.unreceived:
            self._set_deadline(LEAVE_GRACE, self._not_answered)
        else:
            self.end(ABNORMAL)

    def _drop_rest(self) -> None:
        """Send nothing more but the close frame, behind the message that has been begun."""
        self._will_drop = False
        self._await_answer()
        waiting = self.outbox.size
        self.outbox.drop_unsent(self.socket.pinned)
        if self.outbox.size < waiting:  # the last of what is dropped is the close frame
            assert self.disconnect is not None
            self.outbox.force(self.transport.framing.close(self.disconnect))
            self.flush()

    def _end_waiting(self) -> None:
        """Let those go on who wait for the client, which gets nothing more."""
        self.pace.end()
        if self.is_behind:
            self._backpressure.caught_up(self)
        if self._waiters is not None:
            self._waiters.end()

    def _set_deadline(self, seconds: float, action: Action) -> None:
        """Do something after some seconds if closing has made no progress by then."""
        self._stop_timers()
        loop = self._loop
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
        """Close once the handler has answered what came before, but soon in any case."""
        self.disconnect = self.disconnect or disconnect
        self._set_deadline(HANDLER_GRACE, partial(self.close, disconnect))
        close_behind_queued = partial(self._loop.call_for, self, self.close, disconnect)
        if self.inbox.active or self.inbox.held:
            self._runtime.post(self.inbox, close_behind_queued)
        else:
            close_behind_queued()

    def _fail(self, disconnect: Disconnect) -> None:
        """Close after a protocol error by the peer: its answer could not be understood."""
        self._failed = True
        logger.debug("Id %r: closed with %d, %s", self.Id, *disconnect)
        if self.state == OPEN:
            self._close_behind_handler(disconnect)
        else:
            self.end(ABNORMAL)

    def slow(self) -> None:
        """Close on a client that does not read: what is still queued for it is dropped."""
        logger.debug("Id %r: slow, %d bytes waiting", self.Id, self.outbox.size)
        if self.state == OPEN:
            self.outbox.drop_unsent(self.socket.pinned)
        self.close(SLOW)

    def too_much(self) -> None:
        """Close on a client that goes on sending more than its share."""
        if self.state == OPEN:
            logger.info("Id %r: closed: it has sent too much for a minute", self.Id)
            self.close(TOO_MUCH)

    def shed(self) -> None:
        """Close for want of memory, and let go of all that is held for the client."""
        self.inbox.is_shut = True
        self._unhandled = b""
        self.outbox.drop_unsent(self.socket.pinned)
        self.close(SHORT_OF_MEMORY)

    def no_pong(self) -> None:
        """End because the client has not answered a ping; see ``Living``."""
        if self._waiters:
            self.slow()
            return
        if not self.outbox.size:
            self.socket.send(self.transport.framing.close(NO_PONG))
        logger.debug("Id %r: no pong", self.Id)
        self.end(ABNORMAL)

    def crashed(self) -> None:
        """End after an error in this class; see ``Watched``."""
        self.end(HANDLER_FAILED)

    def abort(self) -> None:
        """End without a closing handshake, because the server is stopping."""
        self.end(SHUTTING_DOWN)

    def abandon(self) -> None:
        """Close this process's copy of the socket; see ``Polled``."""
        self.state = CLOSED
        if self.inbox.jobs is not None:
            self.inbox.jobs.clear()
        self.socket.let_go()

    def end(self, disconnect: Disconnect) -> None:
        """End immediately; the one place where a connection ends. Safe to repeat.

        Args:
            disconnect: passed to ``closed`` if neither side has sent a close frame.
        """
        if self.state == CLOSED:
            return
        was_open = self.state != WAITING
        self.state = CLOSED
        self._set_busy(True)
        self.disconnect = self.disconnect or disconnect
        self._stop_timers()
        self.inbox.let_go()
        self.allowance.end()
        self.outbox.clear()
        self._hub.remove(self)
        self._end_waiting()
        self.connection.client_terminated = self.connection.server_terminated = True
        try:
            self._loop.watch(self, 0)
            self.socket.close()
        finally:
            if was_open:
                self.inbox.close(self.disconnect)
                self._runtime.post(self.inbox, partial(self._hub.forget, self))
                self._runtime.ended(self)
            else:
                self._hub.forget(self)


def _text_size(environ: Mapping[str, Any]) -> int:
    """Return the bytes of the text in an environment: what the client has chosen of it."""
    return sum(sys.getsizeof(text) for text in chain(environ, environ.values())
               if isinstance(text, str))
