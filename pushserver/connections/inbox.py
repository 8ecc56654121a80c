"""What a connection has received, on its way to the application: the workers' side of a link."""
from __future__ import annotations

import logging
from functools import partial
from typing import Any, Callable, Mapping, Protocol

from ..errors import ConnectionClosed
from ..runtime.loop import Watched
from ..runtime.outbox import Outbox
from ..runtime.timers import Action
from ..runtime.workers import Mailbox
from ..wire.disconnects import HANDLER_FAILED, Disconnect
from ..wire.frames import OPCODE_PONG
from .codec import Codec
from .context import Context

logger = logging.getLogger(__name__)

MESSAGE_OVERHEAD = 256
"""Bytes that a waiting message costs besides its data, so that empty ones count too."""


MUCH_SHARE = 4
"""A client has much to read while more than ``max_outbox`` divided by this waits for it."""


class Handler(Protocol):
    """The application's object for one connection; see ``Connection``."""

    Id: str
    codec: Codec
    environ: Mapping[str, Any] | None
    heartbeat_freq: float | None
    client_terminated: bool
    server_terminated: bool

    def opened(self) -> None:
        """The client has connected."""

    def received_message(self, message: Any) -> None:
        """The client has sent a message."""

    def ponged(self, pong: Any) -> None:
        """The client has sent a pong."""

    def channel_lost(self, channel: str) -> None:
        """It was removed from a channel because publications were lost."""

    def closed(self, code: int, reason: str | None = None) -> None:
        """The client has left."""

    def detach(self) -> None:
        """Nothing more will be called."""


class InboxReader(Watched, Protocol):
    """What fills an inbox. The inbox calls it on the loop's thread only."""

    outbox: Outbox
    """What waits for the client; workers look at its size."""

    def resume(self) -> None:
        """Read on: the handler has caught up."""

    def when_read(self, most: int, action: Action) -> None:
        """Call something as soon as at most so many bytes wait for the client, or at the end."""

    def when_allowed(self, action: Action) -> None:
        """Call something as soon as the client may cause more, or at the end."""


class Inbox(Mailbox):
    """Call the application for one connection: one call at a time, in order, on a worker.

    While the client has much to read, nothing is called: what it is owed is made as it reads.

    The loop's thread calls everything here except ``run``, ``hold`` and the jobs (``_run_*``),
    which workers run, and ``sent`` and ``is_ahead``, which any thread may call.

    Args:
        connection: the application's object.
        context: what all connections share.
        reader: its side on the loop's thread.

    Attributes:
        is_full: more than ``max_inbox`` is waiting, so nothing more should be read. The reader
            resets it when it resumes.
        is_shut: the connection's rights have ended, or its handler has failed: nothing more is
            handled, and of what waits only ``opened`` and ``closed`` are called. Any thread may
            set it.
        caused: what handling has cost so far beside the frames, in units; see ``runtime/shares``.
            Only the worker that handles adds to it.
        unsent: bytes of replies that wait until the client has read others. Only that worker sets
            it.
    """

    __slots__ = ("is_full", "is_shut", "caused", "unsent", "_connection", "_context", "_reader",
                 "_received", "_handled", "_much", "_sent", "_told", "_seen")

    def __init__(self, connection: Handler, context: Context, reader: InboxReader) -> None:
        super().__init__()
        self.is_full = False
        self.is_shut = False
        self.caused = 0
        self.unsent = 0
        self._connection = connection
        self._context = context
        self._reader: InboxReader | None = reader
        self._received = 0
        self._handled = 0
        self._much = context.settings.max_outbox // MUCH_SHARE
        self._sent = 0          # bytes queued for the client, about
        self._told = 0          # of which the loop is about to take note
        self._seen = 0          # of which the loop knows: they are written or in the outbox

    def __repr__(self) -> str:
        return f"<Inbox {self.backlog} bytes{', full' if self.is_full else ''}>"

    @property
    def backlog(self) -> int:
        """Return the number of bytes received and not yet handled."""
        return self._received - self._handled

    # On the loop's thread

    def open(self) -> None:
        """Tell the application that the connection is open."""
        self._context.runtime.post(self, self._run_opened)

    def put(self, message: Any) -> bool:
        """Hand over a message; True if it has filled the inbox."""
        self._received += len(message.data) + MESSAGE_OVERHEAD
        runtime, account = self._context.runtime, self._context.account
        if runtime.workers.post(self, partial(self._run_message, message)):
            runtime.relieve_soon()
        limit = 0 if account.is_over else self._context.settings.max_inbox
        if self.is_full or self._received - self._handled <= limit:
            return False
        self.is_full = True  # before checking again: a worker that has just finished sees it
        if self.backlog <= limit // 2:
            self.is_full = False
        return self.is_full

    def let_go(self) -> None:
        """Drop the reference to the reader, which has ended: the two refer to each other."""
        self._reader = None

    def close(self, disconnect: Disconnect) -> None:
        """Tell the application, after all else, that the connection has ended."""
        self._context.runtime.post(self, partial(self._run_closed, disconnect))

    # What the client has yet to read, on any thread

    def sent(self, size: int) -> None:
        """Note that bytes were queued for the client. A lock may be held."""
        self._sent += size
        if self._sent - self._told > self._much // 2:
            self._told = self._sent
            self._context.runtime.loop.note(partial(self._see, self._sent))

    def _see(self, sent: int) -> None:
        self._seen = sent

    def is_ahead(self, more: int = 0) -> bool:
        """Tell whether the client has much to read before it should get anything else.

        Args:
            more: bytes that are about to be queued.
        """
        reader = self._reader
        return reader is not None \
            and reader.outbox.size + self._sent - self._seen + more > self._much \
            and self._context.hub.has(reader)

    def when_read(self, action: Action, room: int = 0) -> None:
        """Call something on the loop's thread once the client has not much to read, or at the end.

        Args:
            action: what to call.
            room: bytes that must fit the outbox then; if they never do, it must be empty.
        """
        most = min(self._much, max(0, self._context.settings.max_outbox - room))
        reader, loop = self._reader, self._context.runtime.loop
        if reader is not None:
            loop.note(partial(self._see, self._sent))
            loop.call_for(reader, reader.when_read, most, action)
        if self._reader is None:    # after all others: it may have ended meanwhile
            action()

    # Jobs, on a worker

    def hold(self, job: Callable[..., object], room: int = 0) -> None:
        """Call nothing until the client has read enough, and then this first; see ``when_read``."""
        self._context.runtime.workers.hold(self, job)
        self.when_read(self._release, room)

    def give_way(self, job: Callable[..., object]) -> None:
        """Let others have the worker; go on with this once the client may cause more."""
        self._context.runtime.workers.hold(self, job)
        reader = self._reader
        if reader is not None:
            self._context.runtime.loop.call_for(reader, reader.when_allowed, self._release)
        if self._reader is None:    # after all others: it may have ended meanwhile
            self._release()

    def _release(self) -> None:
        runtime = self._context.runtime
        if runtime.workers.release(self):
            runtime.loop.call(runtime.relieve_soon)

    def _run_opened(self) -> None:
        if self._run(self._connection.opened):
            self._context.events.opened(self._connection)

    def _run_message(self, message: Any) -> None:
        if self.is_shut:
            pass
        elif self.is_ahead():
            self.hold(partial(self._run_message, message))
            return
        elif message.opcode == OPCODE_PONG:
            self._run(self._connection.ponged, message)
        elif self._run(self._connection.received_message, message):
            self._context.events.received(self._connection, message)
        self._handled += len(message.data) + MESSAGE_OVERHEAD
        if self.is_full and self.backlog <= self._context.settings.max_inbox // 2:
            reader = self._reader
            if reader is not None:
                self._context.runtime.loop.call_for(reader, reader.resume)

    def _run_closed(self, disconnect: Disconnect) -> None:
        self._run(self._connection.closed, *disconnect)
        self._context.events.closed(self._connection, *disconnect)
        self._connection.detach()

    def run(self, job: Callable[..., object], *args: object) -> None:
        """Run a job for the connection, on a worker, unless it is shut or has ended."""
        if not self.is_shut and self._reader is not None:
            self._run(job, *args)

    def _run(self, callback: Callable[..., object], *args: object) -> bool:
        """Call the application; tell whether it succeeded. Its errors end only this connection."""
        try:
            callback(*args)
        except ConnectionClosed:
            logger.debug("Id %r: left while %s ran", self._connection.Id, _name(callback))
        except BaseException:  # a handler's SystemExit ends its connection, not a worker
            logger.exception("Id %r: %s failed", self._connection.Id, _name(callback))
            self.is_shut = True
            reader = self._reader
            if reader is not None:
                self._context.runtime.loop.call_for(reader, reader.close, HANDLER_FAILED)
            return False
        return True


def _name(callback: Callable[..., object]) -> str:
    return getattr(callback, "__name__", "a job")
