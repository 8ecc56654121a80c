"""What a connection may do with its own socket, and with the channels of its node."""
from __future__ import annotations

import threading
from typing import Callable

from ..channels.presence import Info
from ..channels.rules import checked_channel
from ..errors import ConnectionClosed, MessageTooLarge
from ..runtime.outbox import Head
from ..runtime.runtime import DelayedJob
from ..wire.disconnects import ABNORMAL, EXPIRED, REPLACED, Disconnect
from .backpressure import CONNECTION, Exactly, To
from .codec import Codec, encoding
from .context import Context
from .link import LAST_WORDS, Link

WORTH_A_HEAD = 64 * 1024
"""The size of payload, in bytes, from which copying it after its header is worth avoiding."""


class Handle:
    """Give access to one connection's link and node. Any thread may call it.

    Nothing here but ``wait_writable`` waits for the client. ``subscribe`` and ``unsubscribe`` may
    wait for the broker.
    Once the connection is closing, nothing more is sent and nothing changes.

    Args:
        link: the connection's.
        context: what all connections share.

    Attributes:
        link: to pass to the node; its other uses belong to the loop's thread.
        context: what all connections share.
        node: the channels of this node.
        wake: starts writing what was put. Must not be called with a lock held.
    """

    __slots__ = ("link", "context", "node", "wake", "_loop", "_hub", "_read")

    def __init__(self, link: Link, context: Context) -> None:
        self.link = link
        self.context = context
        self.node = context.node
        self._loop = context.runtime.loop
        self._hub = context.hub
        self.wake = self._loop.wake
        self._read: threading.Event | None = None   # set once the client has not much to read

    def __repr__(self) -> str:
        return f"<Handle of {self.link!r}>"

    # Its own socket

    def check_size(self, size: int) -> None:
        """Raise ``MessageTooLarge`` if a message has more bytes than may be sent."""
        check_size(size, self.context.settings.max_outbox)

    def send(self, opcode: int, payload: bytes) -> bool:
        """Queue one message; False if the connection no longer takes any.

        Args:
            opcode: one of ws4py's ``OPCODE_*``.
            payload: its bytes.

        Raises:
            MessageTooLarge: it has more than ``max_outbox`` bytes.
            Overloaded: there was no room for it; see ``Backpressure``.
        """
        self.check_size(len(payload))
        link = self.link
        if not self._hub.has(link):
            return False
        framing, size = link.transport.framing, len(payload)
        backpressure = self.context.backpressure
        reserved = 0 if backpressure.has_plenty(size) \
            else backpressure.enter(To(CONNECTION, link), Exactly(size))
        try:
            head = framing.head(opcode, size) if size >= WORTH_A_HEAD else None
            if head is None:
                self._loop.deliver((link,), framing.frame(opcode, payload))
            else:
                self._loop.write(link, Head(head), payload)
        finally:
            if reserved:
                backpressure.leave(reserved)
        link.inbox.sent(size)
        return True

    def wait_writable(self, timeout: float | None) -> bool:
        """Wait until the client has not much to read; see ``Connection.wait_writable``."""
        inbox = self.link.inbox
        if inbox.is_ahead():
            read = self._read
            if read is None or read.is_set():
                read = self._read = threading.Event()
                inbox.when_read(read.set)
            if not read.wait(timeout):
                return False
        if not self._hub.has(self.link):
            raise ConnectionClosed(f"connection of Id {self.link.Id!r} is closed")
        return True

    def put(self, is_binary: bool, payload: bytes) -> bool:
        """Queue one message that is already checked; ``wake`` must follow.

        Returns:
            False if the connection no longer takes any.
        """
        link = self.link
        if not self._hub.has(link):
            return False
        self._loop.put((link,), link.transport.framing.message(is_binary, payload))
        link.inbox.sent(len(payload))
        return True

    @property
    def is_shut(self) -> bool:
        """Tell whether the client's rights have ended: nothing more is done for it."""
        return self.link.inbox.is_shut

    def close(self, disconnect: Disconnect) -> bool:
        """Begin to close, after all that was sent before; False if it is already closing."""
        return close(self.link, disconnect, None)

    def end(self, disconnect: Disconnect) -> bool:
        """End the client's rights, and begin to close; see the function ``end``."""
        return end(self.link, disconnect)

    def abort(self) -> None:
        """End the connection without a closing handshake."""
        if self._hub.has(self.link):
            self._loop.call_for(self.link, self.link.end, ABNORMAL)

    def later(self, seconds: float, job: Callable[[], object]) -> DelayedJob | None:
        """Run a job after some seconds, in order with the connection's callbacks.

        Returns:
            The job, which can be cancelled; None if the connection has ended.
        """
        if not self._hub.has(self.link):
            return None
        inbox = self.link.inbox
        return self.context.runtime.later(inbox, seconds, lambda: inbox.run(job))

    def soon(self, job: Callable[[], object]) -> None:
        """Run a job in order with the connection's callbacks, unless its rights have ended."""
        inbox = self.link.inbox
        self.context.runtime.run(inbox, lambda: inbox.run(job))

    def at_end(self, seconds: float, job: Callable[[], object]) -> DelayedJob | None:
        """Run a job on the loop's thread after some seconds, whatever the connection is doing.

        Args:
            seconds: from now.
            job: ends a right; it must not wait. Not run if the connection has ended.

        Returns:
            See ``later``.
        """
        link = self.link
        if not self._hub.has(link):
            return None
        return self.context.runtime.later(None, seconds,
                                          lambda: self._loop.guarded(link, job))

    def expire(self, seconds: float) -> DelayedJob | None:
        """End the client's rights after some seconds, when its token expires; see ``later``."""
        return self.at_end(seconds, lambda: self.end(EXPIRED))

    # Who it is

    def rename(self, Id: str) -> None:
        """Give a connection that came without an Id one, and close those that it replaces.

        Raises:
            ConnectionClosed: it has ended.
            HandshakeRefused: 429: the Id has too many.
        """
        if not self._hub.has(self.link):
            raise ConnectionClosed("connection is closed: it gets no Id")
        for older in self._hub.rename(self.link, Id):
            end(older, REPLACED)

    def admit(self, codec: Codec, is_binary: bool, payload: bytes) -> bool:
        """Queue a first message, then let the connection get what is sent to its Id and to all.

        ``wake`` must follow. Returns False if the connection has ended.
        """
        link, framing = self.link, self.link.transport.framing
        data = framing.message(is_binary, payload)

        def switch() -> None:
            self._loop.put((link,), data)
            link.inbox.sent(len(data))
            link.encoding = encoding(codec, framing)

        return self._hub.admit(link, switch)

    # Channels

    def subscribe(self, channel: str, info: Callable[[], Info]) -> bool:
        """Add the connection to a channel; False if it is already in it, or closed."""
        return self.node.subscribe(self.link, checked_channel(channel), info)

    def unsubscribe(self, channel: str, client: str) -> bool:
        """Remove the connection from a channel; tell whether it was in it."""
        return self.node.unsubscribe(self.link, channel, client) and self._drop(channel)

    def cut(self, channel: str) -> bool:
        """Do what ``unsubscribe`` does, on the loop's thread: ``Node.left_channel`` must follow."""
        return self._hub.unsubscribe(self.link, channel) and self._drop(channel)

    def _drop(self, channel: str) -> bool:
        """Drop what waits from a channel, if the client's protocol shows what that is."""
        prefixes = self.link.encoding.codec.of_channel(channel)
        if prefixes:
            self._loop.call_for(self.link, self.link.drop, prefixes)
        return True

    def is_in(self, channel: str) -> bool:
        """Tell whether the connection is in a channel."""
        return self._hub.is_in(self.link, channel)


def check_size(size: int, most: int) -> None:
    """Check the size of a site's or a client's message: once, and before it is encoded.

    Its size in a client's protocol is not checked again; an outbox has room for it.

    Args:
        size: bytes of the message.
        most: ``max_outbox``.

    Raises:
        MessageTooLarge: it is larger.
    """
    if size > most:
        raise MessageTooLarge(f"a message of {size} bytes: send at most {most}, or raise "
                              "max_outbox")


def close(link: Link, disconnect: Disconnect, within: float | None) -> bool:
    """Remove a connection from the hub at once, and close it after what was queued for it.

    What it has sent and is not yet handled is ignored.

    Args:
        link: the connection's.
        disconnect: the code and the reason for the close frame.
        within: see ``Link.close``.

    Returns:
        False if it is already closing.
    """
    context = link.context
    link.inbox.is_shut = True
    was_there = context.hub.remove(link)
    if was_there or within is not None:
        code, reason = disconnect
        context.runtime.loop.call_for(link, link.close, Disconnect(
            code, reason or link.encoding.codec.reason), within)
    return was_there


def end(link: Link, disconnect: Disconnect) -> bool:
    """End a client's rights: the one rule for its token, its session and the site's word.

    Nothing more is queued for it, and nothing more of what it has sent is handled. What was queued
    before goes out in ``LAST_WORDS`` seconds or not at all; a close frame follows.

    Returns:
        False if it is already closing.
    """
    return close(link, disconnect, LAST_WORDS)
