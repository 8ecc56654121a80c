"""The interface of a transport: what stands between a socket's bytes and messages."""
from __future__ import annotations

from typing import Any, Hashable, Protocol, Sequence

from ..wire.disconnects import Disconnect


class Framing(Hashable, Protocol):
    """Make bytes for the wire. It keeps no state, and all connections of a kind share it.

    Attributes:
        ping: asks whether the client is there.
        heartbeat: says that the server is there, to clients that cannot see a ping.
    """

    @property
    def ping(self) -> bytes:
        """Return what asks whether the client is there."""

    @property
    def heartbeat(self) -> bytes:
        """Return what says that the server is there, in a way that a page can see."""

    def message(self, is_binary: bool, payload: bytes) -> bytes:
        """Return one message."""

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Return one message, or another frame of a kind that ws4py's ``OPCODE_*`` names."""

    def head(self, opcode: int, size: int) -> bytes | None:
        """Return what stands before a payload, so that a long one need not be copied.

        None: something follows the payload too, so ``frame`` has to make it whole.

        Args:
            opcode: see ``frame``.
            size: the payload's bytes.
        """

    def close(self, disconnect: Disconnect) -> bytes:
        """Return what says that the connection ends, and why."""


class Transport(Protocol):
    """Read one connection. Only the loop's thread may call it.

    Attributes:
        framing: the way back.
    """

    @property
    def framing(self) -> Framing:
        """Return what makes bytes for this connection."""

    @property
    def left(self) -> int:
        """Return the bytes of the current message that have yet to arrive, if it is known."""

    @property
    def failure(self) -> Disconnect | None:
        """Return how the client broke the rules, once it has; nothing is read any more then."""

    def feed(self, data: bytes) -> Sequence[Any]:
        """Return what these bytes complete, in order: messages, and a ``Disconnect`` at the end."""

    def place(self) -> tuple[bytes, int, bytes] | None:
        """Return where to read the rest of a long message to; None: use ``feed``."""

    def placed(self, size: int) -> Sequence[Any]:
        """Return what bytes complete that were read to their place; see ``feed``."""

    def answer(self, message: Any) -> bytes | None:
        """Return what a message asks the transport itself to answer, such as a ping; or None."""
