"""The interface of a transport: what turns a socket's bytes into messages, and back."""
from __future__ import annotations

from typing import Any, Hashable, Protocol, Sequence

from ..wire.disconnects import Disconnect


class Framing(Hashable, Protocol):
    """Make bytes for the wire. It keeps no state, and all connections of a kind share it.

    Attributes:
        ping: asks whether the client is alive.
        heartbeat: shows that the server is alive, to clients that cannot see a ping.
    """

    @property
    def ping(self) -> bytes:
        """Return a ping."""

    @property
    def heartbeat(self) -> bytes:
        """Return a heartbeat, which a page can see."""

    def message(self, is_binary: bool, payload: bytes) -> bytes:
        """Return one message."""

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Return one message, or another kind of frame.

        Args:
            opcode: one of ws4py's ``OPCODE_*``.
            payload: its bytes.
        """

    def head(self, opcode: int, size: int) -> bytes | None:
        """Return what comes before a payload, so that a long one need not be copied.

        None: something also follows the payload, so ``frame`` must make it whole.

        Args:
            opcode: see ``frame``.
            size: the payload's length in bytes.
        """

    def without(self, prefixes: tuple[bytes, ...], data: bytes) -> bytes:
        """Return whole messages without those whose payload begins in one of some ways."""

    def close(self, disconnect: Disconnect) -> bytes:
        """Return what says that the connection is ending, and why."""


class Transport(Protocol):
    """Read one connection. Only the loop's thread may call it.

    Attributes:
        framing: makes bytes for this connection.
    """

    @property
    def framing(self) -> Framing:
        """Return the framing of this connection."""

    @property
    def left(self) -> int:
        """Return how many bytes of the current message have yet to arrive, if known."""

    @property
    def frames(self) -> int:
        """Return how many frames, or the like, the client has begun or gone on with so far."""

    @property
    def held_bytes(self) -> int:
        """Return the bytes kept of a message that has yet to arrive in full."""

    @property
    def failure(self) -> Disconnect | None:
        """Return how the client broke the protocol, once it has; nothing more is read then."""

    def feed(self, data: bytes) -> Sequence[Any]:
        """Return what these bytes complete, in order: messages, and a ``Disconnect`` at the end."""

    def place(self) -> tuple[bytes, int, bytes] | None:
        """Return where to read the rest of a long message into; None: use ``feed``."""

    def placed(self, size: int) -> Sequence[Any]:
        """Return what is completed by bytes read into ``place``; see ``feed``."""

    def answer(self, message: Any) -> bytes | None:
        """Return the transport's own answer to a message such as a ping; or None."""
